"""Runs the network on live sound: chooses its input in each call, and keeps what it remembers."""

from typing import TYPE_CHECKING, Protocol

import torch

from ..mel.conditioning import build_condition, noise_floor
from ..pipelines.settings import EnhancementSettings
from ..pipelines.windows import cut_window, initial_noise, step_generator
from .analysis import LiveAnalysis
from .frames import LiveFrames

if TYPE_CHECKING:
    from ..models.causal_unet import CausalState
    from ..pipelines.speech_enhancement import SpeechEnhancementPipeline


class LiveNetwork(Protocol):
    """Network that answers for the frames that go out, `frames.interval` frames in every call."""

    def answers(self, analysis: LiveAnalysis, call: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the network's answers in call number `call` and the noisy mels that they belong to, both `(views,
        num_mel_bins, interval)`."""
        ...

    def first_mel_frame(self, call: int) -> int:
        """Return the first frame whose mel that call needs."""
        ...


def live_network(
    pipeline: "SpeechEnhancementPipeline", frames: LiveFrames, settings: EnhancementSettings, seed: int
) -> LiveNetwork:
    """Return a [`CausalNetwork`] if the pipeline's network is causal, else a [`SlidingNetwork`]."""
    kind = CausalNetwork if frames.causal else SlidingNetwork
    return kind(pipeline, frames, settings, seed)


class SlidingNetwork:
    """A network for windows, which runs on the newest window of the sound in every call.

    Args:
        pipeline: The pipeline of the network.
        frames: Look-ahead and interval of the network, in frames.
        settings: Settings of the request.
        seed: Seed of the noise.
    """

    def __init__(
        self, pipeline: "SpeechEnhancementPipeline", frames: LiveFrames, settings: EnhancementSettings, seed: int
    ):
        self._pipeline, self._frames, self._settings, self._seed = pipeline, frames, settings, seed
        self._num_views = len(pipeline.views[: settings.num_estimates])
        self._sampling = pipeline.prepare_sampling(settings.num_inference_steps)
        self._device = pipeline._execution_device

    def answers(self, analysis: LiveAnalysis, call: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`LiveNetwork`]."""
        frames = self._frames
        first, last = call * frames.interval, (call + 1) * frames.interval
        start = max(last + frames.look_ahead - frames.window, 0)
        noisy_mel = analysis.mel(start, last + frames.look_ahead, frames.samples_needed(call))
        answers = self._window_answers(noisy_mel, start, self._floor(analysis, call), call)
        return answers[..., first - start : last - start], noisy_mel[..., first - start : last - start]

    def first_mel_frame(self, call: int) -> int:
        """See [`LiveNetwork`]."""
        end = (call + 1) * self._frames.interval + self._frames.look_ahead
        return max(end - max(self._frames.window, self._pipeline.condition_config.span), 0)

    def _floor(self, analysis: LiveAnalysis, call: int) -> torch.Tensor | None:
        """Return the noise floor `(views, num_mel_bins, 1)`: [`noise_floor`] of one block, the newest `span` frames."""
        config = self._pipeline.condition_config
        if not config.with_noise_floor:
            return None
        end = (call + 1) * self._frames.interval + self._frames.look_ahead
        past = analysis.mel(max(end - config.span, 0), end, self._frames.samples_needed(call))
        return noise_floor(past, config.span, config.span)[..., :1]

    def _window_answers(
        self, noisy_mel: torch.Tensor, start: int, floor: torch.Tensor | None, call: int
    ) -> torch.Tensor:
        """Return the mean answers `(views, num_mel_bins, window)` for the window that begins at frame `start`."""
        pipeline, settings, window = self._pipeline, self._settings, self._frames.window
        condition = build_condition(noisy_mel, pipeline.condition_config, settings.dereverb, floor)
        condition = cut_window(condition, 0, window)
        estimates = range(settings.num_estimates)
        condition = torch.stack([condition[estimate % self._num_views] for estimate in estimates])
        seeds = [self._seed + estimate for estimate in estimates]
        places = [(seed, start) for seed in seeds]
        latents = initial_noise(places, window, pipeline.mel_config.num_mel_bins, self._device)
        answers = self._sampling.denoise(latents, condition, [step_generator(seed, call) for seed in seeds])[:, 0]
        return torch.stack([answers[view :: self._num_views].mean(dim=0) for view in range(self._num_views)])


class CausalNetwork:
    """A [`CausalUNet2DModel`], which is shown each frame once and remembers the earlier frames.

    Every step of the sampling has its own memory, because each step sees another sample of the same frame.

    Args:
        pipeline: The pipeline of the network.
        frames: Number of frames in each call.
        settings: Settings of the request.
        seed: Seed of the noise.
    """

    def __init__(
        self, pipeline: "SpeechEnhancementPipeline", frames: LiveFrames, settings: EnhancementSettings, seed: int
    ):
        self._pipeline, self._frames, self._settings, self._seed = pipeline, frames, settings, seed
        self._states: dict[int, CausalState] = {}
        self._modulations: dict[int, tuple] = {}  # of the timestep of each evaluation, which is the same in every call
        self._num_evaluations = 0
        self._sampling = pipeline.prepare_sampling(settings.num_inference_steps, self._evaluate)
        self._device = pipeline._execution_device

    def answers(self, analysis: LiveAnalysis, call: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`LiveNetwork`]."""
        pipeline, settings, frames = self._pipeline, self._settings, self._frames
        first, last = call * frames.interval, (call + 1) * frames.interval
        noisy_mel = analysis.mel(first, last + frames.look_ahead, frames.samples_needed(call))[:1]
        condition = build_condition(noisy_mel, pipeline.condition_config, settings.dereverb)
        seeds = [self._seed + estimate for estimate in range(settings.num_estimates)]
        places = [(seed, first) for seed in seeds]
        latents = initial_noise(places, frames.interval, pipeline.mel_config.num_mel_bins, self._device)
        condition = condition.expand(len(seeds), -1, -1, -1)
        self._num_evaluations = 0
        answers = self._sampling.denoise(latents, condition, [step_generator(seed, call) for seed in seeds])
        return answers[:, 0].mean(dim=0, keepdim=True), noisy_mel[..., : frames.interval]

    def first_mel_frame(self, call: int) -> int:
        """See [`LiveNetwork`]."""
        return call * self._frames.interval

    def _evaluate(self, sample: torch.Tensor, timestep, condition: torch.Tensor, return_dict: bool = False) -> tuple:
        number, self._num_evaluations = self._num_evaluations, self._num_evaluations + 1
        unet = self._pipeline.unet
        if number not in self._modulations:
            self._modulations[number] = unet.modulations(timestep, len(sample))
        state = self._states.get(number)
        prediction, self._states[number] = unet.step(sample, self._modulations[number], condition, state)
        return (prediction,)
