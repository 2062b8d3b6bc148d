"""Makes the objects around the network from a pipeline's settings."""

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..mel.conditioning import ConditionConfig
from ..mel.running_level import LEVEL_RULES
from ..mel.spectrogram import MelConfig
from ..mel.targets import MelTarget
from ..models.limits import check_pipeline_sizes, check_settings
from ..models.trained_settings import COMPONENTS
from .mel_port import MelPort


@functools.cache
def constructor_parameters(constructor) -> dict[str, inspect.Parameter]:
    """Parameters of a class's constructor that may be in its configuration."""
    parameters = inspect.signature(constructor).parameters
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: item for name, item in parameters.items() if item.kind in plain}


@functools.cache
def setting_parameters(pipeline_class) -> dict[str, inspect.Parameter]:
    """Parameters of a pipeline's constructor, without its components."""
    parameters = constructor_parameters(pipeline_class)
    return {name: item for name, item in parameters.items() if name not in COMPONENTS}


@dataclass(frozen=True)
class FrontEnd:
    """The parts around the network: analysis, its views, condition, target, and the form of mels from outside."""

    mel_config: MelConfig
    views: list[MelConfig]
    condition_config: ConditionConfig
    mel_target: MelTarget
    mel_port: MelPort
    self_conditioning: bool

    @property
    def num_condition_channels(self) -> int:
        """Number of channels of the network's condition. With self-conditioning, its last estimate is one of them."""
        return self.condition_config.num_channels + self.self_conditioning

    @classmethod
    def of(cls, settings: Mapping, parameters: Mapping[str, inspect.Parameter]) -> "FrontEnd":
        """The front end of a pipeline's settings.

        Args:
            settings: Arguments of [`SpeechEnhancementPipeline`] without its components. Missing ones have their
                defaults.
            parameters: Parameters of its constructor without the components, see [`setting_parameters`].

        Raises:
            ValueError: for a setting of another type or out of range, and for settings that do not fit each other.
        """
        defaults = {name: item.default for name, item in parameters.items()}
        settings = defaults | {name: settings[name] for name in parameters.keys() & settings.keys()}
        check_settings(settings, parameters)
        check_pipeline_sizes(settings)
        if settings["level_rule"] not in LEVEL_RULES:
            raise ValueError(f"`level_rule` must be one of {', '.join(LEVEL_RULES)}, got {settings['level_rule']!r}")
        fields = MelConfig.__dataclass_fields__.keys() & settings.keys() - {"frequency_warp"}
        mel_config = MelConfig(**{name: settings[name] for name in fields})
        warp = settings["frequency_warp"]
        views = [replace(mel_config, frequency_warp=warp**view) for view in range(settings["num_views"])]
        condition_config = ConditionConfig(
            span=settings["noise_floor_span"],
            block=settings["noise_floor_block"],
            with_noise_floor=settings["with_noise_floor"],
            with_band_coordinate=settings["with_band_coordinate"],
            with_dereverb=settings["with_dereverb"],
        )
        target = MelTarget(
            kind=settings["target"], gain_power=settings["gain_power"], residual_scale=settings["residual_scale"]
        )
        port = MelPort.of(mel_config, settings["mel_layout"])
        return cls(mel_config, views, condition_config, target, port, settings["self_conditioning"])
