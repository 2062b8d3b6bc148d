"""A model of a folder, built and run without memory for its values: what its settings make, and whether it works."""

import functools
import inspect
from collections.abc import Mapping

from ..mel.vocoding import check_vocoder, try_vocoder
from .front_end import FrontEnd


@functools.cache
def constructor_parameters(constructor) -> dict[str, inspect.Parameter]:
    """Parameters of a class that may be in its configuration."""
    parameters = inspect.signature(constructor).parameters
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: item for name, item in parameters.items() if item.kind in plain}


@functools.cache
def pipeline_parameters() -> dict[str, inspect.Parameter]:
    """Parameters of the pipeline beside its components."""
    from .speech_enhancement import SpeechEnhancementPipeline

    components, _ = SpeechEnhancementPipeline._get_signature_keys(SpeechEnhancementPipeline)
    return {
        name: item for name, item in constructor_parameters(SpeechEnhancementPipeline).items() if name not in components
    }


def front_end_of(settings: Mapping) -> FrontEnd:
    """The front end of settings of a pipeline, with the defaults of those that are missing; see [`FrontEnd.of`]."""
    parameters = pipeline_parameters()
    defaults = {name: item.default for name, item in parameters.items()}
    return FrontEnd.of(defaults | {name: settings[name] for name in parameters.keys() & settings.keys()}, parameters)


def empty_network(config: dict):
    """A network by its configuration."""
    from ..models.unet import ConditionalUNet2DModel

    return ConditionalUNet2DModel.from_config(config)


def try_network(settings: Mapping, network) -> None:
    """Run a network on one window of the pipeline of `settings`."""
    import torch

    front_end, window_frames = front_end_of(settings), settings.get("window_frames", 384)
    channels = front_end.num_condition_channels
    if channels != network.condition_channels:
        raise ValueError(f"it expects {network.condition_channels} condition channels, the pipeline has {channels}")
    shape = (front_end.mel_config.num_mel_bins, window_frames)
    sample, condition = (torch.empty(1, count, *shape, device="meta") for count in (1, channels))
    network(sample, torch.zeros((), device="meta"), condition)


def saved_scheduler(config: dict):
    """The scheduler that a configuration names."""
    import diffusers

    try:
        return getattr(diffusers, config["_class_name"]).from_config(config)
    except Exception as error:  # whatever an impossible schedule raises
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"it describes no scheduler ({type(error).__name__}: {reason})") from error


def empty_vocoder(config: dict):
    """A vocoder by its configuration."""
    import transformers

    vocoder = getattr(transformers, config["architectures"][0])
    return vocoder(vocoder.config_class(**config))


def try_stage_vocoder(settings: Mapping, vocoder) -> None:
    """Run a vocoder once; raises `ValueError` unless it fits the mels of the pipeline of `settings`."""
    check_vocoder(vocoder, front_end_of(settings).mel_port.outer)
    try_vocoder(vocoder)
