"""Spectrum, mel and level of live sound, each computed once, and the inverse transform to sound."""

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..mel.spectrogram import (
    MelConfig,
    channel_rms,
    compress,
    frame_window,
    full_precision,
    level_scale,
    mel_filters,
    stft_frames,
)
from ..pipelines.inputs import as_tensor
from .level import LiveLevel


class LiveAnalysis:
    """The model's input from the part of a sound that has arrived so far, at the model's rate.

    The offset of each channel is subtracted in the spectrum, where it is a multiple of the window's spectrum. So a
    changing mean makes no step in the sound.

    Args:
        num_channels: Channels of the sound.
        views: Configurations of the mel, which differ only in `frequency_warp`.
        device: Device of spectrum and mels.
    """

    def __init__(self, num_channels: int, views: list[MelConfig], device: torch.device):
        self.config, self._views, self._device = views[0], views, device
        self._margin = self.config.n_fft // 2
        self._level = LiveLevel(self.config, num_channels)
        self.spectrum: SlidingBuffer[torch.Tensor] = SlidingBuffer()
        """Complex spectrum `(channels, frequencies, frames)` without the offset."""
        # Linear mel (views, bands, frames) at the sound's own level
        self._magnitude: SlidingBuffer[torch.Tensor] = SlidingBuffer()
        self._waveform: SlidingBuffer[torch.Tensor] = SlidingBuffer(start=-self._margin)
        self._waveform.append(torch.zeros(num_channels, self._margin, dtype=torch.float32, device=device))
        self._window_spectrum = torch.fft.rfft(frame_window(self.config, device))

    @property
    def num_samples(self) -> int:
        """Number of samples so far."""
        return self._waveform.end

    def push(self, block: np.ndarray) -> None:
        """Take in the next `(channels, samples)`, at least one sample."""
        self._waveform.append(as_tensor(block).to(self._device))
        self._level.push(block)
        hop, first = self.config.hop_length, self.spectrum.end
        last = (self._waveform.end - self._margin) // hop + 1
        if last <= first:
            return
        segment = self._waveform.get(first * hop - self._margin, (last - 1) * hop + self._margin)
        offset = torch.from_numpy(self._level.offset(first, last)).float().to(self._device)
        spectrum = stft_frames(segment, self.config) - offset[:, None] * self._window_spectrum[:, None]
        self.spectrum.append(spectrum)
        magnitude = channel_rms(spectrum)
        self._magnitude.append(torch.cat([_mel_magnitude(magnitude, view) for view in self._views]))
        self._waveform.forget(last * hop - self._margin)

    def mel(self, first: int, last: int, num_samples: int) -> torch.Tensor:
        """Return the mel `(views, num_mel_bins, last - first)` at the model's level. The sound's level is that of
        the first `num_samples`."""
        scale = level_scale(self._level.level(num_samples), self.config)
        return compress(scale * self._magnitude.get(first, last), self.config)

    def forget(self, frame: int, mel_frame: int, num_samples: int) -> None:
        """Drop spectra before `frame` and mels before `mel_frame`. Of the levels, drop those before the level after
        `num_samples`."""
        self.spectrum.forget(frame)
        self._magnitude.forget(mel_frame)
        self._level.forget(self.spectrum.end, num_samples)


class LiveSynthesis:
    """Turns spectra that come frame by frame into sound, the inverse of [`LiveAnalysis`]. Each is transformed once.

    Args:
        num_channels: Channels of the sound.
        config: Configuration of the analysis.
        device: Device of the spectra.
    """

    def __init__(self, num_channels: int, config: MelConfig, device: torch.device):
        self._config, self._window = config, frame_window(config, device)
        self._position = -(config.n_fft // 2)
        tail = config.n_fft - config.hop_length  # samples of the last frames that later frames add to
        self._tail = torch.zeros(num_channels + 1, tail, dtype=torch.float32, device=device)
        self._squares = self._window.square()[None]  # they are added up as one more channel

    def push(self, spectrum: torch.Tensor) -> np.ndarray:
        """Return the samples `(channels, n)` that are complete with the frames of `spectrum (channels, frequencies,
        frames)`."""
        hop, num_frames = self._config.hop_length, spectrum.shape[-1]
        frames = torch.fft.irfft(spectrum.mT, n=self._config.n_fft) * self._window
        summed = torch.nn.functional.pad(self._tail, (0, num_frames * hop))
        for number, frame in enumerate(frames.unbind(dim=1)):
            summed[:, number * hop : number * hop + self._config.n_fft] += torch.cat([frame, self._squares])
        done, self._tail = summed[:, : num_frames * hop], summed[:, num_frames * hop :]
        before = min(max(-self._position, 0), done.shape[1])
        self._position += done.shape[1]
        done = done[:, before:]
        return (done[:-1] / done[-1:]).cpu().numpy()


@full_precision
def _mel_magnitude(magnitude: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Convert a linear magnitude `(1, frequencies, frames)` into a linear mel `(1, num_mel_bins, frames)`."""
    return mel_filters(config, magnitude.device).T @ magnitude
