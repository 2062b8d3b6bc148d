"""Mels of other models: what they mean, and how one becomes the other.

Acoustic models and vocoders each have a mel of their own, and none says which. A layout is a [`MelConfig`]: bands, hop,
window, filters, base and floor of the logarithm. Their mels are at the level of the sound, not at a fixed one.
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
"""That of `SpeechT5FeatureExtractor`, `SpeechT5ForTextToSpeech` and `SpeechT5HifiGan` (transformers)."""

MEL_LAYOUTS = {"speecht5": SPEECHT5}
"""Layouts by name, for the pipeline's `mel_layout`."""


@full_precision
def convert_mel(mel: torch.Tensor, source: MelConfig, target: MelConfig) -> torch.Tensor:
    """The mel that `target` has of the sound of which `source` has `mel`.

    Between two that differ in compression, scale or filter area alone this is exact, but for what lies below a floor.
    Else it is an estimate: magnitudes are interpolated over frequency, and powers averaged over time where the hop
    grows. What a shorter window has blurred over frequency, or a longer one over time, stays blurred.

    Args:
        mel: `(..., num_mel_bins, frames)`.
        source: Its layout.
        target: The layout wanted.

    Returns:
        `(..., num_mel_bins, frames)` of `target`, the frames covering the same time.
    """
    magnitude = decompress(mel, source) / _band_scale(source, mel.device)
    if _grid(source) != _grid(target):
        magnitude = _band_weights(source, target).to(mel) @ magnitude
        magnitude = (magnitude.square() @ _frame_weights(source, target, mel.shape[-1]).to(mel)).sqrt()
    return compress(magnitude * _band_scale(target, mel.device), target)


def mel_active_level(magnitude: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """What [`active_level`] of the sound is likely to be, of which this is the linear mel.

    Args:
        magnitude: `(..., num_mel_bins, frames)`, see [`decompress`].
        config: Its layout.

    Returns:
        `(...)`, RMS with full scale 1.
    """
    density = magnitude / _band_scale(config, magnitude.device)
    return level_of_power((density.square() * _band_widths(config, magnitude.device)).sum(dim=-2))


def level_mel(mel: torch.Tensor, layout: MelConfig, config: MelConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """A mel of another model as a network of `config` is shown it.

    Returns:
        The mel `(..., num_mel_bins, frames)` of `config` at its level, and the factor `(...)` that brought it there.
    """
    scale = level_scale(mel_active_level(decompress(mel, layout), layout), config)
    return rescale_mel(convert_mel(mel, layout, config), scale, config), scale


def rescale_mel(mel: torch.Tensor, scale: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """The mel `(..., num_mel_bins, frames)` of the same sound `scale (...)` times as loud."""
    return compress(decompress(mel, config) * scale[..., None, None], config)


def _grid(config: MelConfig) -> tuple:
    """What must agree for bands and frames to be the same."""
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
    """`(num_mel_bins, 1)`: what a band's linear value is for sound whose density is 1, i.e. of an RMS of 1 if it is
    equally loud at all frequencies. A spectral line is not, and counts more the longer the window."""
    window = torch.hann_window(config.win_length, periodic=True, dtype=torch.float32)
    return (mel_filters(config, device).sum(dim=0) * window.square().sum().sqrt().to(device))[:, None]


def _band_widths(config: MelConfig, device: torch.device) -> torch.Tensor:
    """`(num_mel_bins, 1)`: share of the whole band, up to half the sampling rate, that each band stands for."""
    filters = mel_filters(config, device)
    shares = filters / filters.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return (shares.sum(dim=0) / len(filters))[:, None]


def _centres(config: MelConfig) -> np.ndarray:
    """Centre of mass of each band in Hz."""
    filters = mel_filters(config).double().numpy()
    frequencies = np.linspace(0, config.sampling_rate / 2, len(filters))
    return frequencies @ (filters / filters.sum(axis=0))


def _band_weights(source: MelConfig, target: MelConfig) -> torch.Tensor:
    """`(target bands, source bands)`: linear interpolation between centres; beyond the outermost, its value."""
    columns = [np.interp(_centres(target), _centres(source), row) for row in np.eye(source.num_mel_bins)]
    return torch.from_numpy(np.stack(columns, axis=1))


def _frame_weights(source: MelConfig, target: MelConfig, num_frames: int) -> torch.Tensor:
    """`(source frames, target frames)`: weights that fall linearly to 0 within a hop, of the longer of the two."""
    source_hop, target_hop = (config.hop_length / config.sampling_rate for config in (source, target))
    num_target = round((num_frames - 1) * source_hop / target_hop) + 1
    distance = np.arange(num_frames)[:, None] * source_hop - np.arange(num_target) * target_hop
    weights = np.maximum(0, 1 - np.abs(distance) / max(source_hop, target_hop)) + 1e-12
    return torch.from_numpy(weights / weights.sum(axis=0))
