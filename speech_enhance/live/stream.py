"""One live sound on its way through the model: the network runs on the newest window again and again."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..mel.conditioning import build_condition, noise_floor
from ..mel.gain import spectral_gain, upper_bins
from ..mel.spectrogram import power_density
from ..pipelines.inputs import check_output
from ..pipelines.settings import EnhancementSettings
from ..pipelines.windows import cut_window, step_generator
from .analysis import LiveAnalysis, LiveSynthesis
from .limiter import Limiter
from .resampling import LiveResampler, LiveRestorer
from .timing import LiveFrames

if TYPE_CHECKING:
    from ..pipelines.speech_enhancement import SpeechEnhancementPipeline


class LiveStream:
    """A sound from its beginning to its end; as many samples come out as go in, `frames.latency` late.

    Args:
        pipeline: The pipeline whose network and settings apply.
        frames: How far the network looks ahead and how often it runs.
        settings: Settings of the request.
        seed: Seed of the noise.
        num_channels: Channels of the sound.
    """

    def __init__(
        self,
        pipeline: "SpeechEnhancementPipeline",
        frames: LiveFrames,
        settings: EnhancementSettings,
        seed: int,
        num_channels: int,
    ):
        self._pipeline, self._frames, self._settings, self._seed = pipeline, frames, settings, seed
        self.num_channels, self.num_calls = num_channels, 0
        config, device = pipeline.mel_config, pipeline._execution_device
        self._views = pipeline.views[: settings.num_estimates]
        self._analysis = LiveAnalysis(num_channels, self._views, device)
        self._synthesis = LiveSynthesis(num_channels, config, device)
        self._num_taken = 0
        self._recording: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self._changed: SlidingBuffer[np.ndarray] = SlidingBuffer()
        self._to_model = self._restorer = None
        if frames.resampled:
            rates = frames.sampling_rate, config.sampling_rate
            self._to_model = LiveResampler(*rates, num_channels)
            self._restorer = LiveRestorer(*rates, config.hop_length, num_channels, settings.min_gain)
        self._upper = upper_bins(config, frames.sampling_rate)
        self.limiter = Limiter(frames.sampling_rate)

    def push(self, block: np.ndarray) -> np.ndarray:
        """Take in `block (channels, samples)`, at least one sample; returns as many."""
        self._recording.append(block)
        seen = block if self._to_model is None else self._to_model.push(block)
        if seen.shape[1]:
            self._analysis.push(seen)
            if self._restorer is not None:
                self._restorer.see(self._recording, seen)
        while self._analysis.num_samples >= self._frames.samples_needed(self.num_calls):
            self._call_network()
        first = max(self._recording.end - block.shape[1] - self._frames.latency, 0)
        end = max(self._recording.end - self._frames.latency, 0)
        output = self._read(first, end)
        silence = np.zeros((self.num_channels, block.shape[1] - output.shape[1]), np.float32)
        return np.concatenate([silence, output], axis=1)

    def _read(self, first: int, end: int) -> np.ndarray:
        """The enhanced sound from sample `first` up to `end`."""
        if end <= first:
            return np.zeros((self.num_channels, 0), np.float32)
        audio = self._recording.get(first, end)
        if self._restorer is None:
            enhanced, needed = audio + self._changed.get(first, end), end
            self._changed.forget(end)
        else:
            enhanced = self._restorer.read(self._recording, end)
            needed = self._restorer.first_sample_needed
        self._recording.forget(needed)
        mix = self._settings.mix
        return self.limiter.push(enhanced if mix == 1 else mix * enhanced + (1 - mix) * audio)

    def _call_network(self) -> None:
        """Decide the gain of the next `interval` frames, and make sound of them."""
        frames, analysis, call = self._frames, self._analysis, self.num_calls
        first = call * frames.interval
        last = first + frames.interval
        start = max(last + frames.look_ahead - frames.window, 0)
        noisy_mel = analysis.mel(start, last + frames.look_ahead, frames.samples_needed(call))
        answers = self._answers(noisy_mel, start, self._floor())[..., first - start : last - start]
        noisy_mel = noisy_mel[..., first - start : last - start]
        limits = self._settings.min_gain, self._settings.max_gain, self._pipeline.config.gain_exponent
        clean_mel = self._pipeline.mel_target.decode(answers, noisy_mel)
        gains = [
            spectral_gain(clean[None], noisy[None], view, *limits)
            for clean, noisy, view in zip(clean_mel, noisy_mel, self._views, strict=True)
        ]
        self._apply(check_output(torch.stack(gains).mean(dim=0)), first, last)
        self.num_calls += 1
        following = self._frames.samples_needed(self.num_calls)
        analysis.forget(last, self._mel_frame_needed(), following)

    def _floor(self) -> torch.Tensor | None:
        """Noise floor `(views, num_mel_bins, 1)`: [`noise_floor`] of one block, the newest `span` frames."""
        config = self._pipeline.condition_config
        if not config.with_noise_floor:
            return None
        end = (self.num_calls + 1) * self._frames.interval + self._frames.look_ahead
        past = self._analysis.mel(max(end - config.span, 0), end, self._frames.samples_needed(self.num_calls))
        return noise_floor(past, config.span, config.span)[..., :1]

    def _mel_frame_needed(self) -> int:
        """First frame whose mel the next run of the network needs."""
        end = (self.num_calls + 1) * self._frames.interval + self._frames.look_ahead
        return max(end - max(self._frames.window, self._pipeline.condition_config.span), 0)

    def _answers(self, noisy_mel: torch.Tensor, start: int, floor: torch.Tensor | None) -> torch.Tensor:
        """Mean answers `(views, num_mel_bins, window)` of the network for the window that begins at frame `start`."""
        pipeline, settings, window = self._pipeline, self._settings, self._frames.window
        condition = build_condition(noisy_mel, pipeline.condition_config, settings.dereverb, floor)
        condition = cut_window(condition, 0, window)
        steps, num_estimates = settings.num_inference_steps, settings.num_estimates
        assert steps is not None  # the settings take it from the preset
        assert num_estimates is not None  # and this
        estimates = range(num_estimates)
        num_views = len(self._views)
        condition = torch.stack([condition[estimate % num_views] for estimate in estimates])
        latents = torch.stack(
            [pipeline.prepare_latents(self._seed + estimate, start, window) for estimate in estimates]
        )
        generators = [step_generator(self._seed + estimate, self.num_calls) for estimate in estimates]
        answers = pipeline.denoise(latents, condition, generators, steps, _as_it_is, may_end_early=False)[:, 0]
        return torch.stack([answers[view::num_views].mean(dim=0) for view in range(num_views)])

    def _apply(self, gain: torch.Tensor, first: int, last: int) -> None:
        """Make sound of the frames from `first` up to `last` with their `gain (1, frequencies, frames)`."""
        spectrum = self._analysis.spectrum.get(first, last)
        changed = self._synthesis.push((gain - 1) * spectrum)
        if self._restorer is None:
            self._changed.append(changed)
            return
        density = power_density(gain[:, self._upper] * spectrum[:, self._upper], self._pipeline.mel_config)
        upper_gain = gain[0, self._upper].mean(dim=0)
        self._restorer.change(changed, upper_gain.cpu().numpy(), density.mean(dim=(0, 1)).cpu().numpy())


def _as_it_is(timestep, *tensors):
    return tensors
