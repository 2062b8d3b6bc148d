"""Carries live sound between devices that must never wait and a network that sometimes takes long.

The callbacks of the devices only move samples into one ring buffer and out of another. A worker thread takes the new
samples, enhances them and puts them into the second buffer. That buffer holds a short reserve for the time the network
takes. The threads share only numbers that a single thread changes.

The two devices have separate clocks. If the reserve runs out, silence goes out until half of it is there again, and
the delay grows by its length. What the buffer did not need for three minutes is left out with a fade. So the delay
follows the machine: it stays longer where devices or computing stall again and again.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from .enhancer import LiveEnhancer
from .limiter import Limiter

RING_SECONDS = 4.0
FADE_SECONDS = 0.02
GAP_FADE_SECONDS = 0.003
"""Length of the fades before and after a gap, which would click without them."""
START_SECONDS = 1.0
RETRY_SECONDS = 5.0
"""Time for which sound is passed on without enhancing after the network was too slow."""
MOST_LOAD = 0.9
"""Load above which waiting sound counts as an overload. A second of waiting sound always does."""
CALM_SECONDS = 180
"""Time for which the output buffer must hold a surplus before it is left out, or the time since the start if that is
shorter."""
MOST_SURPLUS_SECONDS = 0.15
"""A surplus above this is left out after a second."""
PAUSE_SECONDS = 0.002
"""Time for which the worker sleeps before it looks for new sound again."""


def rest_seconds(num_overloads: int) -> float:
    """Return the length of the rest after overload number `num_overloads`, from 1 on. Each rest is twice as long as the
    one before, up to sixteen times the first."""
    return RETRY_SECONDS * min(2 ** (num_overloads - 1), 16)


def followed_load(load: float, took: float, seconds: float) -> float:
    """Return the load, which was `load`, after a sound of `seconds` for which the computing took `took` seconds. It
    follows about the last second."""
    return load + min(seconds, 1.0) * (took / seconds - load)


def rising(length: int) -> np.ndarray:
    """Return the shares `(length,)` of a sound that fades in."""
    return (np.arange(length, dtype=np.float32) + 0.5) / max(length, 1)


class RingBuffer:
    """Passes samples from one thread to another. Neither thread ever waits.

    Args:
        num_channels: Number of channels.
        size: Number of samples that the buffer holds.
    """

    def __init__(self, num_channels: int, size: int):
        self._data = np.zeros((num_channels, size), np.float32)
        self.num_written = self.num_read = 0

    @property
    def filled(self) -> int:
        """Number of samples that wait to be read."""
        return self.num_written - self.num_read

    def write(self, block: np.ndarray) -> int:
        """Add `block (channels, samples)` as far as there is room, and return the number of samples added."""
        count = min(block.shape[1], self._data.shape[1] - self.filled)
        if count:
            self._data[:, self._places(self.num_written, count)] = block[:, :count]
            self.num_written += count
        return count

    def read(self, count: int) -> np.ndarray:
        """Take out up to `count` samples and return them, `(channels, n)`."""
        count = min(count, self.filled)
        block = self._data[:, self._places(self.num_read, count)]
        self.num_read += count
        return block

    def _places(self, first: int, count: int) -> np.ndarray:
        return np.arange(first, first + count) % self._data.shape[1]


class Passage:
    """Sends sound through a [`LiveEnhancer`], or past it with the same delay. Changes between the two are faded.

    Args:
        live: The enhancer.
        num_channels: Channels of the sound.
    """

    def __init__(self, live: LiveEnhancer, num_channels: int):
        self._live = live
        self._waiting = np.zeros((num_channels, live.latency), np.float32)
        self._limiter = Limiter(live.sampling_rate)
        self._fade = 1 / (FADE_SECONDS * live.sampling_rate)
        self._share, self._fed, self._resting = 0.0, 0, False

    def process(self, block: np.ndarray, bypass: bool) -> np.ndarray:
        """Return the sound `(channels, samples)` that goes out when `block` of the same shape comes in."""
        joined = np.concatenate([self._waiting, block], axis=1)
        passed, self._waiting = joined[:, : block.shape[1]], joined[:, block.shape[1] :]
        passed = self._limiter.push(passed)
        if self._resting:
            enhanced = np.zeros_like(passed)
        else:
            enhanced = self._live.process(block)
            self._fed += block.shape[1]
        ready = not self._resting and self._fed > self._live.latency + block.shape[1]
        target = 1.0 if ready and not bypass else 0.0
        if self._resting:
            self._share = 0.0
        steps = self._fade * np.arange(1, block.shape[1] + 1)
        shares = np.clip(self._share + np.sign(target - self._share) * steps, 0.0, 1.0)
        if self._share == target:
            shares = np.full(block.shape[1], target)
        self._share = float(shares[-1])
        return (shares * enhanced + (1 - shares) * passed).astype(np.float32)

    def rest(self) -> None:
        """Pass sound on without running the network."""
        self._resting, self._fed = True, 0
        self._live.reset()

    def resume(self) -> None:
        """Enhance again."""
        self._resting = False

    @property
    def resting(self) -> bool:
        """Whether the network rests."""
        return self._resting


@dataclass
class Meters:
    """Measurements of a session.

    Args:
        peak_in, peak_out: Largest magnitudes of input and output since they were last read, full scale 1.
        load: Computing time divided by the length of the sound, over about the last second.
        gaps: Number of times that the reserve was empty and silence went out.
        lost: Number of incoming samples for which there was no room.
        seconds: Length of the sound so far.
        num_overloads: Number of times that the network was too slow and rested.
    """

    peak_in: float = 0.0
    peak_out: float = 0.0
    load: float = 0.0
    gaps: int = 0
    lost: int = 0
    seconds: float = 0.0
    num_overloads: int = 0


class LiveSession:
    """Connects the devices' callbacks, the worker and the thread that watches them.

    Args:
        live: The enhancer.
        num_inputs, num_outputs: Numbers of channels of the devices. A single input goes to all outputs; a single output
            gets the mean of several inputs.
        reserve: Samples that the output holds in reserve for the time the network takes.
        record: Whether the output is kept for [`~LiveSession.recorded`].
    """

    def __init__(self, live: LiveEnhancer, num_inputs: int, num_outputs: int, reserve: int, record: bool = False):
        self._live, self._reserve, self._num_outputs = live, reserve, num_outputs
        size = round(RING_SECONDS * live.sampling_rate) + reserve
        self._inbox, self._outbox = RingBuffer(num_inputs, size), RingBuffer(num_outputs, size)
        self._outbox.write(np.zeros((num_outputs, reserve), np.float32))
        self._recording = RingBuffer(num_outputs, size) if record else None
        self._passage = Passage(live, num_inputs)
        self._least = self._surplus = 0
        self._leasts: deque[int] = deque(maxlen=CALM_SECONDS)
        self._checked, self._cut = 0.0, None
        self._most_waiting = max(2 * reserve, round(0.2 * live.sampling_rate))
        self._rest_until, self._in_gap = 0.0, False
        self._stopped = threading.Event()
        self._worker = threading.Thread(target=self._work, name="live", daemon=True)
        self.meters = Meters()
        self.bypass = False
        self.error: BaseException | None = None
        self.last_input = self.last_output = time.monotonic()

    @property
    def delay(self) -> int:
        """Delay from the input to the same sound in the output, in samples, without the delay of the devices."""
        return self._live.latency + self._inbox.filled + self._outbox.filled

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return self._live.sampling_rate

    def take(self, indata: np.ndarray, frames: int, when=None, status=None) -> None:
        """Take in an array `(frames, channels)`. The input device calls this function; it never waits."""
        self.last_input = time.monotonic()
        self.meters.lost += frames - self._inbox.write(indata.T)

    def give(self, outdata: np.ndarray, frames: int, when=None, status=None) -> None:
        """Fill an array `(frames, channels)`. The output device calls this function; it never waits."""
        self.last_output = time.monotonic()
        waits = self._in_gap and self._outbox.filled < frames + self._reserve // 2
        block = self._outbox.read(0 if waits else frames)
        self._least = min(self._least, self._outbox.filled)
        gap_begins = not self._in_gap and block.shape[1] < frames
        if gap_begins and self.meters.seconds > START_SECONDS:  # at first, devices fill their own buffers
            self.meters.gaps += 1
        block = self._faded(block, frames)
        outdata[: block.shape[1]] = block.T
        outdata[block.shape[1] :] = 0

    def _faded(self, block: np.ndarray, frames: int) -> np.ndarray:
        """Fade a block `(channels, samples)` in if it ends a gap, and out if it is shorter than `frames`, which is a
        gap."""
        short = block.shape[1] < frames
        if self._in_gap or short:
            length = min(round(GAP_FADE_SECONDS * self._live.sampling_rate), block.shape[1])
            if self._in_gap:
                block[:, :length] *= rising(length)
            if short:
                block[:, block.shape[1] - length :] *= rising(length)[::-1]
        self._in_gap = short
        return block

    def start(self) -> None:
        """Start the worker."""
        self._worker.start()

    def stop(self) -> None:
        """Stop the worker."""
        self._stopped.set()
        self._worker.join(timeout=10)

    def recorded(self) -> np.ndarray:
        """Return the output since the last call, `(channels, samples)`."""
        assert self._recording is not None, "the session does not record"
        return self._recording.read(self._recording.filled)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                if not self.work_once():
                    time.sleep(PAUSE_SECONDS)
        except Exception as error:  # the watching thread reports it
            self.error = error

    def work_once(self) -> bool:
        """Enhance the sound that has arrived. Returns whether there was any."""
        waiting = self._inbox.filled
        if not waiting:
            return False
        block = self._inbox.read(min(waiting, max(self._live.sampling_rate // 20, 1)))
        self._watch(waiting)
        started = time.perf_counter()
        output = self._passage.process(block, self.bypass)
        seconds = block.shape[1] / self._live.sampling_rate
        self.meters.load = followed_load(self.meters.load, time.perf_counter() - started, seconds)
        self.meters.seconds += seconds
        self._send(output, block)
        return True

    def _watch(self, waiting: int) -> None:
        """Stop the network for a while when it is too slow, and try again later."""
        too_slow = (waiting > self._most_waiting and self.meters.load > MOST_LOAD) or waiting > self._live.sampling_rate
        if not self._passage.resting and too_slow:
            self._passage.rest()
            self.meters.num_overloads += 1
            self._rest_until = self.meters.seconds + rest_seconds(self.meters.num_overloads)
        elif self._passage.resting and self.meters.seconds > self._rest_until and waiting <= self._most_waiting:
            self._passage.resume()

    @property
    def overloaded(self) -> bool:
        """Whether sound is passed on unchanged because the network was too slow."""
        return self._passage.resting

    def _send(self, output: np.ndarray, block: np.ndarray) -> None:
        self.meters.peak_in = max(self.meters.peak_in, float(np.abs(block).max()))
        self.meters.peak_out = max(self.meters.peak_out, float(np.abs(output).max()))
        if len(output) != self._num_outputs:
            output = np.broadcast_to(output.mean(axis=0, keepdims=True), (self._num_outputs, output.shape[1]))
        if self._recording is not None:
            self._recording.write(output)
        self._outbox.write(self._without_surplus(output))

    def _without_surplus(self, output: np.ndarray) -> np.ndarray:
        """Return `output`, or an empty array while there is a surplus in the buffer."""
        if self.meters.seconds - self._checked >= 1:
            self._leasts.append(self._least)
            self._surplus = self._find_surplus()
            self._leasts = deque((least - self._surplus for least in self._leasts), CALM_SECONDS)
            self._least, self._checked = self._outbox.filled, self.meters.seconds
        length = output.shape[1]
        if self._surplus >= length:
            self._surplus -= length
            if self._cut is None:
                self._cut = output[:, : round(FADE_SECONDS * self._live.sampling_rate)]
            return output[:, :0]
        if self._cut is not None:
            fade = min(self._cut.shape[1], length)
            shares = rising(fade)
            faded = shares * output[:, :fade] + (1 - shares) * self._cut[:, :fade]
            output, self._cut = np.concatenate([faded, output[:, fade:]], axis=1), None
        return output

    def _find_surplus(self) -> int:
        """Return the number of samples that the buffer holds beyond need: all but the reserve if it never held less
        than one and a half reserves for [`CALM_SECONDS`], else what it holds above [`MOST_SURPLUS_SECONDS`]."""
        lowest, most = min(self._leasts), round(MOST_SURPLUS_SECONDS * self._live.sampling_rate)
        if lowest > 1.5 * self._reserve:
            return lowest - self._reserve
        return max(self._leasts[-1] - self._reserve - most, 0)
