"""What a terminal shows while a recording is enhanced."""

import math
import os
import sys

from .standard_streams import say


class ProgressBar:
    """Seconds of audio done and the time that is left, on a terminal; called by [`enhance_file`] and [`enhance_files`].

    Args:
        quiet: Whether nothing is shown.
    """

    def __init__(self, quiet: bool = False):
        self._shown = not quiet and _on_terminal()

    def __enter__(self) -> "ProgressBar":
        self._bar = None
        return self

    def clear(self) -> None:
        """Take the bar away, so that a line can be written; the next call shows a new one."""
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
            known = os.get_terminal_size(sys.stderr.fileno()).columns  # 0 in some containers: tqdm would show nothing
            ncols, nrows = (None, None) if known else (80, 24)
            self._bar = tqdm(total=total, bar_format=form, leave=False, ncols=ncols, nrows=nrows)
        if self._bar.desc.removesuffix(": ") != stage:
            self._bar.reset(None if math.isnan(duration) else duration)
            self._bar.set_description(stage)
        self._bar.update(seconds - self._bar.n)


def say_loading(quiet: bool = False) -> None:
    """Say on a terminal that the model is being loaded, which takes some seconds."""
    if not quiet and _on_terminal():
        say("loading the model …")


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
