"""The weights that a run starts from, and the pipeline folders that it writes."""

import copy
import re
from pathlib import Path
from typing import Any

import torch

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline

from .run_folder import written_whole

CHANNELS = {
    "with_noise_floor": True,
    "with_band_coordinate": True,
    "with_dereverb": False,
    "self_conditioning": False,
}
"""Settings of a pipeline that each give the network one more condition channel, in the order of the channels, with
their defaults."""


def condition_channels(settings) -> list[str]:
    """Names of a network's input channels, by the `settings` of its pipeline: the sample, the noisy mel, and the
    channels that [`CHANNELS`] lists."""
    return ["sample", "noisy_mel", *(name for name, default in CHANNELS.items() if settings.get(name, default))]


def start_from(unet: Any, pipeline: str, channels: list[str]) -> None:
    """Give `unet` the weights of a pipeline folder.

    The network of the folder may have fewer layers a block: the new layers change nothing at first (see [`deepened`]).
    It may lack input channels: `unet` ignores them at first.

    Args:
        unet: The network to start.
        pipeline: Pipeline folder.
        channels: The network's input channels, see [`condition_channels`].

    Raises:
        ValueError: if the networks differ in anything else that the weights were trained with.
    """
    source = SpeechEnhancementPipeline.from_pretrained(pipeline)
    given, given_channels = source.unet, condition_channels(source.config)
    if type(given) is not type(unet):
        raise ValueError(
            f"init_from: the network of {pipeline} is a {type(given).__name__}, not a {type(unet).__name__}"
        )
    free = set()
    if isinstance(unet, ConditionalUNet2DModel):
        free = {"dropout", "sample_size"}
        if given.config.layers_per_block < unet.config.layers_per_block:
            free.add("layers_per_block")
        if set(given_channels) < set(channels) and unet.config.in_channels == unet.config.out_channels * len(channels):
            free.add("in_channels")
    theirs, ours = ({name: _plain(value) for name, value in item.config.items()} for item in (given, unet))
    if others := [name for name in ours if name[0] != "_" and name not in free and theirs.get(name) != ours[name]]:
        differences = ", ".join(f"{name} is {theirs.get(name)}, not {ours[name]}" for name in others)
        raise ValueError(f"init_from: the network of {pipeline} is not that of `unet`: {differences}")
    weights = given.state_dict()
    if "in_channels" in free:
        parts = weights["conv_in.weight"].split(unet.config.out_channels, dim=1)
        by_channel = dict(zip(given_channels, parts, strict=True))
        nothing = torch.zeros_like(by_channel["sample"])
        weights["conv_in.weight"] = torch.cat([by_channel.get(name, nothing) for name in channels], dim=1)
    if "layers_per_block" in free:
        weights = deepened(weights, given.config.layers_per_block, unet)
    unet.load_state_dict(weights)


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def deepened(weights: dict[str, torch.Tensor], layers: int, unet: ConditionalUNet2DModel) -> dict[str, torch.Tensor]:
    """Weights for `unet` from those of a network with as many or fewer `layers` a block.

    `unet` then computes the same: its additional layers change nothing until they learn (Chen et al., "Net2Net",
    arXiv:1511.05641). Down blocks append them. Up blocks insert them after the first layer and share its skip
    connection.
    """
    added = unet.config.layers_per_block - layers
    new = {name: value.clone() for name, value in unet.state_dict().items()}
    taken = {}
    for name, value in weights.items():
        place = re.match(r"(up_blocks\.\d+\.(?:resnets|attentions)\.)([1-9]\d*)(\..+)", name)
        taken[f"{place[1]}{int(place[2]) + added}{place[3]}" if place else name] = value
    for name, value in new.items():
        if name in taken:
            continue
        # A layer adds 0 to its input. In an up block, the shortcut passes the input without the skip connection.
        if ".conv2." in name or ".to_out.0." in name:
            value.zero_()
        elif name.endswith("conv_shortcut.weight"):
            value.copy_(torch.eye(*value.shape[:2])[..., None, None])
        elif name.endswith("conv_shortcut.bias"):
            value.zero_()
    return new | taken


def export_pipeline(pipeline: SpeechEnhancementPipeline, folder: Path) -> None:
    """Save `pipeline`, its weights and its vocoder's in half precision.

    It is written beside its place and renamed. It replaces a folder that was there.

    Raises:
        RunError: if it cannot be written; the folder that was there stays.
    """
    config = {name: value for name, value in pipeline.unet.config.items() if name != "_name_or_path"}
    with torch.random.fork_rng(devices=[]):  # the random numbers of a run must not depend on when it exports
        half = type(pipeline.unet).from_config(config)
    half.load_state_dict(pipeline.unet.state_dict())
    settings = {name: getattr(pipeline.config, name) for name in pipeline._get_signature_keys(pipeline)[1]}
    vocoder = copy.deepcopy(pipeline.vocoder)
    vocoder = None if vocoder is None else vocoder.half()
    with written_whole(folder) as partial:
        SpeechEnhancementPipeline(half.half(), pipeline.scheduler, vocoder, **settings).save_pretrained(partial)
