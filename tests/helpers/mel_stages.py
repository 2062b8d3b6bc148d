"""Tiny mel stages and vocoders."""

import torch
from conftest import TINY_UNET, OracleUNet, quiet
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.models.schedulers import training_scheduler

INNER = {
    "n_fft": 1024,
    "win_length": 1024,
    "hop_length": 256,
    "min_frequency": 80.0,
    "max_frequency": 7600.0,
    "filter_norm": "slaney",
    "compression": "log10",
    "mel_scale": 0.2,
    "target": "residual",
    "window_frames": 64,
    "overlap_frames": 16,
}


class SteadyUNet(OracleUNet):
    """Answers that nothing is to be changed."""

    def forward(self, sample, timestep, condition, return_dict=True):
        return (0 * sample,)


def make_vocoder(hop_length: int = 256, **config) -> SpeechT5HifiGan:
    torch.manual_seed(0)
    rates = {128: (4, 4, 4, 2), 256: (4, 4, 4, 4)}[hop_length]
    kernels = [2 * rate for rate in rates]
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            upsample_initial_channel=32, upsample_rates=rates, upsample_kernel_sizes=kernels, **config
        )
    )
    for layer in vocoder.modules():
        if hasattr(layer, "reset_parameters"):  # transformers' own start is silent
            layer.reset_parameters()
    return vocoder.eval()


def make_stage(vocoder=None, unet=SteadyUNet, **changes) -> SpeechEnhancementPipeline:
    torch.manual_seed(0)
    settings = INNER | {"mel_layout": "speecht5"} | changes
    return quiet(SpeechEnhancementPipeline(unet(**TINY_UNET).eval(), training_scheduler(), vocoder, **settings))
