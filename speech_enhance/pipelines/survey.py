"""Reads a recording once to find its length, level and offset, which must be known before it can be enhanced."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..audio.resampling import Resampler, num_resampled
from ..mel.running_level import level_at_frames, limited_level, running_level
from ..mel.spectrogram import MelConfig, frame_power, level_frame, level_of_power, level_scale
from .inputs import as_tensor, check_block

BLOCK_SECONDS = 2.0

Blocks = Callable[[], Iterable[np.ndarray]]
"""Function that begins to read a recording from its beginning: float32 blocks `(channels, samples)` of any lengths."""


@dataclass(frozen=True)
class Survey:
    """Facts about a recording that must be known before it can be enhanced.

    Args:
        sampling_rate, num_channels, num_samples: Sampling rate, number of channels and length of the recording.
        level: Level `(groups, 1)` of the recording, or `(groups, frames)` for every 32 ms. The channels of a group
            share a gain: a group is all channels, or each channel is a group.
        mean_level: RMS of the speech `(groups,)` in the whole recording.
        offset: Constant `(channels,)` that is subtracted before anything is measured, see [`OffsetMeter`]; 0 if the
            model keeps it.
    """

    sampling_rate: int
    num_channels: int
    num_samples: int
    level: torch.Tensor
    mean_level: torch.Tensor
    offset: np.ndarray

    def num_model_samples(self, model_rate: int) -> int:
        """Number of samples at the model's rate."""
        return num_resampled(self.num_samples, self.sampling_rate, model_rate)

    def scale(self, first: int, last: int, config: MelConfig) -> torch.Tensor:
        """Factor `(groups, last - first)` that brings each of these STFT frames to the model's level."""
        level = level_at_frames(self.level, first, last, config.hop_length / config.sampling_rate)
        return level_scale(level, config).float()

    def mean_scale(self, config: MelConfig) -> torch.Tensor:
        """Factor `(groups,)` that brings the whole recording to the model's level."""
        return level_scale(self.mean_level, config).float()


def array_blocks(audio: np.ndarray, sampling_rate: int) -> Iterator[np.ndarray]:
    """Yield an array `(channels, samples)` in blocks."""
    step = max(1, round(BLOCK_SECONDS * sampling_rate))
    for start in range(0, audio.shape[1], step):
        yield audio[:, start : start + step]


class OffsetMeter:
    """Measures the constant that a channel's samples lie around: the median of the means over parts of half a second.

    A loud event has a mean of its own, and decides for its own parts alone. The last part takes what is left over.

    Args:
        sampling_rate: Samples per second.
    """

    def __init__(self, sampling_rate: int):
        self._length, self._num_channels, self._num_samples = -(-sampling_rate // 2), 0, 0
        self._sums = array("d")  # of each part, channel by channel

    def push(self, block: np.ndarray) -> None:
        """Add the next samples `(channels, samples)`, of as many channels as before."""
        self._num_channels = len(block)
        begun = -self._num_samples % self._length  # samples that belong to a part that has begun
        starts = np.arange(begun, block.shape[1], self._length)
        if begun:
            head = block[:, :begun].sum(axis=1, dtype=np.float64)
            for place, value in enumerate(head, start=len(self._sums) - self._num_channels):
                self._sums[place] += value
        if len(starts):
            self._sums.extend(np.add.reduceat(block, starts, axis=1, dtype=np.float64).T.flatten())
        self._num_samples += block.shape[1]

    def offset(self) -> np.ndarray:
        """Offset `(channels,)` in float64 of what was pushed, at least one sample."""
        sums = np.frombuffer(self._sums).reshape(-1, self._num_channels)
        whole = max(self._num_samples // self._length, 1)
        sums = np.concatenate([sums[: whole - 1], sums[whole - 1 :].sum(axis=0, keepdims=True)])
        counts = np.full((whole, 1), self._length)
        counts[-1] = self._num_samples - (whole - 1) * self._length
        return np.median(sums / counts, axis=0)


def survey(
    open_blocks: Blocks,
    sampling_rate: int,
    config: MelConfig,
    independent_channels: bool,
    level_rule: str = "recording",
    remove_offset: bool = False,
) -> Survey:
    """Read a recording once, for its length, its level and its offset.

    Args:
        open_blocks: Function that begins to read the recording.
        sampling_rate: Samples per second.
        config: Analysis of the model.
        independent_channels: Whether each channel has a level of its own.
        level_rule: Rule of the level, one of [`LEVEL_RULES`].
        remove_offset: Whether the offset of each channel is measured, and subtracted before the level is measured.

    Raises:
        ValueError: if it is empty, has NaN or infinite samples, or blocks of different numbers of channels.
    """
    frame = level_frame(config.sampling_rate)
    num_samples, num_channels, resampler, meter = 0, None, None, OffsetMeter(sampling_rate)
    pending: SlidingBuffer[np.ndarray] = SlidingBuffer()
    # Small tensors that stay between large ones that go leave a heap full of holes: 700 MB in an hour of stereo.
    means, powers = array("d"), array("d")

    def measure(block: np.ndarray) -> None:
        samples = as_tensor(block).double()
        means.extend(frame_power(samples, frame).T.flatten().tolist())
        powers.extend(frame_power(samples.square(), frame).T.flatten().tolist())

    for block in open_blocks():
        check_block(block, num_channels)
        if resampler is None:
            num_channels = len(block)
            resampler = Resampler(sampling_rate, config.sampling_rate, num_channels)
        num_samples += block.shape[1]
        meter.push(block)
        pending.append(resampler.push(block))
        whole = max((pending.end - 1) // frame * frame, pending.start)  # the last frame waits: it may be incomplete
        if whole > pending.start:
            measure(pending.get(pending.start, whole))
            pending.forget(whole)
    if resampler is None or num_channels is None or num_samples == 0:
        raise ValueError("the recording is empty")
    num_model_samples = num_resampled(num_samples, sampling_rate, config.sampling_rate)
    pending.append(resampler.finish(num_model_samples))
    measure(pending.get(pending.start, num_model_samples))
    mean, power = (
        torch.tensor(values, dtype=torch.float64).unflatten(0, (-1, num_channels)).T for values in (means, powers)
    )
    offset = torch.from_numpy(meter.offset() if remove_offset else np.zeros(num_channels))[:, None]
    power = (power - 2 * offset * mean + offset.square()).clamp(min=0)
    power = power if independent_channels else power.mean(dim=0, keepdim=True)
    if level_rule == "running":
        speech = running_level(power)
        level, mean_level = limited_level(speech, power), speech.log().mean(dim=-1).exp()
    else:
        mean_level = level_of_power(power)
        level = mean_level[:, None]
    return Survey(
        sampling_rate, num_channels, num_samples, level.float(), mean_level.float(), offset[:, 0].float().numpy()
    )
