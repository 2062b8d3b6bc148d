"""Live sound of one visitor: pieces that the page sends, and the enhanced ones that it gets back."""

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from serving_limits import Limits, RequestError

from speech_enhance.live.enhancer import LiveEnhancer
from speech_enhance.live.session import MOST_LOAD, Passage, followed_load, rest_seconds

MAX_PIECE_SECONDS = 1.0
MAX_AHEAD_SECONDS = 5.0
"""Length of sound that may come faster than it lasts. A stalled connection delivers it at once."""
WATCHED_SECONDS = 1.0
"""Length of sound after which the load of a session is known."""


@dataclass(frozen=True)
class Piece:
    """The next sound of the microphone: `audio (channels, samples)`, float32. The first piece begins a session, the
    last piece ends it, and both may be empty. The answer has the `number` of its piece, so that no two answers are
    equal."""

    audio: np.ndarray
    sampling_rate: int
    bypass: bool = False
    first: bool = False
    last: bool = False
    number: int = 0

    @property
    def seconds(self) -> float:
        return self.audio.shape[1] / self.sampling_rate


def read_piece(value) -> Piece:
    """Read a piece that the page's script sends. Its `audio` holds interleaved 16-bit samples of all channels in
    base64. It also has `rate`, `channels`, `number` and the marks `bypass`, `first` and `last`.

    Raises:
        RequestError: if `value` has any other form.
    """
    if not isinstance(value, dict):
        raise RequestError("Live sound is sent by the page's own script.")
    rate, channels, text, number = (value.get(name) for name in ("rate", "channels", "audio", "number"))
    if type(rate) is not int or not 8000 <= rate <= 192000:
        raise RequestError(f"The microphone gives {_shown(rate)} samples per second; 8000 to 192000 are possible.")
    if type(channels) is not int or not 1 <= channels <= 2:
        raise RequestError(f"The microphone gives {_shown(channels)} channels; 1 or 2 are possible.")
    if not isinstance(text, str):
        raise RequestError("The sound of the microphone arrived damaged.")
    try:
        samples = np.frombuffer(base64.b64decode(text, validate=True), "<i2")
        audio = samples.reshape(-1, channels).T / np.float32(32768)
    except (ValueError, binascii.Error) as error:
        raise RequestError("The sound of the microphone arrived damaged.") from error
    if audio.shape[1] > MAX_PIECE_SECONDS * rate:
        raise RequestError(f"Live sound comes in pieces of at most {MAX_PIECE_SECONDS:g} s.")
    if type(number) is not int or abs(number) > 10**9:
        raise RequestError("The pieces of live sound are numbered.")
    marks = {name: value.get(name) is True for name in ("bypass", "first", "last")}
    return Piece(np.ascontiguousarray(audio, np.float32), rate, **marks, number=number)


def write_samples(audio: np.ndarray) -> str:
    """Encode `audio (channels, samples)` in the form that [`read_piece`] reads."""
    samples = np.round(np.clip(audio.T, -1, 1) * 32767).astype("<i2")
    return base64.b64encode(samples.tobytes()).decode()


def expected_load(live: LiveEnhancer, num_channels: int = 1) -> float:
    """Measure the computing time that this machine now needs, divided by the length of the sound. This also warms up
    the network."""
    return live.seconds_of_call(num_channels) / live.interval


def _shown(value) -> str:
    return str(value)[:20] if isinstance(value, (int, float)) else "no number of"


class LiveVisit:
    """A visitor's live sessions, one after the other. No sound is kept longer than the enhancer needs it.

    Args:
        make_live: Function that returns the [`LiveEnhancer`] for a sampling rate and the name of a latency.
        limits: Limits, of which `live_seconds` is the longest time of a session.
    """

    def __init__(self, make_live: Callable[[int, str], LiveEnhancer], limits: Limits):
        self._make_live, self._limits = make_live, limits
        self._passage: Passage | None = None
        self._form: tuple[int, int, str] | None = None
        self._delay = self._ahead = 0.0
        self._last_came = time.monotonic()
        self.begin()

    def begin(self) -> None:
        """Begin a session."""
        self.ended, self.started = False, time.monotonic()
        self._form = self._passage = None
        self._seconds = self._load = 0.0
        self._num_overloads, self._rest_until = 0, 0.0

    def end(self) -> None:
        """End the session and delete all that belongs to it."""
        self.ended, self._form, self._passage = True, None, None

    def hear(self, piece: Piece, latency: str) -> dict:
        """Take in the next piece and return the data that the page's script needs.

        Returns:
            `number`: Number of the piece.
            `audio`: Enhanced samples, as many as came in, in the form that [`read_piece`] reads.
            `delay_ms`: Constant delay of these samples, without the way to the page and back.
            `server_ms`: Time from the arrival of this piece until its answer was ready.
            `load`: Computing time divided by the length of the sound, over the last second.
            `slow`: Whether the original goes out because the server was too slow.
            `end`: Sentence if the session is over, else an empty text.

        Raises:
            RequestError: if sound comes much faster than it lasts, or if there is no session.
        """
        came = time.monotonic()
        self._count_ahead(piece, came)
        if piece.first:
            self.begin()
        over = self._reason_to_end(piece, came)
        if over:
            self.end()
            return {"number": piece.number, "audio": "", "end": over}
        if self.ended:
            raise RequestError("This live session has ended; press Start for another one.")
        passage, delay = self._find_passage(piece, latency)
        output = passage.process(piece.audio, piece.bypass) if piece.audio.size else piece.audio
        took = time.monotonic() - came
        self._watch(passage, piece.seconds, took)
        if self.ended:  # the visitor left meanwhile
            self.end()
        return {
            "number": piece.number,
            "audio": write_samples(output),
            "delay_ms": round(1000 * delay, 3),
            "server_ms": round(1000 * took, 1),
            "load": round(self._load, 2),
            "slow": passage.resting,
            "end": "",
        }

    def _reason_to_end(self, piece: Piece, came: float) -> str:
        """Return a sentence if this piece ends the session, else an empty text."""
        if piece.last:
            return "Stopped."
        if not self.ended and came - self.started > self._limits.live_seconds:
            return f"{self._limits.live_seconds} s are over; press Start to go on."
        return ""

    def _count_ahead(self, piece: Piece, came: float) -> None:
        """Refuse much more sound than a microphone can give in the time that has passed."""
        self._ahead = max(self._ahead - (came - self._last_came), 0.0) + piece.seconds
        self._last_came = came
        if self._ahead > MAX_AHEAD_SECONDS:
            self.end()
            raise RequestError("More sound came than time has passed; press Start to begin anew.")

    def _find_passage(self, piece: Piece, latency: str) -> tuple[Passage, float]:
        """Return the passage for the sound and its delay in seconds. If the form of the sound has changed, the passage
        is new."""
        form = piece.sampling_rate, len(piece.audio), latency
        if self._form != form or self._passage is None:
            live = self._make_live(piece.sampling_rate, latency)
            self._form, self._passage = form, Passage(live, len(piece.audio))
            self._delay = live.latency / live.sampling_rate
            self._load = expected_load(live, len(piece.audio))
            if self._load > MOST_LOAD:
                self._rest(self._passage)
        return self._passage, self._delay

    def _watch(self, passage: Passage, seconds: float, took: float) -> None:
        """Stop the network for a while when it is too slow, and try again later."""
        if not seconds:
            return
        self._load = followed_load(self._load, took, seconds)
        self._seconds += seconds
        if passage.resting and self._seconds > self._rest_until:
            passage.resume()
            self._load = 0.0
        elif not passage.resting and self._load > MOST_LOAD and self._seconds > WATCHED_SECONDS:
            self._rest(passage)

    def _rest(self, passage: Passage) -> None:
        """Pass the original on for some seconds, which get longer every time."""
        passage.rest()
        self._num_overloads += 1
        self._rest_until = self._seconds + rest_seconds(self._num_overloads)
