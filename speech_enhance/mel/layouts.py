"""Mels of other models: what they mean, and how one is converted into another.

Each acoustic model and vocoder has a mel of its own, and its files do not describe it. A layout describes such a mel by
a [`MelConfig`]: bands, hop, window, filters, base and floor of the logarithm. These mels are at the level of the sound,
not at a fixed one.
"""

import numpy as np
import torch

from .spectrogram import MelConfig, compress, decompress, full_precision, level_of_power, level_scale, mel_filters

SPEECHT5 = MelConfig(
    n_fft=1024,
    win_length=1024,
    hop_length=256,
    min_frequency=80.0,
    max_frequency=7600.0,
    filter_norm="slaney",
    compression="log10",
    mel_floor=1e-10,
    mel_silence=-10.0,
)
"""Layout of `SpeechT5FeatureExtractor`, `SpeechT5ForTextToSpeech` and `SpeechT5HifiGan` (transformers)."""

MEL_LAYOUTS = {"speecht5": SPEECHT5}
"""Layouts by name, for the pipeline's `mel_layout`."""


@full_precision
def convert_mel(mel: torch.Tensor, source: MelConfig, target: MelConfig) -> torch.Tensor:
    """Convert a mel from one layout into another.

    The result is exact if the layouts differ only in compression, scale or filter area, except for values below a
    floor. Otherwise it is an estimate: magnitudes are interpolated over frequency, and powers are averaged over time
    where the hop grows. A shorter window blurs over frequency and a longer one over time; the conversion does not undo
    this.

    Args:
        mel: Mel `(..., num_mel_bins, frames)` in the layout `source`.
        source: Layout of `mel`.
        target: Layout of the result.

    Returns:
        Mel `(..., num_mel_bins, frames)` in the layout `target`; its frames cover the same time.
    """
    magnitude = decompress(mel, source) / _band_scale(source, mel.device)
    if _grid(source) != _grid(target):
        magnitude = _band_weights(source, target).to(mel) @ magnitude
        magnitude = (magnitude.square() @ _frame_weights(source, target, mel.shape[-1]).to(mel)).sqrt()
    return compress(magnitude * _band_scale(target, mel.device), target)


def mel_active_level(magnitude: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Estimate the [`active_level`] of a sound from its linear mel.

    Args:
        magnitude: Linear mel `(..., num_mel_bins, frames)`, see [`decompress`].
        config: Layout of the mel.

    Returns:
        RMS `(...)` with full scale 1.
    """
    density = magnitude / _band_scale(config, magnitude.device)
    return level_of_power((density.square() * _band_widths(config, magnitude.device)).sum(dim=-2))


def level_mel(mel: torch.Tensor, layout: MelConfig, config: MelConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert a mel of another model into the input of a network of `config`.

    Returns:
        The mel `(..., num_mel_bins, frames)` in the layout `config` and at the level of `config`, and the factor
        `(...)` that brought it to this level.
    """
    scale = level_scale(mel_active_level(decompress(mel, layout), layout), config)
    return rescale_mel(convert_mel(mel, layout, config), scale, config), scale


def rescale_mel(mel: torch.Tensor, scale: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """The mel `(..., num_mel_bins, frames)` of the same sound made `scale (...)` times as loud."""
    return compress(decompress(mel, config) * scale[..., None, None], config)


def _grid(config: MelConfig) -> tuple:
    """Settings that must agree for bands and frames to be the same."""
    return (
        config.sampling_rate,
        config.n_fft,
        config.win_length,
        config.hop_length,
        config.num_mel_bins,
        config.min_frequency,
        config.top_frequency,
    )


def _band_scale(config: MelConfig, device: torch.device) -> torch.Tensor:
    """Linear value `(num_mel_bins, 1)` of each band for a sound of spectral density 1: one that is equally loud at all
    frequencies and has an RMS of 1. A spectral line has another value, which grows with the window."""
    window = torch.hann_window(config.win_length, periodic=True, dtype=torch.float32)
    return (mel_filters(config, device).sum(dim=0) * window.square().sum().sqrt().to(device))[:, None]


def _band_widths(config: MelConfig, device: torch.device) -> torch.Tensor:
    """Share `(num_mel_bins, 1)` of the frequencies up to half the sampling rate that each band stands for."""
    filters = mel_filters(config, device)
    shares = filters / filters.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return (shares.sum(dim=0) / len(filters))[:, None]


def _centres(config: MelConfig) -> np.ndarray:
    """Centre of mass of each band in Hz."""
    filters = mel_filters(config).double().numpy()
    frequencies = np.linspace(0, config.sampling_rate / 2, len(filters))
    return frequencies @ (filters / filters.sum(axis=0))


def _band_weights(source: MelConfig, target: MelConfig) -> torch.Tensor:
    """Weights `(target bands, source bands)` of a linear interpolation between centres. Beyond the outermost centre,
    its value is kept."""
    columns = [np.interp(_centres(target), _centres(source), row) for row in np.eye(source.num_mel_bins)]
    return torch.from_numpy(np.stack(columns, axis=1))


def _frame_weights(source: MelConfig, target: MelConfig, num_frames: int) -> torch.Tensor:
    """Weights `(source frames, target frames)` that fall linearly to 0 within one hop, the longer of the two."""
    source_hop, target_hop = (config.hop_length / config.sampling_rate for config in (source, target))
    num_target = round((num_frames - 1) * source_hop / target_hop) + 1
    distance = np.arange(num_frames)[:, None] * source_hop - np.arange(num_target) * target_hop
    weights = np.maximum(0, 1 - np.abs(distance) / max(source_hop, target_hop)) + 1e-12
    return torch.from_numpy(weights / weights.sum(axis=0))
