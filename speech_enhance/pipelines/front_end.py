"""A pipeline's settings as the objects that use them."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..mel.conditioning import ConditionConfig
from ..mel.running_level import LEVEL_RULES
from ..mel.spectrogram import MelConfig
from ..mel.targets import MelTarget
from ..models.limits import check_pipeline_sizes, check_settings
from .mel_port import MelPort


@dataclass(frozen=True)
class FrontEnd:
    """What is around the network: analysis, its views, condition, target, and the form of mels from outside."""

    mel_config: MelConfig
    views: list[MelConfig]
    condition_config: ConditionConfig
    mel_target: MelTarget
    mel_port: MelPort
    self_conditioning: bool

    @property
    def num_condition_channels(self) -> int:
        """Channels of condition that the network is shown, its last estimate among them."""
        return self.condition_config.num_channels + self.self_conditioning

    @classmethod
    def of(cls, settings: Mapping, parameters: Mapping[str, inspect.Parameter]) -> "FrontEnd":
        """The front end of a pipeline's settings.

        Args:
            settings: All arguments of [`SpeechEnhancementPipeline`] beside its components.
            parameters: Those of its constructor.

        Raises:
            ValueError: for a setting of another type or out of range, and for settings that do not fit each other.
        """
        check_settings(settings, parameters)
        check_pipeline_sizes(settings)
        if settings["level_rule"] not in LEVEL_RULES:
            raise ValueError(f"`level_rule` must be one of {', '.join(LEVEL_RULES)}, got {settings['level_rule']!r}")
        fields = MelConfig.__dataclass_fields__.keys() & settings.keys() - {"frequency_warp"}
        mel_config = MelConfig(**{name: settings[name] for name in fields})
        warp = settings["frequency_warp"]
        views = [replace(mel_config, frequency_warp=warp**view) for view in range(settings["num_views"])]
        condition_config = ConditionConfig(
            settings["noise_floor_span"],
            settings["noise_floor_block"],
            settings["with_noise_floor"],
            settings["with_band_coordinate"],
            settings["with_dereverb"],
        )
        target = MelTarget(settings["target"], settings["gain_power"], settings["residual_scale"])
        port = MelPort.of(mel_config, settings["mel_layout"])
        return cls(mel_config, views, condition_config, target, port, settings["self_conditioning"])
