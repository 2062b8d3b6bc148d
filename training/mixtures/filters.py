"""Band-pass, high-pass and low-pass filters. Each is a factor on every frequency, so it has no delay."""

import numpy as np
import scipy.fft
import torch


def butterworth_loss(frequency, low: float, high, order: int):
    """Factor by which a Butterworth band-pass from `low` to `high` Hz divides the power at `frequency`, an array or a
    tensor. A `low` of 0 makes a low-pass, a `high` of infinity a high-pass."""
    loss = 1 + (frequency / high) ** (2 * order)
    return loss * (1 + (low / frequency) ** (2 * order)) if low else loss


def band_pass(audio: np.ndarray, sampling_rate: int, low: float, high: float, order: int = 8) -> np.ndarray:
    """Keep `low` to `high` Hz of `(samples,)` with the magnitude of a Butterworth filter: -3 dB at the edges."""
    length = len(audio) + sampling_rate // 10  # room for the ringing, which would wrap around otherwise
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / sampling_rate), 1e-3)
    response = 1 / np.sqrt(butterworth_loss(frequency, low, high, order))
    return np.fft.irfft(np.fft.rfft(audio, length) * response, length)[: len(audio)].astype(np.float32)


def low_pass(tracks: np.ndarray, sampling_rate: int, cutoff: float, order: int = 12) -> np.ndarray:
    """Low-pass of tracks `(..., samples)`: 6 dB down at `cutoff` Hz, and 12 × `order` dB an octave above."""
    frequency = np.fft.rfftfreq(tracks.shape[-1], 1 / sampling_rate)
    response = 1 / butterworth_loss(frequency, 0, cutoff, order)
    return np.fft.irfft(np.fft.rfft(tracks) * response, tracks.shape[-1]).astype(np.float32)


def low_pass_on_device(tracks: torch.Tensor, sampling_rate: int, cutoff: torch.Tensor, order: int = 12) -> torch.Tensor:
    """[`low_pass`] of a tensor `(..., samples)` on its device, with `cutoff` in Hz of a shape that broadcasts."""
    num_samples = tracks.shape[-1]
    frequency = torch.fft.rfftfreq(num_samples, 1 / sampling_rate, device=tracks.device)
    response = 1 / butterworth_loss(frequency, 0, cutoff, order)
    return torch.fft.irfft(torch.fft.rfft(tracks) * response, num_samples)


def brick_wall(audio: np.ndarray, sampling_rate: int, low: float, high: float) -> np.ndarray:
    """Keep `low` to `high` Hz of `(samples,)`, by an ideal filter: edges without a slope."""
    spectrum = np.fft.rfft(audio)
    frequency = np.fft.rfftfreq(len(audio), 1 / sampling_rate)
    return np.fft.irfft(np.where((frequency >= low) & (frequency < high), spectrum, 0), len(audio))


def real_fft(audio: np.ndarray) -> np.ndarray:
    """Spectrum of real `audio (samples,)`, in its precision. In single precision SciPy takes half the time of NumPy."""
    return np.asarray(scipy.fft.rfft(audio))


def inverse_real_fft(spectrum: np.ndarray, num_samples: int) -> np.ndarray:
    """Inverse of [`real_fft`]. It may overwrite `spectrum`."""
    return np.asarray(scipy.fft.irfft(spectrum, num_samples, overwrite_x=True))
