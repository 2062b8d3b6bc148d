"""Divides a recording of any length into fixed windows on an absolute frame grid, since a network sees a few seconds.

A network with normalisation and attention gives another answer for another window. So short and long recordings are
divided in the same way: windows start at multiples of the stride, the last is padded with silence, and where two
overlap, their mel predictions are blended linearly. Noise depends on the seed and the absolute frame. So a result
depends neither on the batch size nor on sound outside its window.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

NOISE_BLOCK_FRAMES = 256
_LATENT_STREAM, _STEP_STREAM = 0, 1


@dataclass(frozen=True)
class WindowLayout:
    """The positions of a recording's windows.

    Args:
        window_frames: Frames of a window.
        overlap_frames: Frames that two windows share.
        frame_multiple: Number of frames that the network's patches and levels group, see [`estimate_shifts`].

    Raises:
        ValueError: if the windows overlap by more than half, or their stride is no multiple of `frame_multiple`.
    """

    window_frames: int
    overlap_frames: int
    frame_multiple: int

    def __post_init__(self):
        if not 0 <= 2 * self.overlap_frames <= self.window_frames or self.stride % self.frame_multiple:
            raise ValueError(
                "`overlap_frames` must be at most half of `window_frames` and their difference a multiple of "
                f"{self.frame_multiple} (patches and levels of the network), got {self.overlap_frames} and "
                f"{self.window_frames}"
            )

    @property
    def stride(self) -> int:
        """Frames from one window to the next."""
        return self.window_frames - self.overlap_frames


def window_starts(num_frames: int, window_frames: int, overlap_frames: int) -> list[int]:
    """First frames of the windows that cover `num_frames`; there is at least one window."""
    stride = window_frames - overlap_frames
    return list(range(0, max(num_frames - overlap_frames, 1), stride))


def cut_window(maps: torch.Tensor, start: int, window_frames: int) -> torch.Tensor:
    """`maps[..., start : start + window_frames]`, padded with 0 (silence) before the beginning and beyond the end."""
    window = maps[..., max(start, 0) : start + window_frames]
    before = max(-start, 0)
    return torch.nn.functional.pad(window, (before, window_frames - before - window.shape[-1]))


def estimate_shifts(num_estimates: int, frame_multiple: int) -> list[int]:
    """Number of frames by which the windows of each estimate begin before the grid.

    Windows of the first estimate begin on the grid. In each further estimate, the patches and levels of a network fall
    on other frames, until all `frame_multiple` (a power of two) shifts are used: 0, 9, 2, 11, 4, … of 16.
    """
    step = frame_multiple // 2 | 1  # odd, so it reaches every shift
    return [estimate * step % frame_multiple for estimate in range(num_estimates)]


def average_shifted(estimates: torch.Tensor, shifts: list[int]) -> torch.Tensor:
    """Mean `(..., bands, frames)` of `estimates (..., len(shifts), bands, frames)` whose windows begin `shifts` frames
    earlier. It has the frames of the unshifted window; each frame uses only the estimates that cover it."""
    num_frames = estimates.shape[-1]
    total = torch.zeros_like(estimates[..., 0, :, :])
    count = torch.zeros(num_frames, dtype=total.dtype, device=total.device)
    for shift, estimate in zip(shifts, estimates.unbind(-3), strict=True):
        total[..., : num_frames - shift] += estimate[..., shift:]
        count[: num_frames - shift] += 1
    return total / count


class WindowBlender:
    """Joins windows that were cut at [`window_starts`]. Where two overlap, they are cross-faded linearly.

    Args:
        overlap_frames: Frames that two windows share.
    """

    def __init__(self, overlap_frames: int):
        self.overlap_frames = overlap_frames
        self._tail: torch.Tensor | None = None

    def push(self, window: torch.Tensor, last: bool) -> torch.Tensor:
        """Add a window. Returns the frames `(..., frames)` that no later window changes; if `window` is the last, these
        are all remaining frames."""
        overlap = self.overlap_frames
        if self._tail is not None and overlap:
            ramp = (torch.arange(overlap, device=window.device, dtype=window.dtype) + 0.5) / overlap
            head = ramp * window[..., :overlap] + (1 - ramp) * self._tail
            window = torch.cat([head, window[..., overlap:]], dim=-1)
        if last:
            return window
        stride = window.shape[-1] - overlap
        self._tail = window[..., stride:]
        return window[..., :stride]


def window_noise(seed: int, start: int, window_frames: int, num_bins: int) -> torch.Tensor:
    """Standard normal noise `(num_bins, window_frames)` for the frames from `start` on. It is a function of seed and
    frame."""
    first, last = start // NOISE_BLOCK_FRAMES, (start + window_frames - 1) // NOISE_BLOCK_FRAMES
    blocks = [_noise_block(seed, block, num_bins) for block in range(first, last + 1)]
    offset = start - first * NOISE_BLOCK_FRAMES
    return torch.cat(blocks, dim=-1)[:, offset : offset + window_frames]


def initial_noise(
    places: Sequence[tuple[int, int]], window_frames: int, num_bins: int, device: torch.device
) -> torch.Tensor:
    """Noise `(places, 1, num_bins, window_frames)` of a batch of windows, each with its seed and first frame (see
    [`window_noise`])."""
    noise = [window_noise(seed, start, window_frames, num_bins) for seed, start in places]
    return torch.stack(noise)[:, None].to(device)


@functools.lru_cache(maxsize=8)
def _noise_block(seed: int, block: int, num_bins: int) -> torch.Tensor:
    """The noise of the frames of a block; do not change it. It is cached, since successive windows of live sound share
    blocks."""
    generator = seeded_generator(seed, _LATENT_STREAM, block)
    return torch.randn(num_bins, NOISE_BLOCK_FRAMES, generator=generator, dtype=torch.float32)


def step_generator(seed: int, window_index: int) -> torch.Generator:
    """Generator for the noise that a scheduler draws in `step` for one window."""
    return seeded_generator(seed, _STEP_STREAM, window_index)


def seeded_generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose numbers depend only on `key`, a tuple of non-negative integers, and on the kind of device."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))
