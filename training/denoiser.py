"""The network in training: its answer at one noise level, and its estimate after several steps of sampling."""

from typing import cast

import torch
from diffusers import DDIMScheduler

from speech_enhance.models.noise_schedule import NoiseSchedule


class Denoiser:
    """The network with its noise schedule, which turns its answers into clean samples.

    Args:
        unet: The network, or what a trainer has wrapped it in.
        noise_scheduler: Scheduler of the training noise schedule.
        self_conditioning: Whether the network's last condition channel is its previous estimate.

    Raises:
        ValueError: if the scheduler's prediction type is ill-posed at zero terminal SNR.
    """

    def __init__(self, unet, noise_scheduler, self_conditioning: bool = False):
        config = noise_scheduler.config
        self.unet, self.noise_scheduler, self.self_conditioning = unet, noise_scheduler, self_conditioning
        self.schedule = NoiseSchedule(config.trained_betas, config.prediction_type)
        self.last_timestep = config.num_train_timesteps - 1

    def predict(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        condition: torch.Tensor,
        estimate: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The network's prediction in float32. With self-conditioning it is shown its previous `estimate`, or zeros if
        that is `None`."""
        if self.self_conditioning:
            estimate = torch.zeros_like(sample) if estimate is None else estimate
            condition = torch.cat([condition, estimate], dim=1)
        return self.unet(sample, timesteps, condition).sample.float()

    def estimate(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        condition: torch.Tensor,
        estimate: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The clean sample that the prediction implies."""
        prediction = self.predict(sample, timesteps, condition, estimate)
        return self.schedule.clean_estimate(sample, prediction, timesteps)

    def amplitudes(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Amplitudes of signal and noise `(batch, 1, 1, 1)` at `timesteps (batch,)`, on their device."""
        parts = self.schedule.amplitudes(timesteps)
        signal, noise = (part.to(timesteps.device, torch.float32).reshape(-1, 1, 1, 1) for part in parts)
        return signal, noise


def sampled_estimate(
    denoiser: Denoiser,
    condition: torch.Tensor,
    noise: torch.Tensor,
    num_inference_steps: int,
    stochastic: torch.Tensor | None = None,
    all_gradients: bool = False,
) -> torch.Tensor:
    """The clean sample after `num_inference_steps` of sampling from pure noise.

    The steps before the last are taken as in sampling, without gradient unless `all_gradients` (Lay et al., "Single and
    Few-step Diffusion for Generative Speech Enhancement", arXiv:2309.09677, "correcting the reverse process").

    Args:
        denoiser: The network.
        condition: Condition `(batch, channels, bands, frames)`.
        noise: Noise `(batch, draws, bands, frames)`. The first draw starts the sampling; the others are fresh noise for
            later steps. With one draw, no step adds noise.
        num_inference_steps: Number of steps.
        stochastic: Mask `(batch,)`. Where it is true, each step adds fresh noise, as LCM and ancestral samplers do.
            Elsewhere a step keeps the noise that the network finds in the sample, as DDIM does.
        all_gradients: Whether the gradient goes through all steps instead of the last one alone.
    """
    scheduler = cast(DDIMScheduler, DDIMScheduler.from_config(denoiser.noise_scheduler.config))
    scheduler.set_timesteps(num_inference_steps)
    stride = (denoiser.last_timestep + 1) // num_inference_steps  # DDIM's own way to the next noise level
    sample, estimate = noise[:, :1], None
    for number, timestep in enumerate(scheduler.timesteps.tolist()):
        now = torch.full((len(noise),), timestep, device=noise.device)
        last = number == num_inference_steps - 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and (last or all_gradients)):
            estimate = denoiser.estimate(sample, now, condition, estimate)
            if not last:
                signal, share = denoiser.amplitudes(now)
                found = (sample - signal * estimate) / share
                if stochastic is not None and noise.shape[1] > 1:
                    found = torch.where(stochastic[:, None, None, None], noise[:, number + 1, None], found)
                signal, share = denoiser.amplitudes(now - stride)
                sample = signal * estimate + share * found
    assert estimate is not None  # there is at least one step
    return estimate
