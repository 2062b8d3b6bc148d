"""Runs the scheduler over all windows of some recordings, batch by batch."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from .inputs import check_output
from .recording import RecordingStream
from .sampling import Sampling
from .settings import EnhancementSettings
from .windows import WindowLayout, initial_noise, step_generator


class WindowSampler:
    """The part of [`SpeechEnhancementPipeline`] that runs network and scheduler."""

    # The other parts of the pipeline set these:
    unet: Any  # a `ConditionalUNet2DModel`, or a replacement such as `OnnxUNet`
    scheduler: Any
    config: Any  # a mapping whose entries are also attributes
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
        """Whether the running call will end early. As in Diffusers' pipelines, a callback sets it by
        `pipe._interrupt = True`. Then no further step is made, and the output is made of the latents as they are:
        unfinished windows of it are useless. To get no output instead, raise in the callback."""
        return self._interrupt

    def process(
        self,
        streams: list[RecordingStream],
        seeds: list[int],
        settings: EnhancementSettings,
        callback,
        callback_inputs,
    ) -> Iterator[tuple[int, np.ndarray | torch.Tensor]]:
        """Run every window of all streams through the network, batch by batch. Yields `(number of the stream, output)`
        as soon as a part of the output is complete."""
        windows = (
            (number, start, seeds[number] + estimate, condition)  # every estimate has noise of its own
            for number, stream in enumerate(streams)
            for start, estimate, condition in stream.windows()
        )
        num_windows = settings.num_estimates * sum(len(stream.starts) * stream.num_groups for stream in streams)
        num_batches = -(-num_windows // settings.window_batch_size)
        self._interrupt = False
        sampling = self.prepare_sampling(settings.num_inference_steps)
        self._num_timesteps, device = sampling.num_timesteps, self._execution_device
        with self.progress_bar(total=self._num_timesteps * num_batches) as progress_bar:
            after_step = self.step_callback(progress_bar, callback, callback_inputs)
            while batch := list(itertools.islice(windows, settings.window_batch_size)):
                places = [(seed, start) for _, start, seed, _ in batch]
                latents = initial_noise(places, self.config.window_frames, self.config.num_mel_bins, device)
                condition = torch.stack([item for *_, item in batch])
                generators = [step_generator(seed, start // self.window_layout.stride) for seed, start in places]
                denoised = sampling.denoise(latents, condition, generators, after_step, lambda: self.interrupt)
                for (number, *_), sample in zip(batch, denoised, strict=True):
                    output = streams[number].accept(sample[0])
                    if output is not None:
                        yield number, check_output(output)

    def step_callback(self, progress_bar, callback, callback_inputs):
        """A function for `Sampling.denoise` to call after every step. It updates the progress bar and calls the
        user's callback, which may replace the tensors."""
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

    def prepare_sampling(self, num_inference_steps: int, network: Callable | None = None) -> Sampling:
        """The pipeline's way of sampling, with another network if one is given."""
        return Sampling(
            network or self.unet,
            self.scheduler,
            num_inference_steps,
            self._execution_device,
            self.unet.dtype,
            self.config.self_conditioning,
        )
