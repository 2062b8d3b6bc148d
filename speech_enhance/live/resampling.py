"""Converts between the caller's sampling rate and the model's, block by block, with a short and known delay.

[`Resampler`] answers in blocks of its own, with up to 58 ms of delay on either side. Live sound cannot wait that long.
The filters here reach 2 ms to either side at rates from 16 kHz on.
"""

from math import ceil, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..audio.buffers import SlidingBuffer
from ..audio.resampling import SEEN_BAND, SMOOTHED_FRAMES, gain_of_unseen

CUTOFF = 0.97
"""Middle of the filter's transition, relative to half the lower rate. The transition begins at `SEEN_BAND`."""
HALF_WIDTH = 31
"""Reach of the filter to either side, in samples at the lower rate. With the Kaiser window below, the filter attenuates
by 70 dB beyond the transition."""
KAISER_BETA = 6.75
TABLE_PHASES = 4096
FRAMES_AHEAD = 1
"""Number of future frames in the mean of the upper bands' gain over `SMOOTHED_FRAMES`."""


class LiveResampler:
    """Resamples a stream with a windowed sinc of linear phase. Sample m of the result lies at the time m / `to_rate`.

    Args:
        from_rate, to_rate: Samples per second.
        num_channels: Channels of the stream.
    """

    def __init__(self, from_rate: int, to_rate: int, num_channels: int):
        divisor = gcd(from_rate, to_rate)
        self._phases, self._step = to_rate // divisor, from_rate // divisor
        self._cutoff = CUTOFF * min(from_rate, to_rate) / from_rate
        self.reach = reach(from_rate, to_rate)
        self._made = 0
        self._input: SlidingBuffer[np.ndarray] = SlidingBuffer(start=-self.reach)
        self._input.append(np.zeros((num_channels, self.reach), np.float32))
        small = self._phases <= TABLE_PHASES
        self._table = self._filters(np.arange(self._phases)) if small else None

    def push(self, block: np.ndarray) -> np.ndarray:
        """Take in the next `(channels, samples)` at `from_rate` and return the new samples `(channels, n)` at
        `to_rate`."""
        self._input.append(block)
        end = -(-max(self._input.end - self.reach, 0) * self._phases // self._step)
        if end <= self._made:
            return np.zeros((len(block), 0), np.float32)
        places = np.arange(self._made, end) * self._step
        phases, centres = places % self._phases, places // self._phases
        first = int(centres[0]) - self.reach + 1
        held = self._input.get(first, int(centres[-1]) + self.reach + 1)
        windows = sliding_window_view(held, 2 * self.reach, axis=1)
        self._made = end
        self._input.forget(end * self._step // self._phases - self.reach + 1)
        if self._table is not None and self._step == 1:  # each window serves every phase
            every_phase = (windows @ self._table.T).reshape(len(block), -1)
            return every_phase[:, phases[0] : phases[0] + len(phases)]
        filters = self._filters(phases) if self._table is None else self._table[phases]
        return np.einsum("cnt,nt->cn", windows[:, centres - centres[0]], filters)

    def _filters(self, phases: np.ndarray) -> np.ndarray:
        """Return filters `(n, taps)` for results that lie a fraction `phases` of an input sample after an input sample.
        Each filter sums to 1."""
        times = np.arange(1 - self.reach, self.reach + 1) - (phases / self._phases)[:, None]
        window = np.i0(KAISER_BETA * np.sqrt((1 - (times / self.reach) ** 2).clip(0)))
        filters = np.sinc(self._cutoff * times) * window
        return (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)


def reach(from_rate: int, to_rate: int) -> int:
    """Return how many samples at `from_rate` after its own place a result of [`LiveResampler`] needs."""
    return ceil(HALF_WIDTH * from_rate / min(from_rate, to_rate))


class LiveRestorer:
    """Resamples the model's change to the caller's rate and adds it to the caller's sound, by the rule of
    [`RateRestorer`].

    The gain above the model's band is the mean over `SMOOTHED_FRAMES` frames. Only one of them lies in the future, so
    the mean adds no delay.

    Args:
        sampling_rate: The caller's samples per second.
        model_rate: The model's samples per second.
        hop_length: Samples at `model_rate` between two frames.
        num_channels: Channels of the sound.
        min_gain: Lower bound of the gain above the model's band.
    """

    def __init__(self, sampling_rate: int, model_rate: int, hop_length: int, num_channels: int, min_gain: float):
        self._frame = sampling_rate * hop_length / model_rate
        self._changes = LiveResampler(model_rate, sampling_rate, num_channels)
        self._sights = LiveResampler(model_rate, sampling_rate, num_channels)
        self._changed: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self._seen: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self._before = SMOOTHED_FRAMES - 1 - FRAMES_AHEAD
        self._upper: SlidingBuffer[np.ndarray] = SlidingBuffer(-self._before)
        self._unseen_density: SlidingBuffer[np.ndarray] = SlidingBuffer(-self._before)
        self._unseen_bandwidth = (sampling_rate - SEEN_BAND * min(sampling_rate, model_rate)) / 2
        self._min_gain = min_gain
        self._made = 0

    def see(self, recording: SlidingBuffer[np.ndarray], model_audio: np.ndarray) -> None:
        """Take in the model's next input, `(channels, n)` at the model's rate.

        Args:
            recording: Buffer of the caller's sound `(channels, samples)`, from the last returned sample on.
            model_audio: Next samples of the same sound at the model's rate.
        """
        self._seen.append(self._sights.push(model_audio))
        done = max(self._unseen_density.end, 0)
        known = min(self._seen.end, recording.end)
        end = max(int(known / self._frame + 0.5) + 1, done)
        edges = np.rint((np.arange(done, end + 1) - 0.5) * self._frame).astype(int).clip(0)
        edges = edges[: np.searchsorted(edges, known, side="right")]
        if len(edges) < 2:
            return
        unseen = recording.get(edges[0], edges[-1]).astype(np.float64) - self._seen.get(edges[0], edges[-1])
        sums = np.concatenate([[0.0], np.square(unseen).mean(axis=0).cumsum()])[edges - edges[0]]
        self._append(self._unseen_density, np.diff(sums) / np.diff(edges).clip(min=1) / self._unseen_bandwidth)

    def change(self, changed: np.ndarray, upper_gain: np.ndarray, upper_density: np.ndarray) -> None:
        """Take in the model's next change.

        Args:
            changed: Enhanced sound minus the model's input, `(channels, n)` at the model's rate.
            upper_gain: Gain of the upper bands in the next frames, `(frames,)`.
            upper_density: Power per Hz of the enhanced upper bands, same shape.
        """
        self._changed.append(self._changes.push(changed))
        self._append(self._upper, np.stack([upper_gain, upper_density]))

    def read(self, recording: SlidingBuffer[np.ndarray], end: int) -> np.ndarray:
        """Return the enhanced sound `(channels, n)` from the last returned sample up to sample `end`."""
        first, self._made = self._made, end
        audio, seen = recording.get(first, end), self._seen.get(first, end)
        restored = audio + self._changed.get(first, end) - (audio - seen) * (1 - self._gain_of(first, end))
        needed = int(end / self._frame)
        self._changed.forget(end)
        self._seen.forget(min(end, int((self._unseen_density.end - 0.5) * self._frame) - 1))
        for frames in (self._upper, self._unseen_density):
            frames.forget(needed - self._before)
        return restored.astype(np.float32)

    @property
    def first_sample_needed(self) -> int:
        """The first sample of the recording that is still needed."""
        return min(self._made, self._seen.start)

    def _append(self, buffer: SlidingBuffer[np.ndarray], frames: np.ndarray) -> None:
        """Append frames to a buffer. The very first frame is repeated before the start."""
        if buffer.end == -self._before:
            frames = np.concatenate([np.repeat(frames[..., :1], self._before, axis=-1), frames], axis=-1)
        buffer.append(frames)

    def _gain_of(self, first: int, end: int) -> np.ndarray:
        """Return the gain `(end - first,)` above the model's band."""
        position = np.arange(first, end) / self._frame
        frames = np.arange(int(position[0]), int(position[-1]) + 2)
        span = frames[0] - self._before, frames[-1] + FRAMES_AHEAD + 1
        gain, upper = self._upper.get(*span)
        return np.interp(position, frames, gain_of_unseen(gain, upper, self._unseen_density.get(*span), self._min_gain))
