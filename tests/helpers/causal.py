"""Tiny networks for live sound, and a pipeline around one."""

import torch
from conftest import quiet

from speech_enhance import CausalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.models.schedulers import training_scheduler

TINY = {"num_bands": 80, "block_out_channels": (8, 12), "memory_channels": 16, "norm_num_groups": 2}


def make_network(seed: int = 0, **settings) -> CausalUNet2DModel:
    torch.manual_seed(seed)
    return CausalUNet2DModel(**TINY | settings).eval()


def make_pipeline(**settings) -> SpeechEnhancementPipeline:
    settings = {"window_frames": 64, "overlap_frames": 16, "with_noise_floor": False} | settings
    return quiet(SpeechEnhancementPipeline(make_network(), training_scheduler(), **settings))
