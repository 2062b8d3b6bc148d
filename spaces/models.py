"""The models that a visitor may choose from, and how fast they are on this machine."""

import functools
import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
from serving import Enhancer, RequestError, Run, Settings

from speech_enhance import LIVE_CHECKPOINT
from speech_enhance.jobs.file import UserError
from speech_enhance.live.command import own_model

if TYPE_CHECKING:
    from speech_enhance.live.enhancer import LiveEnhancer

FIRST, LARGE, LIVE = "standard", "large", "live"
MEASURED_SECONDS = 6.0  # seconds of sound, a few windows of the network


class Models:
    """Models by their names. The first model is loaded at once. Another model is loaded when it is first asked for, so
    it takes memory only if somebody uses it. Each model is loaded once for all visitors.

    Args:
        model: Folder or Hub id of the first model, `None` for the bundled one.
        large: Folder or Hub id of the large model, `None` if there is none.

    Raises:
        UserError: if the first model cannot be loaded.
    """

    def __init__(self, model: str | None, large: str | None = None):
        self.sources: dict[str, str | None] = {FIRST: model}
        if large:
            self.sources[LARGE] = large
        if model is None:
            self.sources[LIVE] = str(LIVE_CHECKPOINT)
        self.loaded = {FIRST: Enhancer(model)}
        self.speeds: dict[str, float] = {}
        self.lock = threading.Lock()

    @property
    def choices(self) -> list[str]:
        """Names of the models that a visitor may choose for a recording."""
        return [name for name in self.sources if name != LIVE]

    @functools.cached_property
    def with_dereverb(self) -> list[str]:
        """Names of the models that get a dial for reverberation, since they were trained for it."""
        return [name for name in self.choices if self._config(name).get("with_dereverb")]

    def _config(self, name: str) -> Mapping:
        """Settings of a model's pipeline, without loading its weights; none where they cannot be read."""
        if name in self.loaded:
            return self.loaded[name].pipeline.config
        from speech_enhance import SpeechEnhancementPipeline

        try:
            return cast(dict, SpeechEnhancementPipeline.load_config(str(self.sources[name])))
        except OSError:  # choosing this model will say why
            return {}

    def get(self, name: str | None) -> Enhancer:
        """Return the model called `name`; `None` means the first model.

        Raises:
            RequestError: if the model cannot be loaded.
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

    def live(self, sampling_rate: int, latency: str) -> "LiveEnhancer":
        """Return an enhancer of live sound. It has the model that the command takes for this latency, unless the first
        model is not the bundled one."""
        name = LIVE if own_model(latency) == self.sources.get(LIVE, "") else FIRST
        return self.get(name).live(sampling_rate, latency)

    def measure(self) -> None:
        """Measure the speed of the first model. On ZeroGPU there is no GPU yet, so a visitor's first run gives it."""
        if os.environ.get("SPACES_ZERO_GPU"):
            return
        rate = 16000
        audio = np.random.default_rng(0).normal(0, 0.1, (1, round(MEASURED_SECONDS * rate))).astype(np.float32)
        for length in (rate, audio.shape[1]):  # the very first run is slower
            run = self.loaded[FIRST].enhance(audio[:, :length], rate, Settings("ddim", 1, 1))
        self.note(FIRST, MEASURED_SECONDS, run)

    def note(self, name: str | None, seconds: float, run: Run) -> None:
        """Update a model's speed from a `run` over `seconds` of sound. Runs of less than a window are ignored."""
        if seconds >= MEASURED_SECONDS / 2:
            speed = run.seconds / (seconds * run.evaluations)
            before = self.speeds.get(name or FIRST, speed)
            self.speeds[name or FIRST] = (before + speed) / 2
