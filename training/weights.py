"""Weights into and out of a run: what it starts from, and pipeline folders of its own."""

import copy
import shutil
from pathlib import Path

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline


def start_from(unet: ConditionalUNet2DModel, pipeline: str) -> None:
    """Give `unet` the weights of a pipeline folder."""
    weights = SpeechEnhancementPipeline.from_pretrained(pipeline).unet.state_dict()
    try:
        unet.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"init_from: the network of {pipeline} is not that of `unet` ({error})") from None


def export_pipeline(pipeline: SpeechEnhancementPipeline, noise_scheduler, folder: Path) -> None:
    """Save `pipeline` with `noise_scheduler`, its weights and its vocoder's in half precision.

    It is written beside and renamed; a folder there before is replaced whole.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    config = {name: value for name, value in pipeline.unet.config.items() if name != "_name_or_path"}
    half = ConditionalUNet2DModel.from_config(config)
    half.load_state_dict(pipeline.unet.state_dict())
    settings = {name: getattr(pipeline.config, name) for name in pipeline._get_signature_keys(pipeline)[1]}
    vocoder = copy.deepcopy(pipeline.vocoder)
    vocoder = None if vocoder is None else vocoder.half()
    SpeechEnhancementPipeline(half.half(), noise_scheduler, vocoder, **settings).save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
