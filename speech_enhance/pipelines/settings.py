"""The settings that a caller of the pipeline may choose for a recording."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ..models.schedulers import DEFAULT_PRESET, find_preset


@dataclass(frozen=True)
class EnhancementSettings:
    """Settings of one request; [`SpeechEnhancementPipeline`] says what each means.

    Raises:
        ValueError, TypeError: for a value out of range or of another type. The message names the setting and the value.
    """

    num_inference_steps: int
    num_estimates: int
    attenuation_limit_db: float | None = None
    mix: float = 1.0
    max_gain: float = 1.0
    independent_channels: bool = False
    window_batch_size: int = 4
    dereverb: float = 0.0
    preset: str | None = None

    @classmethod
    def of(
        cls,
        num_inference_steps: int | None = None,
        num_estimates: int | None = None,
        preset: str | None = None,
        **others: Any,
    ) -> "EnhancementSettings":
        """Make the settings from the caller's arguments. Steps and estimates that are not given come from the preset,
        or from [`DEFAULT_PRESET`] if there is none.

        Raises:
            ValueError, TypeError: as the constructor; also for an unknown preset.
        """
        found = find_preset(DEFAULT_PRESET if preset is None else preset)
        return cls(
            num_inference_steps=found.num_inference_steps if num_inference_steps is None else num_inference_steps,
            num_estimates=found.num_estimates if num_estimates is None else num_estimates,
            preset=preset,
            **others,
        )

    def __post_init__(self):
        for name in ("num_inference_steps", "num_estimates", "window_batch_size"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}")
            object.__setattr__(self, name, int(value))  # arithmetic of NumPy's integers may overflow
        for name in ("attenuation_limit_db", "mix", "max_gain", "dereverb"):
            value = getattr(self, name)
            if not isinstance(value, Real) and not (value is None and name == "attenuation_limit_db"):
                raise TypeError(f"`{name}` must be a number, got {value!r}")
        if self.attenuation_limit_db is not None and not self.attenuation_limit_db >= 0:
            raise ValueError(f"`attenuation_limit_db` must be at least 0 dB, got {self.attenuation_limit_db!r}")
        for name in ("mix", "dereverb"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be between 0 and 1, got {getattr(self, name)!r}")
        if not 1 <= self.max_gain < float("inf"):
            raise ValueError(f"`max_gain` must be at least 1 and finite, got {self.max_gain!r}")

    def check_without_recording(self) -> None:
        """Raise `ValueError` for settings that work only on the sound of a recording, not with a mel or a vocoder."""
        for name in ("attenuation_limit_db", "mix", "max_gain"):
            if getattr(self, name) != getattr(EnhancementSettings, name):
                raise ValueError(
                    f"`{name}` is about the gain on a recording; a mel or a vocoder has none, got "
                    f"{getattr(self, name)!r}"
                )

    @property
    def min_gain(self) -> float:
        """Lower bound of the gain."""
        return 0.0 if self.attenuation_limit_db is None else 10 ** (-self.attenuation_limit_db / 20)


def check_sampling_rate(sampling_rate) -> None:
    """Raise `ValueError` unless `sampling_rate` is one that recordings may have."""
    if not isinstance(sampling_rate, Integral) or sampling_rate < 1000 or not sampling_rate <= 768000:
        raise ValueError(
            f"`sampling_rate` must be the samples per second of `audio` (1000 to 768000), got {sampling_rate!r}"
        )
