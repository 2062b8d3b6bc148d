"""The scheduler over all windows of some recordings, batch by batch."""

import copy
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..models.noise_schedule import NoiseSchedule
from .inputs import check_output
from .recording import RecordingStream
from .settings import EnhancementSettings
from .windows import WindowLayout, step_generator, window_noise


class WindowSampler:
    """The part of [`SpeechEnhancementPipeline`] that runs network and scheduler."""

    # What the other parts of the pipeline have:
    unet: Any  # a `ConditionalUNet2DModel`, or what stands in for it, such as `OnnxUNet`
    scheduler: Any
    config: Any  # a mapping whose entries are attributes too
    window_layout: WindowLayout
    progress_bar: Callable[..., Any]
    _execution_device: torch.device

    _callback_tensor_inputs = ("latents", "condition", "clean_estimate")
    _interrupt = False
    _num_timesteps = 0

    @property
    def num_timesteps(self) -> int:
        """Evaluations of the network for one window and estimate in the last call; 0 before the first call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the call that runs is to end early. As in Diffusers' pipelines, `pipe._interrupt = True` in a
        callback sets it, no further step is made, and what comes out is made of the latents as they then are: the
        windows that were not finished are useless. Raise in the callback to get nothing instead."""
        return self._interrupt

    def prepare_latents(self, seed: int, start: int, window_frames: int | None = None) -> torch.Tensor:
        """Initial noise `(1, num_mel_bins, window_frames)` of the window that starts at frame `start`."""
        noise = window_noise(seed, start, window_frames or self.config.window_frames, self.config.num_mel_bins)
        return noise[None].to(self._execution_device)

    def process(
        self,
        streams: list[RecordingStream],
        seeds: list[int],
        settings: EnhancementSettings,
        callback,
        callback_inputs,
    ) -> Iterator[tuple[int, np.ndarray | torch.Tensor]]:
        """Run every window of all streams through the network, batch by batch; yields `(number of the stream, output)`
        as soon as it is known."""
        windows = (
            (number, start, seeds[number] + estimate, condition)  # every estimate has noise of its own
            for number, stream in enumerate(streams)
            for start, estimate, condition in stream.windows()
        )
        steps, num_estimates = settings.num_inference_steps, settings.num_estimates
        assert steps is not None  # the settings take it from the preset
        assert num_estimates is not None  # and this
        num_windows = num_estimates * sum(len(stream.starts) * stream.num_groups for stream in streams)
        num_batches = -(-num_windows // settings.window_batch_size)
        self._interrupt = False
        self._num_timesteps = len(self.prepare_scheduler(steps).timesteps)
        with self.progress_bar(total=self._num_timesteps * num_batches) as progress_bar:
            after_step = self.step_callback(progress_bar, callback, callback_inputs)
            while batch := list(itertools.islice(windows, settings.window_batch_size)):
                latents = torch.stack([self.prepare_latents(seed, start) for _, start, seed, _ in batch])
                condition = torch.stack([item for *_, item in batch])
                generators = [step_generator(seed, start // self.window_layout.stride) for _, start, seed, _ in batch]
                denoised = self.denoise(latents, condition, generators, steps, after_step)
                for (number, *_), sample in zip(batch, denoised, strict=True):
                    output = streams[number].accept(sample[0])
                    if output is not None:
                        yield number, check_output(output)

    def step_callback(self, progress_bar, callback, callback_inputs):
        """What happens after every step: progress, and the user's callback, which may replace the tensors."""
        steps = itertools.count()

        def after_step(timestep, *tensors):
            step = next(steps)
            progress_bar.update()
            if callback is None:
                return tensors
            named = dict(zip(self._callback_tensor_inputs, tensors, strict=True))
            replaced = callback(self, step, timestep, {name: named[name] for name in callback_inputs}) or {}
            return tuple(replaced.get(name, tensor) for name, tensor in named.items())

        return after_step

    def prepare_scheduler(self, num_inference_steps: int):
        """A copy of the scheduler set to `num_inference_steps`: its steps are state that no two requests may share."""
        scheduler = copy.deepcopy(self.scheduler)
        scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        return scheduler

    def denoise(
        self, latents, condition, generators, num_inference_steps: int, after_step, may_end_early: bool = True
    ) -> torch.Tensor:
        """Run the scheduler over one batch of windows `(windows, 1, num_mel_bins, window_frames)`; `interrupt` ends it
        if it `may_end_early`."""
        scheduler = self.prepare_scheduler(num_inference_steps)
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        step_kwargs = {"generator": generators} if takes_generator else {}
        schedule = NoiseSchedule(scheduler.config.trained_betas, scheduler.config.prediction_type)
        clean_estimate = torch.zeros_like(latents)
        latents = latents * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            if self.interrupt and may_end_early:
                break
            model_input = scheduler.scale_model_input(latents, timestep)
            shown = torch.cat([condition, clean_estimate], dim=1) if self.config.self_conditioning else condition
            dtype = self.unet.dtype
            prediction = self.unet(model_input.to(dtype), timestep, shown.to(dtype), return_dict=False)[0].float()
            clean_estimate = schedule.clean_estimate(model_input, prediction, timestep)
            latents = scheduler.step(prediction, timestep, latents, **step_kwargs, return_dict=False)[0]
            latents, condition, clean_estimate = after_step(timestep, latents, condition, clean_estimate)
        return latents
