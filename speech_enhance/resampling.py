"""Between the recording's own sampling rate and the model's."""

import numpy as np
import soxr

from .buffers import SlidingBuffer

SMOOTHED_FRAMES = 5  # over which the gain above the model's band is averaged


def resample(audio: np.ndarray, from_rate: int, to_rate: int, num_samples: int) -> np.ndarray:
    """Resample `(channels, samples)` in linear phase to exactly `(channels, num_samples)`."""
    resampler = Resampler(from_rate, to_rate, len(audio))
    return np.concatenate([resampler.push(audio), resampler.finish(num_samples)], axis=1)[:, :num_samples]


def num_resampled(num_samples: int, from_rate: int, to_rate: int) -> int:
    """Samples at `to_rate` that cover `num_samples` at `from_rate`; at least one."""
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
        """What `(channels, samples)` more at the one rate add to the result at the other, perhaps nothing yet."""
        return self._process(block, last=False)

    def finish(self, num_samples: int) -> np.ndarray:
        """The rest of the result, which has `num_samples` in all: cut off, or filled up with silence."""
        missing = num_samples - self._made
        rest = self._process(np.zeros((self._num_channels, 0), np.float32), last=True)[:, : max(missing, 0)]
        return np.pad(rest, ((0, 0), (0, max(missing - rest.shape[1], 0))))

    def _process(self, block: np.ndarray, last: bool) -> np.ndarray:
        if self._stream is not None:
            block = self._stream.resample_chunk(np.ascontiguousarray(block.T, dtype=np.float32), last=last).T
        self._made += block.shape[1]
        return block


class RateRestorer:
    """Brings the model's result back to the recording's rate, together with the band the model does not see.

    What the model changed is resampled and added to the recording, so a network that changes nothing gives the
    recording back whatever its rate. What resampling to the model's rate and back loses (the band above the model's,
    or the resampler's edge) the model has not seen: it gets the gain of the upper bands, so that air survives where
    there is speech and hiss goes where there is none.

    Args:
        sampling_rate: The recording's samples per second.
        model_rate: The model's.
        hop_length: Samples at `model_rate` between two values of the gain.
        num_channels, num_samples: Of the recording.
    """

    def __init__(self, sampling_rate: int, model_rate: int, hop_length: int, num_channels: int, num_samples: int):
        self._same_rate = sampling_rate == model_rate
        self._num_samples = num_samples
        self._frames_per_sample = model_rate / (sampling_rate * hop_length)
        self._resampler = Resampler(model_rate, sampling_rate, 2 * num_channels)
        self._changed_and_seen = SlidingBuffer()
        self._reach = SMOOTHED_FRAMES // 2
        self._gain = SlidingBuffer(start=-self._reach)
        self._made = 0

    def push(
        self,
        recording: SlidingBuffer,
        model_audio: np.ndarray,
        enhanced: np.ndarray,
        upper_gain: np.ndarray,
        last: bool,
    ) -> np.ndarray:
        """Go on with a block.

        Args:
            recording: Holds the recording `(channels, samples)` from the last sample given back on.
            model_audio: The block as the model saw it, `(channels, n)` at its rate.
            enhanced: What became of that, same shape.
            upper_gain: Gain of the upper bands `(1 or channels, frames)`, the frames that follow those pushed before;
                they may run ahead of the samples.
            last: Whether the recording ends with this block.

        Returns:
            The enhanced recording `(channels, m)`, as far as it is known.
        """
        if self._same_rate:
            return enhanced
        changed_and_seen = np.concatenate([enhanced - model_audio, model_audio])
        self._changed_and_seen.append(self._resampler.push(changed_and_seen))
        if self._gain.end == -self._reach:
            self._gain.append(np.repeat(upper_gain[:, :1], self._reach, axis=1))
        self._gain.append(upper_gain)
        first, end = self._made, self._num_samples
        if last:
            self._changed_and_seen.append(self._resampler.finish(self._num_samples))
            self._gain.append(np.repeat(upper_gain[:, -1:], self._reach, axis=1))
        else:
            smoothed = self._gain.end - self._reach - 1
            end = min(self._changed_and_seen.end, recording.end, int(smoothed / self._frames_per_sample))
            if end <= first:
                return np.zeros((len(model_audio), 0), np.float32)
        changed, seen = np.split(self._changed_and_seen.get(first, end), 2)
        audio = recording.get(first, end)
        restored = audio + changed - (audio - seen) * (1 - self._gain_of(first, end))
        self._made = end
        self._changed_and_seen.forget(end)
        self._gain.forget(int(end * self._frames_per_sample) - self._reach)
        return restored.astype(np.float32)

    def _gain_of(self, first: int, end: int) -> np.ndarray:
        """The smoothed gain `(1 or channels, end - first)` of samples at the recording's rate."""
        position = np.arange(first, end) * self._frames_per_sample
        last_frame = self._gain.end - self._reach - 1
        frames = np.arange(
            int(first * self._frames_per_sample), min(int(end * self._frames_per_sample) + 1, last_frame) + 1
        )
        span = self._gain.get(frames[0] - self._reach, frames[-1] + self._reach + 1)
        window = np.full(SMOOTHED_FRAMES, 1 / SMOOTHED_FRAMES)
        return np.stack([np.interp(position, frames, np.convolve(row, window, mode="valid")) for row in span])
