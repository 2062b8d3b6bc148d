"""Converts between the recording's sampling rate and the model's."""

import numpy as np
import soxr

from .buffers import SlidingBuffer

SMOOTHED_FRAMES = 5  # number of frames over which gain and power above the model's band are averaged
SEEN_BAND = 0.9  # share of the lower rate's band that resampling keeps untouched
DENSITY_RATIO = 4.0  # largest ratio of the power per Hz above the band to that of the enhanced upper bands: 6 dB


def resample(audio: np.ndarray, from_rate: int, to_rate: int, num_samples: int) -> np.ndarray:
    """Resample `(channels, samples)` in linear phase to exactly `(channels, num_samples)`."""
    resampler = Resampler(from_rate, to_rate, len(audio))
    return np.concatenate([resampler.push(audio), resampler.finish(num_samples)], axis=1)[:, :num_samples]


def num_resampled(num_samples: int, from_rate: int, to_rate: int) -> int:
    """Number of samples at `to_rate` that cover `num_samples` at `from_rate`; at least one."""
    return max(1, -(-num_samples * to_rate // from_rate))


class Resampler:
    """Resamples a stream in linear phase, without delay in the result."""

    def __init__(self, from_rate: int, to_rate: int, num_channels: int):
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, num_channels, dtype="float32", quality="HQ")
        self._num_channels = num_channels
        self._made = 0

    def push(self, block: np.ndarray) -> np.ndarray:
        """Add `(channels, samples)` at the first rate. Returns the new samples at the second rate, perhaps none."""
        return self._process(block, last=False)

    def finish(self, num_samples: int) -> np.ndarray:
        """Return the rest of the result. It is cut off or filled with silence, so that there are `num_samples` in
        all."""
        missing = num_samples - self._made
        rest = self._process(np.zeros((self._num_channels, 0), np.float32), last=True)[:, : max(missing, 0)]
        return np.pad(rest, ((0, 0), (0, max(missing - rest.shape[1], 0))))

    def _process(self, block: np.ndarray, last: bool) -> np.ndarray:
        if self._stream is not None:
            block = self._stream.resample_chunk(np.ascontiguousarray(block.T, dtype=np.float32), last=last).T
        self._made += block.shape[1]
        return block


class RateRestorer:
    """Brings the model's result back to the recording's rate, together with the band that the model does not see.

    The change that the model made is resampled and added to the recording. So a network that changes nothing returns
    the recording, whatever its rate. The model does not see the sound that is lost by resampling to the model's rate
    and back (the band above the model's, or the resampler's edge). This sound gets the gain of the upper bands. Its
    power per Hz is limited to 6 dB above what remains in the upper bands. This keeps the air of speech, and removes
    hiss where there is no speech, even hiss that lies wholly above the model's band.

    Args:
        sampling_rate: Samples per second of the recording.
        model_rate: Samples per second of the model.
        hop_length: Samples at `model_rate` between two values of the gain.
        num_channels, num_samples: Number of channels and length of the recording.
        min_gain: Lower bound of the gain above the model's band.
    """

    def __init__(
        self,
        sampling_rate: int,
        model_rate: int,
        hop_length: int,
        num_channels: int,
        num_samples: int,
        min_gain: float = 0.0,
    ):
        self._same_rate = sampling_rate == model_rate
        self._num_samples = num_samples
        self._frames_per_sample = model_rate / (sampling_rate * hop_length)
        self._resampler = Resampler(model_rate, sampling_rate, 2 * num_channels)
        self._changed_and_seen: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self._reach = SMOOTHED_FRAMES // 2
        self._upper: SlidingBuffer[np.ndarray] = SlidingBuffer(start=-self._reach)
        self._unseen_density: SlidingBuffer[np.ndarray] = SlidingBuffer(start=-self._reach)
        self._unseen_bandwidth = (sampling_rate - SEEN_BAND * min(sampling_rate, model_rate)) / 2
        self._min_gain = min_gain
        self.num_made = 0
        """Number of samples that were returned."""

    def push(
        self,
        recording: SlidingBuffer[np.ndarray],
        model_audio: np.ndarray,
        enhanced: np.ndarray,
        upper_gain: np.ndarray,
        upper_density: np.ndarray,
        last: bool,
    ) -> np.ndarray:
        """Add a block.

        Args:
            recording: Buffer of the recording `(channels, samples)` that begins where the returned samples end.
            model_audio: Block `(channels, n)` at the model's rate, as the model saw it.
            enhanced: Enhanced block of the same shape.
            upper_gain: Gain of the upper bands `(1 or channels, frames)` for the frames after those pushed before. The
                frames may run ahead of the samples.
            upper_density: Power per Hz of the enhanced upper bands, same shape.
            last: Whether the recording ends with this block.

        Returns:
            The next samples `(channels, m)` of the enhanced recording that are complete.
        """
        if self._same_rate:
            self.num_made += enhanced.shape[1]
            return enhanced
        changed_and_seen = np.concatenate([enhanced - model_audio, model_audio])
        self._changed_and_seen.append(self._resampler.push(changed_and_seen))
        self._append(self._upper, np.stack([upper_gain, upper_density]), last)
        if last:
            self._changed_and_seen.append(self._resampler.finish(self._num_samples))
        self._measure_unseen(recording, len(upper_gain), last)
        first, end = self.num_made, self._num_samples
        if not last:
            smoothed = self._unseen_density.end - self._reach - 1
            end = min(self._changed_and_seen.end, recording.end, int(smoothed / self._frames_per_sample))
            if end <= first:
                return np.zeros((len(model_audio), 0), np.float32)
        changed, seen = np.split(self._changed_and_seen.get(first, end), 2)
        audio = recording.get(first, end)
        restored = audio + changed - (audio - seen) * (1 - self._gain_of(first, end))
        self.num_made = end
        self._changed_and_seen.forget(end)
        for frames in (self._upper, self._unseen_density):
            frames.forget(int(end * self._frames_per_sample) - self._reach)
        return restored.astype(np.float32)

    def _append(self, buffer: SlidingBuffer[np.ndarray], frames: np.ndarray, last: bool) -> None:
        """Append frames to a buffer. Beyond the ends of the recording, its first and last frame are repeated."""
        before = self._reach if buffer.end == -self._reach else 0
        edges = [(0, 0)] * (frames.ndim - 1) + [(before, self._reach if last else 0)]
        buffer.append(np.pad(frames, edges, mode="edge"))

    def _measure_unseen(self, recording: SlidingBuffer[np.ndarray], num_groups: int, last: bool) -> None:
        """Measure the power per Hz of the sound that the model does not see, for complete frames that have a gain."""
        done = max(self._unseen_density.end, 0)
        end = self._upper.end - (self._reach if last else 0)
        edges = np.rint((np.arange(done, end + 1) - 0.5) / self._frames_per_sample).astype(int)
        edges = edges.clip(0, self._num_samples)
        known = min(self._changed_and_seen.end, recording.end)
        edges = edges[: np.searchsorted(edges, known, side="right")]
        if len(edges) < 2:
            return
        _, seen = np.split(self._changed_and_seen.get(edges[0], edges[-1]), 2)
        squares = np.square(recording.get(edges[0], edges[-1]).astype(np.float64) - seen)
        if num_groups == 1:
            squares = squares.mean(axis=0, keepdims=True)
        sums = np.pad(squares, ((0, 0), (1, 0))).cumsum(axis=1)[:, edges - edges[0]]
        power = np.diff(sums) / np.diff(edges).clip(min=1)
        self._append(self._unseen_density, power / self._unseen_bandwidth, last)

    def _gain_of(self, first: int, end: int) -> np.ndarray:
        """The gain `(1 or channels, end - first)` of samples at the recording's rate above the model's band."""
        position = np.arange(first, end) * self._frames_per_sample
        last_frame = self._unseen_density.end - self._reach - 1
        frames = np.arange(
            int(first * self._frames_per_sample), min(int(end * self._frames_per_sample) + 1, last_frame) + 1
        )
        span = frames[0] - self._reach, frames[-1] + self._reach + 1
        gain, upper = self._upper.get(*span)
        gain = gain_of_unseen(gain, upper, self._unseen_density.get(*span), self._min_gain)
        return np.stack([np.interp(position, frames, row) for row in gain])


def gain_of_unseen(gain: np.ndarray, upper: np.ndarray, unseen: np.ndarray, min_gain: float) -> np.ndarray:
    """Gain of the band that the model does not see, `(..., n - SMOOTHED_FRAMES + 1)`.

    Args:
        gain: Gain `(..., n)` of the upper bands that the model sees, frame by frame.
        upper: Power per Hz of these bands with the gain applied, same shape.
        unseen: Power per Hz of the unseen band, same shape.
        min_gain: Lower bound of the result.
    """
    allowed = DENSITY_RATIO * _smoothed(upper) / np.maximum(_smoothed(unseen), 1e-30)
    return np.maximum(np.minimum(_smoothed(gain), np.sqrt(allowed)), min_gain)


def _smoothed(frames: np.ndarray) -> np.ndarray:
    """Running means `(..., n - SMOOTHED_FRAMES + 1)` of `(..., n)`."""
    length = frames.shape[-1] - SMOOTHED_FRAMES + 1
    parts = [frames[..., first : first + length] for first in range(SMOOTHED_FRAMES)]
    return np.sum(parts, axis=0) / SMOOTHED_FRAMES
