"""What a server accepts of a request: its limits, and the settings that stay within them."""

import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from speech_enhance.models.schedulers import PRESETS, SCHEDULERS


class RequestError(ValueError):
    """A request that cannot be served; the message is a sentence for the person who made it."""


@dataclass(frozen=True)
class Limits:
    """What one server accepts; each field is read from the environment variable of its name in capitals.

    Args:
        max_seconds: Longest recording.
        max_file_mb: Largest file, in units of 10⁶ bytes.
        max_channels: Most channels.
        max_steps: Most steps of a scheduler.
        max_estimates: Most estimates to average.
        max_work: Most seconds of sound that one request may have the network evaluate: those of the recording times its
            evaluations, which are steps times estimates, or more with a scheduler that evaluates twice in a step.
        max_comparisons: Most settings in one comparison.
        compare_seconds: What a comparison hears of a recording.
        concurrent_runs: Requests computed at the same time.
        max_queue: Requests that may wait; further ones are turned away.
        max_queue_per_visitor: Requests of one visitor that may wait.
        max_live: Live sessions at the same time; further visitors are turned away.
        live_seconds: Longest live session.
        stop_unheard_after_seconds: Time without anybody who waits for its result after which a request is stopped.
        max_total_mb: What the files of all visitors may take on the disk, in units of 10⁶ bytes.
        max_visitor_mb: What those of one visitor may take.
        delete_after_seconds: Age at which every file of a visitor is deleted.
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
        """Raises `ValueError` for a variable that is no whole number above 0, named with its value."""
        values = {}
        for field in fields(cls):
            text = environment.get(field.name.upper(), str(field.default))
            if not text.isdecimal() or int(text) < 1:
                raise ValueError(f"{field.name.upper()} must be a whole number of at least 1, got {text!r}")
            values[field.name] = int(text)
        return cls(**values)


@dataclass(frozen=True)
class Settings:
    """How to enhance; see the arguments of [`SpeechEnhancementPipeline`] of the same names."""

    scheduler: str = PRESETS["balanced"].scheduler
    num_inference_steps: int = PRESETS["balanced"].num_inference_steps
    num_estimates: int = PRESETS["balanced"].num_estimates
    seed: int = 0
    attenuation_limit_db: float | None = None
    mix: float = 1.0

    def check(self, limits: Limits) -> None:
        """Raise [`RequestError`] for what the server does not do."""
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
        if type(self.mix) not in (int, float) or not 0 <= self.mix <= 1:
            raise RequestError(f"The wet/dry mix must be between 0 and 1, got {_shown(self.mix)}.")
        limit = self.attenuation_limit_db
        if limit is not None and (type(limit) not in (int, float) or not 0 <= limit <= 1000):
            raise RequestError(f"The attenuation limit must be from 0 to 1000 dB, got {_shown(limit)}.")


def _shown(value) -> str:
    """`value` in a sentence: short, in one line."""
    return reprlib.repr(value)
