"""Makes the network's condition: the noisy mel, and further channels that describe the recording.

Two channels give cheap context: a per-band noise floor (a low percentile over a few seconds) and a frequency
coordinate. A convolution alone knows neither the past nor which band it is in.
"""

from dataclasses import dataclass

import numpy as np
import torch

POOL = 4  # frames averaged before the percentile


@dataclass(frozen=True)
class ConditionConfig:
    """Channels of the condition.

    Args:
        span, block: Numbers of frames, see [`noise_floor`].
        with_noise_floor: Whether the condition has the noise floor.
        with_band_coordinate: Whether it has the frequency coordinate.
        with_dereverb: Whether it has the dial for less late reverberation.

    Raises:
        ValueError: if [`noise_floor`] does not accept `span` and `block`.
    """

    span: int = 512
    block: int = 64
    with_noise_floor: bool = True
    with_band_coordinate: bool = True
    with_dereverb: bool = False

    def __post_init__(self):
        for name, value, least in (("block", self.block, 2 * POOL), ("span", self.span, self.block)):
            if not isinstance(value, int) or value < least or value % (2 * POOL):
                raise ValueError(
                    f"`noise_floor_{name}` must be a multiple of {2 * POOL} and at least {least}, got {value!r}"
                )

    @property
    def num_channels(self) -> int:
        """Number of channels, with the noisy mel."""
        return 1 + self.with_noise_floor + self.with_band_coordinate + self.with_dereverb


def noise_floor(
    noisy_mel: torch.Tensor, span: int, block: int, pool: int = POOL, quantile: float = 0.1
) -> torch.Tensor:
    """Running percentile of each band over a centred span of the whole recording.

    The mel is first averaged over groups of `pool` frames. The floor has one value for every block of `block` frames,
    counted from the beginning of the recording. This value is taken over the `span` frames that are centred on the
    block; only frames inside the recording count. So no window, crop or padding changes the floor.

    Args:
        noisy_mel: Noisy mel `(batch, num_mel_bins, frames)` of a whole recording.
        span: Frames that a value is taken over, a multiple of `2 * pool` above `block`.
        block: Frames that share one value, a multiple of `2 * pool`.
        pool: Frames averaged before the percentile, which makes it steadier and cheaper.
        quantile: Share of the values below the floor (nearest rank).

    Returns:
        `(batch, num_mel_bins, frames)`.
    """
    num_frames = noisy_mel.shape[-1]
    pooled = torch.nn.functional.avg_pool1d(noisy_mel, pool, ceil_mode=True)
    num_blocks = -(-num_frames // block)
    reach = (span - block) // (2 * pool)
    outside = num_blocks * (block // pool) - pooled.shape[-1] + reach
    padded = torch.nn.functional.pad(pooled, (reach, outside), value=float("inf"))
    spans = _sorted(padded.unfold(-1, 2 * reach + block // pool, block // pool))
    counts = spans[:1, :1].isfinite().sum(dim=-1, keepdim=True)  # all bands have as many frames
    places = ((counts - 1) * quantile).long().expand(*spans.shape[:-1], 1)
    floor = spans.gather(-1, places).squeeze(-1)
    return floor.repeat_interleave(block, dim=-1)[..., :num_frames]


def _sorted(values: torch.Tensor) -> torch.Tensor:
    """`values`, sorted along the last axis. On a CPU NumPy does it, which is many times faster than PyTorch there."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return values.sort(dim=-1).values


def build_condition(
    noisy_mel: torch.Tensor,
    config: ConditionConfig,
    dereverb: torch.Tensor | float = 0.0,
    floor: torch.Tensor | None = None,
) -> torch.Tensor:
    """Condition `(batch, config.num_channels, num_mel_bins, frames)` of a whole recording's `noisy_mel`.

    The first channel is the noisy mel. The others are there if `config` has them: the [`noise_floor`]; the frequency
    coordinate from -1 (lowest band) to 1; and `dereverb`, from 0 (the room stays) to 1 (direct sound and the first
    50 ms), one value for all or `(batch,)`, the same at all bands and frames. If `floor` is given, it replaces the
    recording's own noise floor; it is broadcast to the shape of `noisy_mel`.
    """
    channels = [noisy_mel]
    if config.with_noise_floor:
        own = noise_floor(noisy_mel, config.span, config.block) if floor is None else floor.expand_as(noisy_mel)
        channels.append(own)
    if config.with_band_coordinate:
        bands = torch.linspace(-1, 1, noisy_mel.shape[-2], device=noisy_mel.device, dtype=noisy_mel.dtype)
        channels.append(bands[:, None].expand_as(noisy_mel))
    if config.with_dereverb:
        dial = torch.as_tensor(dereverb, device=noisy_mel.device, dtype=noisy_mel.dtype)
        channels.append(dial.reshape(-1, 1, 1).expand_as(noisy_mel))
    return torch.stack(channels, dim=1)
