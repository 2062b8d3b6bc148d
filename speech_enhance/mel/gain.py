"""From the generated mel back to sound: a bounded spectral gain on the recording's own STFT.

The recording supplies phase and fine structure; the mel says how much of each band is speech. So the result holds no
words that are not in the recording, and its loudness and length cannot drift.
"""

from functools import lru_cache

import torch

from .spectrogram import MelConfig, decompress, full_precision, mel_filters

GAIN_EPSILON = 1e-5
UPPER_BAND = 0.625  # of the band that recording and model share: 5 to 8 kHz


@full_precision
def spectral_gain(
    clean_mel: torch.Tensor,
    noisy_mel: torch.Tensor,
    config: MelConfig,
    min_gain: float = 0.0,
    max_gain: float = 1.0,
    exponent: float = 1.0,
) -> torch.Tensor:
    """Gain per STFT bin that turns the noisy mel into the clean one.

    Args:
        clean_mel: Compressed mel `(batch, num_mel_bins, frames)` of the speech.
        noisy_mel: Compressed mel of the recording, same shape.
        config: Analysis that both were made with.
        min_gain: Lower bound of the result.
        max_gain: Upper bound; above 1 it lets the model add energy.
        exponent: Power of the ratio. A mean that is taken in the compressed domain lies below the mean magnitude. The
            difference grows with uncertainty; a value below 1 makes up for some of it.

    Returns:
        `(batch, n_fft // 2 + 1, frames)` in `[min_gain, max_gain]`; a bin that no filter covers (0 Hz, half the
        sampling rate) has the gain of the nearest band.
    """
    ratio = (decompress(clean_mel, config) + GAIN_EPSILON) / (decompress(noisy_mel, config) + GAIN_EPSILON)
    ratio = ratio.pow(exponent).clamp(min_gain, max_gain)
    return (_bands_to_bins(config, ratio.device) @ ratio).clamp(min_gain, max_gain)


def upper_bins(config: MelConfig, sampling_rate: int) -> slice:
    """STFT bins of the upper bands that a recording at `sampling_rate` shares with the model. Frequencies above them
    get their gain."""
    top = min(sampling_rate, config.sampling_rate) / config.sampling_rate * (config.n_fft // 2)
    return slice(round(UPPER_BAND * top), max(round(top), 1))


@lru_cache(maxsize=16)
def _bands_to_bins(config: MelConfig, device: torch.device) -> torch.Tensor:
    """Weights `(frequencies, num_mel_bins)` of the bands for each STFT bin; those of a bin sum to 1."""
    weights = mel_filters(config).double().clone()
    centres = (weights * torch.arange(len(weights))[:, None]).sum(dim=0)
    for index in (weights.sum(dim=1) == 0).nonzero().flatten():
        weights[index, (centres - index).abs().argmin()] = 1
    return (weights / weights.sum(dim=1, keepdim=True)).float().to(device)
