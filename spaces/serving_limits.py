"""Limits of the requests that a server accepts, and the settings of a request."""

import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from speech_enhance.models.schedulers import PRESETS, SCHEDULERS


class RequestError(ValueError):
    """A request that cannot be served. The message is a sentence for the person who made it."""


@dataclass(frozen=True)
class Limits:
    """Limits of one server. Each field is read from the environment variable with its name in capitals.

    Args:
        max_seconds: Longest recording, in seconds.
        max_file_mb: Largest file, in units of 10⁶ bytes.
        max_channels: Maximum number of channels.
        max_steps: Maximum number of steps of a scheduler.
        max_estimates: Maximum number of estimates to average.
        max_work: Maximum seconds of sound that the network evaluates for one request: the length of the recording times
            the number of evaluations. The evaluations are steps times estimates, or more with a scheduler that
            evaluates twice in a step.
        max_comparisons: Maximum number of settings in one comparison.
        compare_seconds: Seconds of a recording that a comparison uses.
        concurrent_runs: Number of requests computed at the same time.
        max_queue: Number of requests that may wait; further requests are refused.
        max_queue_per_visitor: Number of requests of one visitor that may wait.
        max_live: Number of live sessions at the same time; further visitors are refused.
        live_seconds: Longest live session, in seconds.
        stop_unheard_after_seconds: Seconds after which a request is stopped if nobody waits for its result.
        max_total_mb: Space on the disk for the files of all visitors, in units of 10⁶ bytes.
        max_visitor_mb: Space on the disk for the files of one visitor, in units of 10⁶ bytes.
        delete_after_seconds: Age in seconds at which every file of a visitor is deleted.
    """

    max_seconds: int = 300
    max_file_mb: int = 50
    max_channels: int = 8
    max_steps: int = 50
    max_estimates: int = 16
    max_work: int = 10000
    max_comparisons: int = 6
    compare_seconds: int = 15
    concurrent_runs: int = 2
    max_queue: int = 16
    max_queue_per_visitor: int = 4
    max_live: int = 2
    live_seconds: int = 180
    stop_unheard_after_seconds: int = 20
    max_total_mb: int = 4000
    max_visitor_mb: int = 1000
    delete_after_seconds: int = 1800

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Limits":
        """Read the limits from the environment.

        Raises:
            ValueError: if a variable is not a whole number above 0. The message gives its name and value.
        """
        values = {}
        for field in fields(cls):
            text = environment.get(field.name.upper(), str(field.default))
            if not text.isdecimal() or int(text) < 1:
                raise ValueError(f"{field.name.upper()} must be a whole number of at least 1, got {text!r}")
            values[field.name] = int(text)
        return cls(**values)


@dataclass(frozen=True)
class Settings:
    """Settings of a request. The arguments of [`SpeechEnhancementPipeline`] with the same names explain them."""

    scheduler: str = PRESETS["balanced"].scheduler
    num_inference_steps: int = PRESETS["balanced"].num_inference_steps
    num_estimates: int = PRESETS["balanced"].num_estimates
    seed: int = 0
    attenuation_limit_db: float | None = None
    mix: float = 1.0
    dereverb: float = 0.0

    def check(self, limits: Limits) -> None:
        """Raise [`RequestError`] for settings that the server does not accept."""
        if not isinstance(self.scheduler, str) or self.scheduler not in SCHEDULERS:
            raise RequestError(f"There is no scheduler {_shown(self.scheduler)}; choose from {', '.join(SCHEDULERS)}.")
        ranges = {
            "Steps": (self.num_inference_steps, 1, limits.max_steps),
            "Estimates": (self.num_estimates, 1, limits.max_estimates),
            "The seed": (self.seed, 0, 2**32 - 1),
        }
        for name, (value, lowest, highest) in ranges.items():
            if type(value) is not int or not lowest <= value <= highest:
                raise RequestError(f"{name} must be a whole number from {lowest} to {highest}, got {_shown(value)}.")
        shares = {"The wet/dry mix": self.mix, "The share of reverberation to remove": self.dereverb}
        for name, value in shares.items():
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise RequestError(f"{name} must be between 0 and 1, got {_shown(value)}.")
        limit = self.attenuation_limit_db
        if limit is not None and (type(limit) not in (int, float) or not 0 <= limit <= 1000):
            raise RequestError(f"The attenuation limit must be from 0 to 1000 dB, got {_shown(limit)}.")


def _shown(value) -> str:
    """Return `value` as short text in one line, for a sentence."""
    return reprlib.repr(value)
