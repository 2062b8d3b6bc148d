"""Takes one live sound through the model, from its first sample to its last."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..mel.gain import spectral_gain, upper_bins
from ..mel.spectrogram import power_density
from ..pipelines.inputs import check_output
from ..pipelines.settings import EnhancementSettings
from .analysis import LiveAnalysis, LiveSynthesis
from .frames import LiveFrames
from .limiter import Limiter
from .network import live_network
from .resampling import LiveResampler, LiveRestorer

if TYPE_CHECKING:
    from ..pipelines.speech_enhancement import SpeechEnhancementPipeline


class LiveStream:
    """Enhances one sound from its beginning to its end. As many samples come out as go in, `frames.latency` later.

    Args:
        pipeline: The pipeline whose network and settings apply.
        frames: Look-ahead and interval of the network, in frames.
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
        self._pipeline, self._frames, self._settings = pipeline, frames, settings
        self._network = live_network(pipeline, frames, settings, seed)
        self.num_channels, self.num_calls = num_channels, 0
        config, device = pipeline.mel_config, pipeline._execution_device
        self._views = pipeline.views[: 1 if frames.causal else settings.num_estimates]
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
        """Take in `block (channels, samples)` of at least one sample, and return as many samples."""
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
        """Return the enhanced sound from sample `first` up to `end`."""
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
        """Find the gain of the next `interval` frames and turn these frames into sound."""
        call, interval = self.num_calls, self._frames.interval
        answers, noisy_mel = self._network.answers(self._analysis, call)
        limits = self._settings.min_gain, self._settings.max_gain, self._pipeline.config.gain_exponent
        clean_mel = self._pipeline.mel_target.decode(answers, noisy_mel)
        gains = [
            spectral_gain(clean[None], noisy[None], view, *limits)
            for clean, noisy, view in zip(clean_mel, noisy_mel, self._views, strict=True)
        ]
        first, last = call * interval, (call + 1) * interval
        self._apply(check_output(torch.stack(gains).mean(dim=0)), first, last)
        self.num_calls += 1
        following = self._frames.samples_needed(self.num_calls)
        self._analysis.forget(last, self._network.first_mel_frame(self.num_calls), following)

    def _apply(self, gain: torch.Tensor, first: int, last: int) -> None:
        """Turn the frames from `first` up to `last` into sound, with their `gain (1, frequencies, frames)`."""
        spectrum = self._analysis.spectrum.get(first, last)
        changed = self._synthesis.push((gain - 1) * spectrum)
        if self._restorer is None:
            self._changed.append(changed)
            return
        density = power_density(gain[:, self._upper] * spectrum[:, self._upper], self._pipeline.mel_config)
        upper_gain = gain[0, self._upper].mean(dim=0)
        self._restorer.change(changed, upper_gain.cpu().numpy(), density.mean(dim=(0, 1)).cpu().numpy())
