"""Turns down the noise in a recording, as its clean mel says."""

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..audio.resampling import RateRestorer
from ..mel.gain import spectral_gain, upper_bins
from ..mel.spectrogram import istft, power_density
from .analysis import Analysis
from .settings import EnhancementSettings


class Resynthesis:
    """Applies a bounded spectral gain to a recording (see [`spectral_gain`]); an [`Output`].

    Args:
        analysis: Recording.
        settings: Settings of the request.
        gain_exponent: Exponent of the gain, see [`spectral_gain`].
    """

    def __init__(self, analysis: Analysis, settings: EnhancementSettings, gain_exponent: float):
        survey, config = analysis.survey, analysis.config
        self._analysis, self._settings, self._gain_exponent = analysis, settings, gain_exponent
        self._gain: SlidingBuffer[torch.Tensor] = SlidingBuffer()
        self._restorer = RateRestorer(
            survey.sampling_rate,
            config.sampling_rate,
            config.hop_length,
            survey.num_channels,
            survey.num_samples,
            settings.min_gain,
        )
        self._upper = upper_bins(config, survey.sampling_rate)
        self._margin = -(-config.n_fft // (2 * config.hop_length))  # frames that reach into a sample's frame

    @property
    def num_made(self) -> int:
        """Number of samples at the recording's rate that were returned."""
        return self._restorer.num_made

    def first_frame_needed(self, frame: int) -> int:
        """First frame of the analysis that still contributes to a sample that is incomplete without `frame`."""
        return max(self._num_complete(frame) // self._analysis.config.hop_length - self._margin, 0)

    def push(self, clean_mel: torch.Tensor, first: int, last: bool) -> np.ndarray:
        """Add the frames `clean_mel (views, groups, num_mel_bins, frames)`, which begin at frame `first`. Returns the
        sound `(channels, samples)` at the recording's rate that they complete. The gain is the mean over all views."""
        analysis, settings = self._analysis, self._settings
        end = first + clean_mel.shape[-1]
        noisy_mel = analysis.noisy_mel.get(first, end)
        limits = settings.min_gain, settings.max_gain, self._gain_exponent
        views = zip(clean_mel, noisy_mel, analysis.views, strict=True)
        gain = torch.stack([spectral_gain(clean, noisy, view, *limits) for clean, noisy, view in views]).mean(dim=0)
        self._gain.append(gain)
        model_audio, enhanced = self._complete(first, end, last)
        audio = self._restorer.push(analysis.audio, model_audio, enhanced, *self._upper_bands(gain, first), last)
        if settings.mix < 1:
            before = self.num_made - audio.shape[1]
            audio = settings.mix * audio + (1 - settings.mix) * analysis.audio.get(before, self.num_made)
        self._gain.forget(self.first_frame_needed(end))
        return audio + analysis.survey.offset[:, None]

    def _upper_bands(self, gain: torch.Tensor, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean gain of the upper bands and the power per Hz that remains after it, each `(groups, frames)`, for
        `gain (groups, frequencies, frames)`, which begins at frame `first`."""
        analysis = self._analysis
        spectrum = analysis.spectrum.get(first, first + gain.shape[-1])[:, self._upper] * gain[:, self._upper]
        density = power_density(spectrum, analysis.config).mean(dim=1)
        if len(gain) == 1:
            density = density.mean(dim=0, keepdim=True)
        return gain[:, self._upper].mean(dim=1).cpu().numpy(), density.cpu().numpy()

    def _num_complete(self, frame: int) -> int:
        """Number of samples at the model's rate to which no frame from `frame` on contributes."""
        return max((frame - self._margin) * self._analysis.config.hop_length, 0)

    def _complete(self, first: int, end: int, last: bool) -> tuple[np.ndarray, np.ndarray]:
        """Samples at the model's rate that the frames from `first` up to `end` complete, without and with the gain
        applied."""
        analysis, config = self._analysis, self._analysis.config
        first_frame, first_sample = self.first_frame_needed(first), self._num_complete(first)
        end_sample = analysis.num_model_samples if last else self._num_complete(end)
        spectrum = analysis.spectrum.get(first_frame, end) * self._gain.get(first_frame, end)
        origin = first_frame * config.hop_length
        waveform = istft(spectrum, end_sample - origin, config)[:, first_sample - origin :]
        return analysis.model_audio.get(first_sample, end_sample), waveform.cpu().numpy()
