"""One recording on its way through the pipeline, block by block, so that memory does not grow with its length.

After a [`survey`], [`RecordingStream`] reads it again: [`Analysis`] gives the windows that the network is shown,
[`Resynthesis`] makes sound of what the network answers.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..audio.resampling import RateRestorer, Resampler
from ..mel.conditioning import build_condition
from ..mel.gain import spectral_gain, upper_bins
from ..mel.spectrogram import (
    MelConfig,
    channel_rms,
    compress,
    decompress,
    istft,
    mel_spectrogram,
    power_density,
    stft_frames,
)
from .inputs import as_tensor
from .settings import EnhancementSettings
from .survey import Blocks, Survey
from .windows import WindowBlender, average_shifted, cut_window, estimate_shifts, window_starts


class Analysis:
    """Reads a recording and keeps the part of it, of its spectrum and of its mels that is still needed.

    Args:
        open_blocks, survey: The recording.
        views: Of each mel; they differ in `frequency_warp` alone.
        device: Where spectrum and mels are.
    """

    def __init__(self, open_blocks: Blocks, survey: Survey, views: Sequence[MelConfig], device: torch.device):
        config = views[0]
        self.survey, self.config, self.views, self.device = survey, config, views, device
        self.num_views = len(views)
        self.scale = survey.mean_scale(config)
        self.num_model_samples = survey.num_model_samples(config.sampling_rate)
        self.num_frames = config.num_frames(self.num_model_samples)
        self.audio = SlidingBuffer()
        self.model_audio = SlidingBuffer()
        self.spectrum = SlidingBuffer()
        self.noisy_mel = SlidingBuffer()
        self._margin = config.n_fft // 2
        self._waveform = SlidingBuffer(start=-self._margin)
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

    def forget(self, frame: int, made: int | None) -> None:
        """Let go of the frames before `frame` and of the samples at the recording's rate before `made`, or of all."""
        self.spectrum.forget(frame)
        self.noisy_mel.forget(frame)
        self.model_audio.forget(frame * self.config.hop_length)
        self.audio.forget(self.audio.end if made is None else made)

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
        """`clean_mel (views, groups, num_mel_bins, frames)` from frame `first` on as it were at the recording's mean
        level instead of the one around each frame."""
        if self.survey.level.shape[-1] == 1:
            return clean_mel
        scale = self.scale[:, None] / self.survey.scale(first, first + clean_mel.shape[-1], self.config)
        return compress(decompress(clean_mel, self.config) * scale[:, None].to(clean_mel), self.config)

    def _take(self, block: np.ndarray, audible: bool = True) -> None:
        """Take in audio at the model's rate, and make the frames that can be made."""
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


class RecordingStream:
    """One recording: windows out, the network's answers in, sound back.

    Args:
        analysis: An [`Analysis`] of it, or a [`GivenMel`].
        resynthesis: A [`Resynthesis`] of the same; `None` gives clean mels back instead of sound.
        pipeline: Whose settings apply.
        settings: Of the request.
    """

    def __init__(self, analysis, resynthesis: "Resynthesis | None", pipeline, settings: EnhancementSettings):
        self._layout, self._condition_config = pipeline.config, pipeline.condition_config
        self._analysis, self._resynthesis = analysis, resynthesis
        self._target = pipeline.mel_target
        self._blender = WindowBlender(self._layout.overlap_frames)
        self.starts = window_starts(analysis.num_frames, self._layout.window_frames, self._layout.overlap_frames)
        self.scale = analysis.scale
        self.num_groups = len(self.scale)
        self._dereverb = settings.dereverb
        num_views, num_estimates = analysis.num_views, settings.num_estimates
        shifts = estimate_shifts(-(-num_estimates // num_views), pipeline.unet.frame_multiple)
        self._estimates = [(number % num_views, shifts[number // num_views]) for number in range(num_estimates)]
        self._answers: list[torch.Tensor] = []
        self._num_done = 0
        self._decided = 0

    def windows(self) -> Iterator[tuple[int, int, torch.Tensor]]:
        """First frame, number of the estimate and condition `(channels, num_mel_bins, window_frames)`: window by
        window, in it group by group, and for each `num_estimates`, of the views in turn; when all had theirs, the
        windows begin a little earlier (see [`estimate_shifts`]). The recording is read as far as each window needs
        it."""
        for start in self.starts:
            first, condition = self._condition(start)
            for group in range(self.num_groups):
                for estimate, (view, shift) in enumerate(self._estimates):
                    maps = condition[view, group]
                    yield start, estimate, cut_window(maps, start - shift - first, self._layout.window_frames)

    def accept(self, sample: torch.Tensor) -> np.ndarray | torch.Tensor | None:
        """Take the next answer `(num_mel_bins, window_frames)`, in the order of [`~RecordingStream.windows`]. Returns
        what of the output is known by it: sound `(channels, samples)` at the recording's rate, or mels `(groups,
        num_mel_bins, frames)`."""
        self._answers.append(sample)
        if len(self._answers) < self.num_groups * len(self._estimates):
            return None
        answers = self._average(torch.stack(self._answers).unflatten(0, (self.num_groups, -1)))
        self._answers = []
        self._num_done += 1
        last = self._num_done == len(self.starts)
        frames = self._blender.push(answers, last)[..., : self._analysis.num_frames - self._decided]
        first, self._decided = self._decided, self._decided + frames.shape[-1]
        clean_mel = self._target.decode(frames, self._analysis.noisy_mel.get(first, self._decided))
        if self._resynthesis is None:
            output = self._analysis.at_mean_level(clean_mel, first)[0]
        else:
            output = self._resynthesis.push(clean_mel, last)
        if last:
            del self._analysis, self._resynthesis  # one of many recordings must not hold on to its buffers
        else:
            made = None if self._resynthesis is None else self._resynthesis.num_made
            self._analysis.forget(self._first_frame_needed(), made)
        return output

    def _average(self, answers: torch.Tensor) -> torch.Tensor:
        """Mean `(views, groups, num_mel_bins, frames)` of a window's `answers (groups, estimates, num_mel_bins,
        frames)`."""
        num_views = self._analysis.num_views
        shifts = [shift for _, shift in self._estimates]
        views = range(num_views)
        return torch.stack([average_shifted(answers[:, view::num_views], shifts[view::num_views]) for view in views])

    def _condition(self, start: int) -> tuple[int, torch.Tensor]:
        """Condition `(views, groups, channels, num_mel_bins, frames)` that holds the windows at `start`, and its first
        frame."""
        first, last = self._context(start)
        self._analysis.read_to(last)
        noisy_mel = self._analysis.noisy_mel.get(first, min(last, self._analysis.num_frames))
        condition = build_condition(noisy_mel.flatten(0, 1), self._condition_config, self._dereverb)
        return first, condition.unflatten(0, noisy_mel.shape[:2])

    def _context(self, start: int) -> tuple[int, int]:
        """Frames that the condition of the windows at `start` depends on, in whole blocks of the noise floor."""
        block, reach = self._condition_config.block, self._condition_config.span - self._condition_config.block
        context = -(-reach // (2 * block)) * block
        first = (start - max(shift for _, shift in self._estimates)) // block * block - context
        last = -(-(start + self._layout.window_frames) // block) * block + context
        return max(first, 0), last

    def _first_frame_needed(self) -> int:
        by_window, _ = self._context(self.starts[self._num_done])
        by_sound = self._decided if self._resynthesis is None else self._resynthesis.first_frame_needed
        return min(by_window, by_sound)


class Resynthesis:
    """Makes sound of the clean mel: a bounded spectral gain on the recording (see [`spectral_gain`])."""

    def __init__(self, analysis: Analysis, settings: EnhancementSettings, gain_exponent: float):
        survey, config = analysis.survey, analysis.config
        self._analysis, self._settings, self._gain_exponent = analysis, settings, gain_exponent
        self._gain = SlidingBuffer()
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
        self._num_model_made = 0
        self.num_made = 0

    @property
    def first_frame_needed(self) -> int:
        return max(self._num_model_made // self._analysis.config.hop_length - self._margin, 0)

    def push(self, clean_mel: torch.Tensor, last: bool) -> np.ndarray:
        """Sound `(channels, samples)` that the frames of `clean_mel (views, groups, num_mel_bins, frames)`, which
        follow those before, complete: with the mean of the gains of all views."""
        analysis, settings = self._analysis, self._settings
        noisy_mel = analysis.noisy_mel.get(self._gain.end, self._gain.end + clean_mel.shape[-1])
        limits = settings.min_gain, settings.max_gain, self._gain_exponent
        views = zip(clean_mel, noisy_mel, analysis.views, strict=True)
        gain = torch.stack([spectral_gain(clean, noisy, view, *limits) for clean, noisy, view in views]).mean(dim=0)
        self._gain.append(gain)
        model_audio, enhanced = self._model_audio(last)
        audio = self._restorer.push(analysis.audio, model_audio, enhanced, *self._upper_bands(gain), last)
        first, self.num_made = self.num_made, self.num_made + audio.shape[1]
        if settings.mix < 1:
            audio = settings.mix * audio + (1 - settings.mix) * analysis.audio.get(first, self.num_made)
        self._gain.forget(self.first_frame_needed)
        return audio + analysis.survey.offset[:, None]

    def _upper_bands(self, gain: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Mean gain of the upper bands and the power per Hz that it leaves, each `(groups, frames)`, of the newest
        frames `gain (groups, frequencies, frames)`."""
        analysis, end = self._analysis, self._gain.end
        spectrum = analysis.spectrum.get(end - gain.shape[-1], end)[:, self._upper] * gain[:, self._upper]
        density = power_density(spectrum, analysis.config).mean(dim=1)
        if len(gain) == 1:
            density = density.mean(dim=0, keepdim=True)
        return gain[:, self._upper].mean(dim=1).cpu().numpy(), density.cpu().numpy()

    def _model_audio(self, last: bool) -> tuple[np.ndarray, np.ndarray]:
        """The next samples at the model's rate, as they were and with the gain applied."""
        analysis, config = self._analysis, self._analysis.config
        first_frame, end_frame = self.first_frame_needed, self._gain.end
        first, end = self._num_model_made, max((end_frame - self._margin) * config.hop_length, self._num_model_made)
        if last:
            end = analysis.num_model_samples
        spectrum = analysis.spectrum.get(first_frame, end_frame) * self._gain.get(first_frame, end_frame)
        origin = first_frame * config.hop_length
        waveform = istft(spectrum, end - origin, config)[:, first - origin :]
        self._num_model_made = end
        return analysis.model_audio.get(first, end), waveform.cpu().numpy()
