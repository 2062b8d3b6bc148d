"""One way of sampling, prepared once and run on any number of windows."""

import copy
import inspect
from collections.abc import Callable

import torch

from ..models.noise_schedule import NoiseSchedule


class Sampling:
    """A network, and a scheduler that is set to a number of steps.

    Args:
        network: Network, called as `network(sample, timestep, condition, return_dict=False)`.
        scheduler: Scheduler, one of [`SCHEDULERS`]. It is copied, since its steps are state that no two requests may
            share.
        num_inference_steps: Number of steps of the scheduler.
        device: Device of the samples.
        dtype: Type that the network computes in.
        self_conditioning: Whether the network's last condition channel is its last estimate.
    """

    def __init__(
        self,
        network: Callable,
        scheduler,
        num_inference_steps: int,
        device: torch.device,
        dtype: torch.dtype,
        self_conditioning: bool = False,
    ):
        self._network, self._dtype, self._self_conditioning = network, dtype, self_conditioning
        self._scheduler = _copy_of(scheduler)
        self._scheduler.set_timesteps(num_inference_steps, device=device)
        self._takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        self._schedule = NoiseSchedule(scheduler.config.trained_betas, scheduler.config.prediction_type)

    @property
    def num_timesteps(self) -> int:
        """Number of evaluations of the network for each sample."""
        return len(self._scheduler.timesteps)

    def denoise(
        self,
        latents: torch.Tensor,
        condition: torch.Tensor,
        generators: list[torch.Generator],
        after_step: Callable | None = None,
        ends_early: Callable[[], bool] | None = None,
    ) -> torch.Tensor:
        """Run the scheduler over a batch.

        Args:
            latents: Noise `(windows, 1, num_mel_bins, frames)`.
            condition: Condition `(windows, channels, num_mel_bins, frames)`.
            generators: Sources of the noise of the steps, one for each window.
            after_step: Function that is called after each step with the timestep, the latents, the condition and the
                clean estimate. The three tensors that it returns replace these three.
            ends_early: Function that is asked before each step whether to stop.

        Returns:
            The samples, shaped like `latents`.
        """
        scheduler = _copy_of(self._scheduler)
        step_kwargs = {"generator": generators} if self._takes_generator else {}
        clean_estimate = torch.zeros_like(latents)
        latents = latents * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            if ends_early is not None and ends_early():
                break
            model_input = scheduler.scale_model_input(latents, timestep)
            shown = torch.cat([condition, clean_estimate], dim=1) if self._self_conditioning else condition
            inputs = model_input.to(self._dtype), timestep, shown.to(self._dtype)
            prediction = self._network(*inputs, return_dict=False)[0].float()
            if self._self_conditioning or after_step is not None:
                clean_estimate = self._schedule.clean_estimate(model_input, prediction, timestep)
            latents = scheduler.step(prediction, timestep, latents, **step_kwargs, return_dict=False)[0]
            if after_step is not None:
                latents, condition, clean_estimate = after_step(timestep, latents, condition, clean_estimate)
        return latents


def _copy_of(scheduler):
    """A copy with a state of its own. It shares the configuration and the tables of the noise schedule, which are long
    and never change."""
    constant = [scheduler.config, *(value for value in vars(scheduler).values() if isinstance(value, torch.Tensor))]
    return copy.deepcopy(scheduler, {id(value): value for value in constant})
