"""Fixed windows on an absolute frame grid: how a recording of any length meets a network that sees a few seconds.

A network with normalisation and attention answers differently for another window, so there is one way only, for
short and long recordings: windows start at multiples of the stride, the last is padded with silence, and where two
overlap their mel predictions are blended linearly. Noise depends on the seed and the absolute frame. So neither
batch size nor what lies beyond a window changes a result.
"""

import numpy as np
import torch

NOISE_BLOCK_FRAMES = 256
_LATENT_STREAM, _STEP_STREAM = 0, 1


def window_starts(num_frames: int, window_frames: int, overlap_frames: int) -> list[int]:
    """First frames of the windows that cover `num_frames`; at least one."""
    stride = window_frames - overlap_frames
    return list(range(0, max(num_frames - overlap_frames, 1), stride))


def cut_window(maps: torch.Tensor, start: int, window_frames: int) -> torch.Tensor:
    """`maps[..., start : start + window_frames]`, padded with 0 (silence) beyond the end."""
    window = maps[..., start : start + window_frames]
    return torch.nn.functional.pad(window, (0, window_frames - window.shape[-1]))


def blend_windows(windows: list[torch.Tensor], num_frames: int, overlap_frames: int) -> torch.Tensor:
    """Join windows cut at [`window_starts`] into `(..., num_frames)`, cross-fading linearly where two overlap."""
    window_frames = windows[0].shape[-1]
    starts = window_starts(num_frames, window_frames, overlap_frames)
    joined = windows[0].new_zeros(*windows[0].shape[:-1], starts[-1] + window_frames)
    ramp = (torch.arange(overlap_frames, device=joined.device, dtype=joined.dtype) + 0.5) / overlap_frames
    for index, (start, window) in enumerate(zip(starts, windows, strict=True)):
        weight = joined.new_ones(window_frames)
        if index > 0:
            weight[:overlap_frames] = ramp
        if index < len(starts) - 1:
            weight[window_frames - overlap_frames :] = 1 - ramp
        joined[..., start : start + window_frames] += weight * window
    return joined[..., :num_frames]


def window_noise(seed: int, start: int, window_frames: int, num_bins: int) -> torch.Tensor:
    """Standard normal `(num_bins, window_frames)` for the frames from `start` on, a function of seed and frame."""
    first, last = start // NOISE_BLOCK_FRAMES, (start + window_frames - 1) // NOISE_BLOCK_FRAMES
    blocks = [
        torch.randn(num_bins, NOISE_BLOCK_FRAMES, generator=seeded_generator(seed, _LATENT_STREAM, block))
        for block in range(first, last + 1)
    ]
    offset = start - first * NOISE_BLOCK_FRAMES
    return torch.cat(blocks, dim=-1)[:, offset : offset + window_frames]


def step_generator(seed: int, window_index: int) -> torch.Generator:
    """Generator for what a scheduler draws inside `step` for one window."""
    return seeded_generator(seed, _STEP_STREAM, window_index)


def seeded_generator(*key: int) -> torch.Generator:
    """A CPU generator whose stream is a function of `key`, a tuple of non-negative integers."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
