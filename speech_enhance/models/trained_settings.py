"""A network carries the settings that it was trained with, so that a pipeline made of the components of another
pipeline is the same model.

`SpeechEnhancementPipeline(**pipe.components)` names no settings. So every pipeline records its settings in the
configuration of its network. Another pipeline takes from there the settings that it is not given.
"""

import copy
import functools
import inspect
from collections.abc import Mapping

from .removed_settings import without_removed

COMPONENTS = ("unet", "scheduler", "vocoder")
"""Arguments of the pipeline's constructor that are not settings."""
RECORD = "_pipeline_settings"  # Diffusers saves and loads private entries of a configuration, and passes them to nobody
CHOSEN = ("overlap_frames", "gain_exponent", "num_views", "frequency_warp", "mel_layout")
"""Settings that may be chosen after training; all others belong to the weights."""


def recorded_settings(unet) -> dict:
    """Settings of the pipeline that `unet` belongs to; empty for a network that was not yet in any pipeline."""
    return without_removed(getattr(unet, "config", {}).get(RECORD) or {})


def check_recorded(recorded: Mapping, given: Mapping) -> None:
    """Raise `ValueError` for a setting of `given` that belongs to the weights and differs from the `recorded` one."""
    for name, value in recorded.items():
        if name in given and name not in CHOSEN and given[name] != value:
            raise ValueError(f"the network was trained with {name}={value!r}, it cannot have {given[name]!r}")


def registers_settings(constructor):
    """Decorator of a pipeline's constructor. Before the constructor runs, it registers the settings as the pipeline's
    configuration. Settings that are not given come from the network's record.

    The constructor raises `ValueError` for a setting that the network was not trained with.
    """
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def construct(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs)
        recorded = {
            name: value
            for name, value in recorded_settings(given.arguments["unet"]).items()
            if name in signature.parameters
        }
        check_recorded(recorded, given.arguments)
        given.arguments = recorded | given.arguments
        given.apply_defaults()
        settings = {name: value for name, value in given.arguments.items() if name not in ("self", *COMPONENTS)}
        self.register_to_config(**settings)
        constructor(**given.arguments)

    return construct


def record_settings(unet, settings: dict):
    """Record a pipeline's settings in its network's configuration.

    Returns:
        The network. If another pipeline has recorded other settings in it, the result is a new network that shares its
        weights and has a configuration of its own.
    """
    recorded = recorded_settings(unet)
    if getattr(unet, "config", {}).get(RECORD) == settings:
        return unet
    if any(settings.get(name) != value for name, value in recorded.items()):
        unet = copy.copy(unet)
    if hasattr(unet, "register_to_config"):
        unet.register_to_config(**{RECORD: settings})
    else:
        unet.config = type(unet.config)({**unet.config, RECORD: settings})
    return unet
