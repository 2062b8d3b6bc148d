"""Reduces a recording of any length to few columns for drawing: power over frequency and time, and the envelope."""

import numpy as np

WINDOW_SECONDS = 0.032
HOP_SECONDS = 0.008
MAX_COLUMNS = 1200


class Strip:
    """The columns of a recording that is added block by block, in limited memory. When there are twice `max_columns`,
    neighbours are averaged.

    Args:
        sampling_rate: Samples per second.
        max_columns: Least number of columns of a long recording, which has up to twice as many. A short recording has
            one column for every 8 ms.
    """

    def __init__(self, sampling_rate: int, max_columns: int = MAX_COLUMNS):
        self.sampling_rate, self.max_columns = sampling_rate, max_columns
        self.num_samples = 0
        self._window_length = max(16, round(WINDOW_SECONDS * sampling_rate))
        self._hop_length = max(1, round(HOP_SECONDS * sampling_rate))
        self._window = np.hanning(self._window_length + 1)[:-1].astype(np.float32)
        self._pooled = 1  # frames in a column
        self._pending = np.zeros((0, 0), np.float32)  # gets a row for each channel with the first block
        self._power = np.zeros((0, self._window_length // 2 + 1), np.float32)
        self._lowest = self._highest = np.zeros(0, np.float32)

    @classmethod
    def of(cls, audio: np.ndarray, sampling_rate: int, max_columns: int = MAX_COLUMNS) -> "Strip":
        """The finished strip of a recording `(samples,)` or `(channels, samples)`."""
        strip = cls(sampling_rate, max_columns)
        audio = np.atleast_2d(np.asarray(audio, np.float32))
        for start in range(0, audio.shape[1], sampling_rate):
            strip.push(audio[:, start : start + sampling_rate])
        return strip.finish()

    def push(self, block: np.ndarray) -> None:
        """Add float32 `(channels, samples)`."""
        if not len(self._pending):
            self._pending = np.zeros((len(block), self._window_length // 2), np.float32)
        self.num_samples += block.shape[1]
        self._pending = np.concatenate([self._pending, block], axis=1)
        self._make_columns()

    def finish(self) -> "Strip":
        """Make the last columns, with silence after the recording. Returns the strip."""
        num_frames = -(-self.num_samples // self._hop_length)
        missing = -(-num_frames // self._pooled) - len(self._power)
        length = (missing * self._pooled - 1) * self._hop_length + self._window_length
        if missing > 0:
            tail = max(0, length - self._pending.shape[1])
            self._pending = np.pad(self._pending, ((0, 0), (0, tail)))
            self._make_columns()
        return self

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.num_samples / self.sampling_rate

    @property
    def column_seconds(self) -> float:
        """Duration of every column in seconds."""
        return self._pooled * self._hop_length / self.sampling_rate

    @property
    def power(self) -> np.ndarray:
        """Mean over channels `(frequencies, columns)`, from 0 Hz to half the sampling rate."""
        return self._power.T

    @property
    def envelope(self) -> np.ndarray:
        """Lowest and highest sample of all channels in each column `(2, columns)`."""
        return np.stack([self._lowest, self._highest])

    def _make_columns(self) -> None:
        """Make columns of all complete frames. When there are `2 * max_columns`, pairs are averaged."""
        while True:
            step = self._pooled * self._hop_length
            count = (self._pending.shape[1] - self._window_length + self._hop_length) // step
            count = min(count, 2 * self.max_columns - len(self._power))
            if count <= 0:
                return
            frames = np.lib.stride_tricks.sliding_window_view(self._pending, self._window_length, axis=1)
            frames = frames[:, : count * step : self._hop_length]
            power = np.square(np.abs(np.fft.rfft(frames * self._window))).mean(axis=0)
            middle = self._window_length // 2
            samples = self._pending[:, middle : middle + count * step]
            samples = np.pad(samples, ((0, 0), (0, count * step - samples.shape[1]))).reshape(-1, count, step)
            self._power = np.concatenate([self._power, power.reshape(count, self._pooled, -1).mean(axis=1)])
            self._lowest = np.concatenate([self._lowest, samples.min(axis=(0, 2))])
            self._highest = np.concatenate([self._highest, samples.max(axis=(0, 2))])
            self._pending = self._pending[:, count * step :]
            if len(self._power) == 2 * self.max_columns:
                self._power = self._power.reshape(self.max_columns, 2, -1).mean(axis=1)
                self._lowest = self._lowest.reshape(-1, 2).min(axis=1)
                self._highest = self._highest.reshape(-1, 2).max(axis=1)
                self._pooled *= 2
