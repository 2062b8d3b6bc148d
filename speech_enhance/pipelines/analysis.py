"""Analyses a recording block by block for the network, so that memory does not grow with its length."""

from collections.abc import Sequence

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..audio.resampling import Resampler
from ..mel.spectrogram import MelConfig, channel_rms, compress, decompress, mel_spectrogram, stft_frames
from .inputs import as_tensor
from .survey import Blocks, Survey


class Analysis:
    """Reads a recording and keeps the part of it, of its spectrum and of its mels that is still needed.

    Args:
        open_blocks: Function that begins to read the recording.
        survey: Facts about the recording.
        views: Layouts of the mels; they differ only in `frequency_warp`.
        device: Device of spectrum and mels.
    """

    def __init__(self, open_blocks: Blocks, survey: Survey, views: Sequence[MelConfig], device: torch.device):
        config = views[0]
        self.survey, self.config, self.views, self.device = survey, config, views, device
        self.num_views = len(views)
        self.scale = survey.mean_scale(config)
        self.num_model_samples = survey.num_model_samples(config.sampling_rate)
        self.num_frames = config.num_frames(self.num_model_samples)
        self.audio: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self.model_audio: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self.spectrum: SlidingBuffer[torch.Tensor] = SlidingBuffer()
        self.noisy_mel: SlidingBuffer[torch.Tensor] = SlidingBuffer()
        self._margin = config.n_fft // 2
        self._waveform: SlidingBuffer[torch.Tensor] = SlidingBuffer(start=-self._margin)
        self._waveform.append(torch.zeros(survey.num_channels, self._margin, dtype=torch.float32, device=device))
        self._blocks = iter(open_blocks())
        self._resampler = Resampler(survey.sampling_rate, config.sampling_rate, survey.num_channels)

    def read_to(self, frame: int) -> None:
        """Read on until all frames before `frame` are there."""
        while self.noisy_mel.end < min(frame, self.num_frames):
            block = next(self._blocks, None)
            if block is None:
                self._finish()
            else:
                block = block - self.survey.offset[:, None]
                self.audio.append(block)
                self._check_length(self.audio.end <= self.survey.num_samples)
                self._take(self._resampler.push(block))

    def forget(self, frame: int, num_made: int | None) -> None:
        """Drop the frames before `frame` and the first `num_made` samples at the recording's rate. If `num_made` is
        `None`, drop all samples."""
        self.spectrum.forget(frame)
        self.noisy_mel.forget(frame)
        self.model_audio.forget(frame * self.config.hop_length)
        self.audio.forget(self.audio.end if num_made is None else num_made)

    def _finish(self) -> None:
        self._check_length(self.audio.end == self.survey.num_samples)
        self._take(self._resampler.finish(self.num_model_samples))
        silence = self._margin + -self.num_model_samples % self.config.hop_length
        self._take(np.zeros((self.survey.num_channels, silence), np.float32), audible=False)

    def _check_length(self, as_before: bool) -> None:
        if not as_before:
            raise ValueError(
                f"the recording changed while it was read: {self.survey.num_samples} samples the first time, "
                f"{self.audio.end} the second"
            )

    def at_mean_level(self, clean_mel: torch.Tensor, first: int) -> torch.Tensor:
        """Rescale `clean_mel (views, groups, num_mel_bins, frames)`, which begins at frame `first`, from the level
        around each frame to the recording's mean level."""
        if self.survey.level.shape[-1] == 1:
            return clean_mel
        scale = self.scale[:, None] / self.survey.scale(first, first + clean_mel.shape[-1], self.config)
        return compress(decompress(clean_mel, self.config) * scale[:, None].to(clean_mel), self.config)

    def _take(self, block: np.ndarray, audible: bool = True) -> None:
        """Append audio at the model's rate, and compute the frames that are now complete."""
        if audible:
            self.model_audio.append(block)
        self._waveform.append(as_tensor(block).to(self.device))
        hop, first = self.config.hop_length, self.spectrum.end
        last = min((self._waveform.end - self._margin) // hop + 1, self.num_frames)
        if last <= first:
            return
        segment = self._waveform.get(first * hop - self._margin, (last - 1) * hop + self._margin)
        spectrum = stft_frames(segment, self.config)
        self.spectrum.append(spectrum)
        scale = self.survey.scale(first, last, self.config).to(self.device)
        magnitude = (channel_rms(spectrum) if len(scale) == 1 else spectrum.abs()) * scale[:, None]
        self.noisy_mel.append(torch.stack([mel_spectrogram(magnitude, view) for view in self.views]))
        self._waveform.forget(last * hop - self._margin)
