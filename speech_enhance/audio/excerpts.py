"""Chooses a part of a recording, so that one can hear what enhancing does before the whole recording is enhanced."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .files import AudioReader

_FRAME_SECONDS = 0.032


@dataclass(frozen=True)
class Excerpt(AudioReader):
    """The samples from `first` up to `last` of a recording. An excerpt is read like a whole recording.

    Args:
        first, last: Positions in samples.
    """

    first: int = 0
    last: int = 0

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the part in float32 blocks `(channels, samples)`; see [`AudioReader.blocks`]."""
        position = 0
        for block in super().blocks():
            part = block[:, max(0, self.first - position) : max(0, self.last - position)]
            if part.shape[1]:
                yield part
            position += block.shape[1]
            if position >= self.last:
                return


def excerpt_with_speech(
    reader: AudioReader, seconds: float, on_progress: Callable[[str, float, float], None] | None = None
) -> Excerpt:
    """Find the part of a recording, `seconds` long, that has the most speech. A shorter recording is returned whole.

    The recording is read once in frames of 32 ms to find the part; see [`busiest`].

    Args:
        reader: Recording.
        seconds: Length of the part.
        on_progress: Function that is called with `"looking for speech"`, the seconds read and the seconds of the
            recording.

    Raises:
        AudioFileError: if the recording cannot be read.
    """
    rate = reader.sampling_rate
    frame = max(1, round(_FRAME_SECONDS * rate))
    powers, rest, total = [], np.zeros(0), 0
    for block in reader.blocks():
        total += block.shape[1]
        power = np.concatenate([rest, np.square(block, dtype=np.float64).mean(axis=0)])
        whole = len(power) // frame * frame
        powers.append(power[:whole].reshape(-1, frame).mean(axis=1))
        rest = power[whole:]
        if on_progress:
            on_progress("looking for speech", total / rate, reader.duration)
    length = min(max(1, round(seconds * rate)), total)
    first = min(busiest(np.concatenate(powers or [rest]), max(1, length // frame)) * frame, total - length)
    values: dict[str, Any] = {field.name: getattr(reader, field.name) for field in fields(AudioReader)}
    values["duration"] = length / rate
    return Excerpt(**values, first=first, last=first + length)


def busiest(powers: np.ndarray, length: int) -> int:
    """Start of the `length` frames among which most are loud, as speech is. A frame is loud if it lies above the
    middle, in dB, between the 10th and the 95th percentile. If several places are equal, the first one is returned.

    Args:
        powers: Mean power of every frame `(frames,)`.
        length: Number of frames.
    """
    if length >= len(powers):
        return 0
    threshold = np.sqrt(np.quantile(powers, 0.1) * np.quantile(powers, 0.95))
    counts = np.concatenate([[0], np.cumsum(powers > threshold)])
    return int(np.argmax(counts[length:] - counts[:-length]))
