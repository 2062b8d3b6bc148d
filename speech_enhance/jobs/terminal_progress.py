"""Progress on a terminal while a recording is enhanced."""

import math
import os
import sys

from .standard_streams import say


class ProgressBar:
    """Terminal bar of the seconds done and the time left, which [`enhance_file`] and [`enhance_files`] call.

    Args:
        quiet: Whether nothing is shown.
    """

    def __init__(self, quiet: bool = False):
        self._shown = not quiet and _on_terminal()

    def __enter__(self) -> "ProgressBar":
        self._bar = None
        return self

    def clear(self) -> None:
        """Remove the bar so that a line can be written. The next call shows a new bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(self, kind, error, traceback) -> None:
        self.clear()

    def __call__(self, stage: str, seconds: float, duration: float) -> None:
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            total = None if math.isnan(duration) else duration
            form = "{desc}{percentage:3.0f}% |{bar}| {n:.0f} of {total:.0f} s of audio, {remaining} left"
            if total is None:
                form = "{desc}{n:.0f} s of audio in {elapsed}"
            known = os.get_terminal_size(sys.stderr.fileno()).columns  # 0 in some containers: tqdm then shows nothing
            ncols, nrows = (None, None) if known else (80, 24)
            self._bar = tqdm(total=total, bar_format=form, leave=False, ncols=ncols, nrows=nrows)
        if self._bar.desc.removesuffix(": ") != stage:
            self._bar.reset(None if math.isnan(duration) else duration)
            self._bar.set_description(stage)
        self._bar.update(seconds - self._bar.n)


def say_loading(quiet: bool = False) -> None:
    """Write on a terminal that the model is being loaded, because that takes some seconds."""
    if not quiet and _on_terminal():
        say("loading the model …")


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
