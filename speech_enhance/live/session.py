"""Live sound between a device that must never wait and a network that sometimes takes long.

The callbacks of the devices move samples into one ring buffer and out of another, and do nothing else. A worker thread
takes what has come, enhances it and puts it into the other buffer, which holds a short reserve for the time the network
takes. What the threads tell each other are numbers that only one of them changes.

The two devices have clocks of their own. Where the reserve runs out, silence goes out and the delay grows by it; where
more than the reserve stays in stock for a second, what is too much is left out, with a fade.
"""

import threading
import time
from dataclasses import dataclass

import numpy as np

from .enhancer import LiveEnhancer
from .limiter import Limiter

RING_SECONDS = 4.0
FADE_SECONDS = 0.02
START_SECONDS = 1.0
RETRY_SECONDS = 5.0
"""Time for which sound is passed on after the network was too slow."""
MOST_LOAD = 0.9
"""Load above which sound that piles up is more than a moment's delay; a second of it is in any case."""
PAUSE_SECONDS = 0.002
"""Time between two looks of the worker for new sound."""


class RingBuffer:
    """Samples from one thread to one other; neither ever waits.

    Args:
        num_channels: Channels.
        size: Samples that it holds.
    """

    def __init__(self, num_channels: int, size: int):
        self._data = np.zeros((num_channels, size), np.float32)
        self.num_written = self.num_read = 0

    @property
    def filled(self) -> int:
        """Samples that wait to be read."""
        return self.num_written - self.num_read

    def write(self, block: np.ndarray) -> int:
        """Add `block (channels, samples)`, as far as there is room; returns the number of samples added."""
        count = min(block.shape[1], self._data.shape[1] - self.filled)
        if count:
            self._data[:, self._places(self.num_written, count)] = block[:, :count]
            self.num_written += count
        return count

    def read(self, count: int) -> np.ndarray:
        """Take up to `count` samples `(channels, n)`."""
        count = min(count, self.filled)
        block = self._data[:, self._places(self.num_read, count)]
        self.num_read += count
        return block

    def _places(self, first: int, count: int) -> np.ndarray:
        return np.arange(first, first + count) % self._data.shape[1]


class Passage:
    """Sound through a [`LiveEnhancer`], or past it with the same delay; changes between the two fade.

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
        """The sound `(channels, samples)` that goes out when `block`, of the same shape, comes in."""
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
    """What a session knows of itself.

    Args:
        peak_in, peak_out: Largest sample since they were last read, full scale 1.
        load: Computing time over the length of the sound, of the last second or so.
        gaps: Times the reserve was empty and silence went out.
        lost: Samples that came in and found no room.
        seconds: Length of the sound so far.
        num_overloads: Times the network was too slow and rested.
    """

    peak_in: float = 0.0
    peak_out: float = 0.0
    load: float = 0.0
    gaps: int = 0
    lost: int = 0
    seconds: float = 0.0
    num_overloads: int = 0


class LiveSession:
    """Joins a device's callback, the worker and those who look on.

    Args:
        live: The enhancer.
        num_inputs, num_outputs: Channels of the devices. A single one goes to all outputs; of several, one output gets
            the mean.
        reserve: Samples that the output holds in stock for the time the network takes.
        record: Whether the sound that goes out is kept for [`~LiveSession.recorded`].
    """

    def __init__(self, live: LiveEnhancer, num_inputs: int, num_outputs: int, reserve: int, record: bool = False):
        self._live, self._reserve, self._num_outputs = live, reserve, num_outputs
        size = round(RING_SECONDS * live.sampling_rate) + reserve
        self._inbox, self._outbox = RingBuffer(num_inputs, size), RingBuffer(num_outputs, size)
        self._outbox.write(np.zeros((num_outputs, reserve), np.float32))
        self._recording = RingBuffer(num_outputs, size) if record else None
        self._passage = Passage(live, num_inputs)
        self._least = self._surplus = 0
        self._checked, self._cut = 0.0, None
        self._most_waiting = max(2 * reserve, round(0.2 * live.sampling_rate))
        self._rest_until = 0
        self._stopped = threading.Event()
        self._worker = threading.Thread(target=self._work, name="live", daemon=True)
        self.meters = Meters()
        self.bypass = False
        self.error: BaseException | None = None
        self.last_input = self.last_output = time.monotonic()

    @property
    def delay(self) -> int:
        """Samples from what the input gives now to the same sound in the output, without what the devices hold."""
        return self._live.latency + self._inbox.filled + self._outbox.filled

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return self._live.sampling_rate

    def take(self, indata: np.ndarray, frames: int, when=None, status=None) -> None:
        """What the input device calls, with an array `(frames, channels)`: it never waits."""
        self.last_input = time.monotonic()
        self.meters.lost += frames - self._inbox.write(indata.T)

    def give(self, outdata: np.ndarray, frames: int, when=None, status=None) -> None:
        """What the output device calls, with an array `(frames, channels)` to fill: it never waits."""
        self.last_output = time.monotonic()
        block = self._outbox.read(frames)
        outdata[: block.shape[1]] = block.T
        outdata[block.shape[1] :] = 0
        self._least = min(self._least, self._outbox.filled)
        if block.shape[1] < frames and self.meters.seconds > START_SECONDS:  # before, devices fill their own buffers
            self.meters.gaps += 1

    def start(self) -> None:
        """Begin to work."""
        self._worker.start()

    def stop(self) -> None:
        """End the worker."""
        self._stopped.set()
        self._worker.join(timeout=10)

    def recorded(self) -> np.ndarray:
        """What went out since the last call, `(channels, samples)`."""
        assert self._recording is not None, "the session does not record"
        return self._recording.read(self._recording.filled)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                if not self.work_once():
                    time.sleep(PAUSE_SECONDS)
        except Exception as error:  # it is told by the thread that looks on
            self.error = error

    def work_once(self) -> bool:
        """Take what has come and enhance it; returns whether there was something."""
        waiting = self._inbox.filled
        if not waiting:
            return False
        block = self._inbox.read(min(waiting, max(self._live.sampling_rate // 20, 1)))
        self._watch(waiting)
        started = time.perf_counter()
        output = self._passage.process(block, self.bypass)
        seconds = block.shape[1] / self._live.sampling_rate
        weight = min(seconds, 1.0)
        self.meters.load += weight * ((time.perf_counter() - started) / seconds - self.meters.load)
        self.meters.seconds += seconds
        self._send(output, block)
        return True

    def _watch(self, waiting: int) -> None:
        """Let the network rest when it is too slow, and try again later."""
        too_slow = (waiting > self._most_waiting and self.meters.load > MOST_LOAD) or waiting > self._live.sampling_rate
        if not self._passage.resting and too_slow:
            self._passage.rest()
            self.meters.num_overloads += 1
            self._rest_until = self.meters.seconds + RETRY_SECONDS * min(2 ** (self.meters.num_overloads - 1), 16)
        elif self._passage.resting and self.meters.seconds > self._rest_until and waiting <= self._most_waiting:
            self._passage.resume()

    @property
    def overloaded(self) -> bool:
        """Whether sound is passed on as it is since the network was too slow."""
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
        """`output`, or nothing of it while more is in stock than the reserve was in all of the last second."""
        if self.meters.seconds - self._checked >= 1:
            self._surplus = self._least - self._reserve // 2 if self._least > self._reserve else 0
            self._least, self._checked = self._outbox.filled, self.meters.seconds
        length = output.shape[1]
        if self._surplus >= length:
            self._surplus -= length
            if self._cut is None:
                self._cut = output[:, : round(FADE_SECONDS * self._live.sampling_rate)]
            return output[:, :0]
        if self._cut is not None:
            fade = min(self._cut.shape[1], length)
            shares = (np.arange(fade, dtype=np.float32) + 0.5) / fade
            faded = shares * output[:, :fade] + (1 - shares) * self._cut[:, :fade]
            output, self._cut = np.concatenate([faded, output[:, fade:]], axis=1), None
        return output
