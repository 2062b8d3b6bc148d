"""How different two spectra sound: the disturbance that PESQ is computed from, as a loss."""

from functools import lru_cache

import torch

from speech_enhance.mel.spectrogram import MelConfig

_BAND_BARK = 0.45  # width of a band; at low frequencies one bin is wider
_SPEECH_BAND = (300.0, 3300.0)  # band in Hz that sets the level
_SPEECH_POWER = 1.9e9  # power of that band, in units in which the threshold of hearing is _THRESHOLD
_THRESHOLD = 0.35
_AUDIBLE_FRAME = 1e7
_LEAST_POWER = 1e-12
_LARGEST = 45.0
_SPLIT_SECOND = 0.32


def perceptual_disturbance(enhanced: torch.Tensor, clean: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Points of raw mean opinion score that `enhanced` loses against `clean`, after ITU-T P.862. They come from two
    differences of loudness over bands and frames: a plain one, and one in which added sound counts more.

    As in the standard, level, colour and slow changes of gain are equalised before, and masked differences are left
    out. But time is not aligned, and bands and threshold of hearing come from formulas instead of tables (cf.
    Martín-Doñas et al., "A Deep Learning Loss Function Based on the Perceptual Evaluation of the Speech Quality", IEEE
    SPL 25(11), 2018).

    Args:
        enhanced: Power spectrum `(batch, frequencies, frames)`.
        clean: Power spectrum of the same shape.
        config: Analysis of both.

    Returns:
        `(batch,)`, 0 for equal spectra and where `clean` is silent.
    """
    bands, width, threshold, exponent = _bark_bands(config.n_fft, config.sampling_rate, enhanced.device)
    enhanced, clean = (_at_listening_level(power, config) for power in (enhanced, clean))
    enhanced, clean = bands @ enhanced, bands @ clean
    with torch.no_grad():
        active = _audible(clean, 100 * threshold).sum(dim=1, keepdim=True) >= _AUDIBLE_FRAME
    colour = [
        (_audible(power, 100 * threshold) * active).mean(dim=2, keepdim=True) + 1e3 for power in (enhanced, clean)
    ]
    clean = (colour[0] / colour[1]).clamp(0.01, 100) * clean
    total = [_audible(power, threshold).sum(dim=1, keepdim=True) for power in (enhanced, clean)]
    enhanced = ((total[1] + 5e3) / (total[0] + 5e3)).clamp(3e-4, 5) * enhanced

    loudness = [_loudness(power, threshold, exponent) for power in (enhanced, clean)]
    difference = loudness[0] - loudness[1]
    difference = (difference.abs() - 0.25 * torch.minimum(*loudness)).clamp(min=0) * width
    added = ((enhanced + 50) / (clean + 50)).pow(1.2)
    added = torch.where(added < 3, 0, added.clamp(max=12))
    importance = ((total[1][:, 0] + 1e5) / 1e7).pow(-0.04)
    symmetric = _capped(importance * width.sum().sqrt() * (difference.square().sum(dim=1) + _LEAST_POWER).sqrt())
    asymmetric = _capped(importance * (difference * added).sum(dim=1))
    frames = round(_SPLIT_SECOND * config.sampling_rate / config.hop_length)
    lost = 0.1 * _over_time(symmetric, frames) + 0.0309 * _over_time(asymmetric, frames)
    return torch.where(active.any(dim=2)[:, 0], lost, 0)


@lru_cache(maxsize=4)
def _bark_bands(n_fft: int, sampling_rate: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Filters `(bands, frequencies)`; then width in Bark, threshold of hearing and exponent of loudness of each band,
    all `(bands, 1)`."""
    frequencies = torch.arange(n_fft // 2 + 1, device=device) * sampling_rate / n_fft
    index = torch.floor(_bark(frequencies) / _BAND_BARK)[frequencies >= 60]
    _, index = torch.unique(index, return_inverse=True)
    bands = torch.zeros(int(index.max()) + 1, len(frequencies), device=device)
    bands[index, torch.arange(len(frequencies) - len(index), len(frequencies), device=device)] = 1
    number = bands.sum(dim=1, keepdim=True)
    centre = bands @ frequencies[:, None] / number
    width = number * 7 * sampling_rate / n_fft / (650**2 + centre.square()).sqrt()
    threshold = _THRESHOLD + 2.7 * (370 / centre).pow(5.8)
    exponent = 0.23 * (6 / (_bark(centre) + 2)).clamp(1, 2).pow(0.15)
    return bands, width, threshold, exponent


def _bark(frequency: torch.Tensor) -> torch.Tensor:
    return 7 * torch.asinh(frequency / 650)


def _at_listening_level(power: torch.Tensor, config: MelConfig) -> torch.Tensor:
    low, high = (round(edge * config.n_fft / config.sampling_rate) for edge in _SPEECH_BAND)
    level = power[:, low:high].sum(dim=1).mean(dim=1)
    return power * (_SPEECH_POWER / (level + _LEAST_POWER))[:, None, None]


def _audible(power: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    return torch.where(power > threshold, power, 0)


def _loudness(power: torch.Tensor, threshold: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Zwicker's law: 0 at the threshold of hearing."""
    return 0.187 * (2 * threshold).pow(exponent) * ((0.5 + 0.5 * (power / threshold).clamp(min=1)).pow(exponent) - 1)


def _capped(disturbance: torch.Tensor) -> torch.Tensor:
    """Limits smoothly what a frame counts. The standard has a hard limit, which has no gradient beyond it."""
    return _LARGEST * torch.tanh(disturbance / _LARGEST)


def _over_time(disturbance: torch.Tensor, frames: int) -> torch.Tensor:
    """Mean over time of `(batch, frames)`: a norm that follows the worst frames within a third of a second, then the
    root mean square over these norms."""
    parts = disturbance.unfold(1, min(frames, disturbance.shape[1]), max(1, frames // 2))
    return (parts.pow(6).mean(dim=2) + _LEAST_POWER).pow(1 / 3).mean(dim=1).sqrt()
