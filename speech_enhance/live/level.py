"""Level and offset of live sound: the rules of [`running_level`], applied only to the past."""

import math
import statistics
from collections import deque

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..mel.running_level import (
    ACTIVE_RATIO,
    DIP_FRAMES,
    DIP_RATIO,
    LEAST_POWER,
    LOUDEST_START_DB,
    MAX_STEP_DB,
    REACH_FRAMES,
    START_FRAMES,
    WIDTH_DB,
)
from ..mel.spectrogram import LEVEL_MEDIAN_FRAMES, MelConfig, level_frame, level_of_power

START_STEP_DB = 3.0
"""Largest change of the level by one of the first active frames, from which the level is found."""
FREE_FRAMES = 10
"""Number of active frames that may raise the level at once. The very first may be the faint beginning of a word."""
RECENT_FRAMES = 16
"""Frames (half a second) that decide, in the beginning, whether what came before them was a loud event."""
RECENT_ACTIVE = 4
"""Active frames that decide the same for the active frames before them."""
OFFSET_SECONDS = 2.0
"""Time constant of the mean that counts as the microphone's offset."""


class ForwardLevel:
    """RMS of the active speech so far, frame by frame.

    The rule of [`running_level`] decides whether a frame is active; its spans lie in the past here. Each of the first
    `FREE_FRAMES` active frames moves the level to the upper quartile of the active frames so far: upwards at once,
    downwards by at most `START_STEP_DB`. Each further one of the first `START_FRAMES` moves the level towards the
    median so far by at most `START_STEP_DB`. After them the step is that of [`running_level`], at most `MAX_STEP_DB`.
    In pauses and steady noise the level stays. Before the first active frame it is [`level_of_power`] of the last 4
    s.

    A loud event among the first active frames, such as a knock on the microphone, is forgotten. Frames that are more
    than `LOUDEST_START_DB` above the mean of the last `RECENT_FRAMES` do not count in the mean that decides what is
    active. Active frames that are so far above the loudest of the last `RECENT_ACTIVE` are dropped, and the level falls
    at once. More than `FREE_FRAMES` active frames are no event but speech.
    """

    def __init__(self):
        self._power: deque[float] = deque(maxlen=2 * REACH_FRAMES + 1)
        self._smooth: deque[float] = deque(maxlen=2 * REACH_FRAMES + 1)
        self._first: list[float] = []
        self._level_db: float | None = None

    def push(self, power: float) -> float:
        """Return the level after one more frame of 32 ms.

        Args:
            power: Mean square of the frame.

        Returns:
            RMS; 0 as long as the sound was only digital silence.
        """
        self._power.append(power)
        self._smooth.append(statistics.median(list(self._power)[-LEVEL_MEDIAN_FRAMES:]))
        if self._is_active():
            self._follow(_decibels(self._smooth[-1]))
        if self._level_db is None:
            return float(level_of_power(torch.tensor(self._power, dtype=torch.float64)))
        return float(10 ** (self._level_db / 20))

    def _is_active(self) -> bool:
        smooth = list(self._smooth)
        value, least = smooth[-1], min(smooth[-DIP_FRAMES - 1 :])
        recent = sum(smooth[-RECENT_FRAMES:]) / len(smooth[-RECENT_FRAMES:])
        loudest = 10 ** (self._loudest_db(_decibels(recent)) / 10)
        counted = [power for power in smooth if power <= loudest]
        mean = sum(counted) / len(counted)
        return value > LEAST_POWER and value >= ACTIVE_RATIO * mean and value >= DIP_RATIO * least

    def _follow(self, decibels: float) -> None:
        previous = self._level_db
        if previous is None or len(self._first) < START_FRAMES:
            self._first.append(decibels)
            loudest_db = self._loudest_db(max(self._first[-RECENT_ACTIVE:]))
            if max(self._first) > loudest_db:
                self._first, previous = [value for value in self._first if value <= loudest_db], None
            free = len(self._first) <= FREE_FRAMES
            target = float(np.percentile(self._first, 75, method="higher") if free else np.median(self._first))
            previous = target if previous is None else previous
            most = np.inf if free else START_STEP_DB
            self._level_db = previous + min(max(target - previous, -START_STEP_DB), most)
        else:
            self._level_db = previous + MAX_STEP_DB * min(max((decibels - previous) / WIDTH_DB, -1.0), 1.0)

    def _loudest_db(self, recent_db: float) -> float:
        """Power in dB above which what came before belongs to a loud event; infinite if it does not."""
        loudest = recent_db + LOUDEST_START_DB
        if len(self._first) >= START_FRAMES or sum(value > loudest for value in self._first) > FREE_FRAMES:
            return math.inf
        return loudest


def _decibels(power: float) -> float:
    return 10 * math.log10(max(power, LEAST_POWER))


class LiveLevel:
    """Offset and level of live sound at the model's rate.

    The offset of each channel is a slow mean by a one-pole filter. While the sound is shorter than the time constant,
    it is the mean of the whole sound. The level is [`ForwardLevel`] of all channels without their offsets.

    Args:
        config: The model's analysis.
        num_channels: Channels of the sound.
    """

    def __init__(self, config: MelConfig, num_channels: int):
        self._hop, self._frame = config.hop_length, level_frame(config.sampling_rate)
        self._reach = config.n_fft // (2 * config.hop_length)  # whole hops that a frame holds after its centre
        self._num_means = OFFSET_SECONDS * config.sampling_rate / config.hop_length
        self._num_channels, self._mean = num_channels, np.zeros(num_channels)
        self._audio: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self._offset: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self._level: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self._forward_level = ForwardLevel()

    def push(self, block: np.ndarray) -> None:
        """Take in the next `(channels, samples)`, at least one sample."""
        self._audio.append(block.astype(np.float64))
        self._offset.append(self._new_offsets())
        first, last = self._level.end, self._audio.end // self._frame
        levels = [self._forward_level.push(self._power(place)) for place in range(first, last)]
        self._level.append(np.array(levels))
        self._audio.forget(min(self._offset.end * self._hop, last * self._frame))

    def offset(self, first: int, last: int) -> np.ndarray:
        """Return offsets `(channels, last - first)` of STFT frames, each at the end of its frame. All samples of the
        frames must have been pushed."""
        return self._offset.get(first + self._reach - 1, last + self._reach - 1)

    def level(self, num_samples: int) -> float:
        """Return the RMS of the active speech in the first `num_samples`; 0 if there are too few samples."""
        place = num_samples // self._frame
        return float(self._level.get(place - 1, place)[0]) if place else 0.0

    def forget(self, frame: int, num_samples: int) -> None:
        """Drop the offsets of STFT frames before `frame`, and the levels before `num_samples`."""
        needed = min(frame + self._reach - 1, self._audio.start // self._hop - 1)
        self._offset.forget(needed)
        self._level.forget(num_samples // self._frame - 1)

    def _new_offsets(self) -> np.ndarray:
        """Return the mean of every channel after each new hop, `(channels, hops)`."""
        first, last = self._offset.end, self._audio.end // self._hop
        hops = self._audio.get(first * self._hop, last * self._hop).reshape(self._num_channels, -1, self._hop)
        track = np.empty(hops.shape[:2])
        for place, mean in enumerate(hops.mean(axis=-1).T):
            self._mean = self._mean + (mean - self._mean) / min(first + place + 1, self._num_means)
            track[:, place] = self._mean
        return track

    def _power(self, place: int) -> float:
        """Return the mean square of the level's frame number `place` over all channels, without the offset."""
        samples = self._audio.get(place * self._frame, (place + 1) * self._frame)
        hops = (place + 1) * self._frame // self._hop
        offset = self._offset.get(hops - 1, hops) if hops else 0.0
        return float(np.square(samples - offset).mean())
