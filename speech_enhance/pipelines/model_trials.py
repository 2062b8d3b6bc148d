"""Builds the model of a folder and runs it without memory for its values, to find out whether its settings work."""

from ..mel.vocoding import check_vocoder, try_vocoder
from ..models.networks import network_class
from .front_end import FrontEnd


def empty_network(config: dict):
    """Build a network from its configuration."""
    return network_class(config["_class_name"]).from_config(config)


def try_network(front_end: FrontEnd, window_frames: int, network) -> None:
    """Run a network on one window of a pipeline with this front end."""
    import torch

    channels = front_end.num_condition_channels
    if channels != network.condition_channels:
        raise ValueError(f"it expects {network.condition_channels} condition channels, the pipeline has {channels}")
    shape = (front_end.mel_config.num_mel_bins, window_frames)
    sample, condition = (torch.empty(1, count, *shape, device="meta") for count in (1, channels))
    network(sample, torch.zeros((), device="meta"), condition)


def saved_scheduler(config: dict):
    """Build the scheduler that a configuration names."""
    import diffusers

    try:
        return getattr(diffusers, config["_class_name"]).from_config(config)
    except Exception as error:  # whatever an impossible schedule raises
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"it describes no scheduler ({type(error).__name__}: {reason})") from error


def empty_vocoder(config: dict):
    """Build a vocoder from its configuration."""
    import transformers

    vocoder = getattr(transformers, config["architectures"][0])
    return vocoder(vocoder.config_class(**config))


def try_stage_vocoder(front_end: FrontEnd, vocoder) -> None:
    """Run a vocoder once. Raises `ValueError` unless it fits the mels of a pipeline with this front end."""
    check_vocoder(vocoder, front_end.mel_port.outer)
    try_vocoder(vocoder)
