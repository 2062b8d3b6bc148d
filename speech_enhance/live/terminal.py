"""Status line and keys of the terminal for live sound."""

import math
import os
import sys

from ..jobs.standard_streams import say

METER_WIDTH, METER_DB = 12, 48
"""Width of a meter in characters, and its range in dB below full scale."""


def meter(peak: float) -> str:
    """Return a peak (full scale is 1) as a bar and in dB."""
    decibels = 20 * math.log10(max(peak, 1e-5))
    bar = round(METER_WIDTH * min(max(1 + decibels / METER_DB, 0), 1))
    return f"[{'#' * bar}{'.' * (METER_WIDTH - bar)}] {decibels:4.0f} dB"


class StatusLine:
    """The last line of the terminal, which is rewritten at every update. Nothing is shown if stderr is no terminal."""

    def __init__(self):
        self._shown = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> "StatusLine":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._clear()

    def show(self, session, device_seconds: float) -> None:
        """Show the state of a session."""
        meters = session.meters
        peak_in, peak_out, meters.peak_in, meters.peak_out = meters.peak_in, meters.peak_out, 0.0, 0.0
        if not self._shown:
            return
        state = "TOO SLOW, passed on" if session.overloaded else "BYPASS" if session.bypass else "enhanced"
        delay = 1000 * (session.delay / session.sampling_rate + device_seconds)
        text = (
            f"in {meter(peak_in)}  out {meter(peak_out)}  {state}  load {100 * meters.load:3.0f} %  delay "
            f"{delay:.0f} ms  "
            f"gaps {meters.gaps}  [b]ypass [q]uit"
        )
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 120
        sys.stderr.write(f"\r\x1b[K{text[: columns - 1]}")
        sys.stderr.flush()

    def say(self, message: str) -> None:
        """Write a message above the status line."""
        self._clear()
        say(message)

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Keys:
    """Keys of the terminal, each read when it is pressed. There are none if stdin is no terminal."""

    def __enter__(self) -> "Keys":
        self._saved = None
        self._on = sys.stdin is not None and sys.stdin.isatty()
        if sys.stdin is not None and self._on and os.name == "posix":
            import termios
            import tty

            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)

    def read(self) -> str:
        """Return the pressed key, or an empty text."""
        if not self._on:
            return ""
        if os.name == "posix":
            import select

            ready, _, _ = select.select([sys.stdin], [], [], 0)
            return os.read(sys.stdin.fileno(), 1).decode(errors="ignore").lower() if ready else ""
        import msvcrt

        return msvcrt.getwch().lower() if msvcrt.kbhit() else ""
