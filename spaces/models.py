"""The models that a visitor may choose from, and how fast they are on this machine."""

import os
import sys
import threading

import numpy as np
from serving import Enhancer, RequestError, Run, Settings

from speech_enhance.jobs.file import UserError

FIRST, LARGE = "standard", "large"
MEASURED_SECONDS = 6.0  # of sound; a few windows of the network


class Models:
    """Models by their names. The first is loaded at once; another when it is first asked for, so that it takes memory
    only where somebody uses it. Each is loaded once, for all visitors.

    Args:
        model: Folder or Hub id of the first, `None` for the bundled one.
        large: That of the large one, `None` if there is none.

    Raises:
        UserError: if the first cannot be loaded.
    """

    def __init__(self, model: str | None, large: str | None = None):
        self.sources = {FIRST: model} | ({LARGE: large} if large else {})
        self.loaded = {FIRST: Enhancer(model)}
        self.speeds: dict[str, float] = {}
        self.lock = threading.Lock()

    def get(self, name: str | None) -> Enhancer:
        """The model called `name`; `None` is the first.

        Raises:
            RequestError: if it cannot be loaded.
        """
        name = name or FIRST
        with self.lock:
            if name not in self.loaded:
                try:
                    self.loaded[name] = Enhancer(self.sources[name])
                except (KeyError, UserError) as error:
                    print(f"the {name} model cannot be loaded: {error}", file=sys.stderr)
                    raise RequestError(f"The {name} model cannot be loaded here; choose the other one.") from error
            return self.loaded[name]

    def measure(self) -> None:
        """Time the first model. On ZeroGPU there is no GPU yet, so the first run of a visitor tells."""
        if os.environ.get("SPACES_ZERO_GPU"):
            return
        rate = 16000
        audio = np.random.default_rng(0).normal(0, 0.1, (1, round(MEASURED_SECONDS * rate))).astype(np.float32)
        for length in (rate, audio.shape[1]):  # the first run of all is slower
            run = self.loaded[FIRST].enhance(audio[:, :length], rate, Settings("ddim", 1, 1))
        self.note(FIRST, MEASURED_SECONDS, run)

    def note(self, name: str | None, seconds: float, run: Run) -> None:
        """Learn from a `run` over `seconds` of sound; runs of less than a window tell nothing."""
        if seconds >= MEASURED_SECONDS / 2:
            speed = run.seconds / (seconds * run.evaluations)
            before = self.speeds.get(name or FIRST, speed)
            self.speeds[name or FIRST] = (before + speed) / 2
