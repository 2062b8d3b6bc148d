"""The training objective as pure functions: what the network is shown and what it must answer."""

import torch
from diffusers import DDIMScheduler

from speech_enhance.conditioning import ConditionConfig, build_condition
from speech_enhance.mel import MelConfig, active_level, level_scale, stft
from speech_enhance.reconstruction import spectral_gain
from speech_enhance.targets import MelTarget
from speech_enhance.windows import cut_window

_TYPICAL_MEL = 0.75  # mean of a noisy mel at the level of training
_LEAST_MEL = 0.02
_LEAST_GAIN_SAMPLE = -1 + 2e-4
_LEAST_POWER = 1e-6


def stft_pair(
    clean: torch.Tensor, noisy: torch.Tensor, config: MelConfig, level_jitter: torch.Tensor | float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Complex STFTs `(batch, frequencies, frames)` of aligned waveforms `(batch, samples)`, both at the noisy one's level."""
    scale = level_scale(active_level(noisy[:, None], config.sampling_rate), config) * level_jitter
    return stft(clean * scale[:, None], config), stft(noisy * scale[:, None], config)


def cut_windows(maps: torch.Tensor, starts: list[int], window_frames: int) -> torch.Tensor:
    """The window of each item of `maps (batch, …, frames)` that begins at its frame of `starts`, silence after its end."""
    return torch.stack([cut_window(item, start, window_frames) for item, start in zip(maps, starts, strict=True)])


def training_windows(
    clean_mel: torch.Tensor,
    noisy_mel: torch.Tensor,
    starts: list[int],
    window_frames: int,
    condition_config: ConditionConfig,
    target: MelTarget,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The window of each mixture that begins at its frame of `starts`: `(clean_sample, condition)`.

    Statistics over time are taken on the whole mixture before the cut, as the pipeline takes them on the whole
    recording. Where a window reaches past the end it is padded with silence, as the pipeline's last one is.

    Returns:
        `clean_sample (batch, 1, bands, window_frames)`, what the diffusion is to generate, and `condition (batch,
        channels, bands, window_frames)`.
    """
    condition = build_condition(noisy_mel, condition_config)
    clean_sample = target.encode(clean_mel, noisy_mel)[:, None]
    maps = torch.cat([clean_sample, condition], dim=1)
    windows = cut_windows(maps, starts, window_frames)
    return windows[:, :1], windows[:, 1:]


def loudness_weight(condition: torch.Tensor, power: float) -> torch.Tensor:
    """What an error counts in each band and frame `(batch, 1, bands, frames)`: the noisy mel to `power`, about 1 on
    average. With a power of 2 and gains of power 1, errors of gains are errors of the mel."""
    return ((condition[:, :1] + _LEAST_MEL) / _TYPICAL_MEL).pow(power)


def own_estimates(unet, noise_scheduler, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The network's one-step estimates of the clean sample from pure `noise`, without gradient."""
    last = noise_scheduler.config.num_train_timesteps - 1
    timesteps = torch.full((len(noise),), last, device=noise.device)
    with torch.no_grad():
        prediction = unet(noise, timesteps, condition).sample.float()
    return -prediction if noise_scheduler.config.prediction_type == "v_prediction" else prediction


def _rounded_up(mask: torch.Tensor) -> torch.Tensor:
    """Indices where `mask (batch,)` is true, and of some more examples, so that only eight numbers of them occur: cuDNN plans every
    size of a batch anew."""
    multiple = -(-len(mask) // 8)
    number = -(-int(mask.sum()) // multiple) * multiple
    return mask.float().argsort(descending=True, stable=True)[:number]


def sample_loss(estimate: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Mean squared error of `estimate (batch, 1, bands, frames)`, each point times `weight`, per example `(batch,)`."""
    return (weight * (estimate - target).square()).mean(dim=(1, 2, 3))


def diffusion_loss(
    unet,
    noise_scheduler,
    clean_sample: torch.Tensor,
    condition: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    own: torch.Tensor | None = None,
    weight: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """Mean squared error of the scheduler's target, each point times `weight`, per example `(batch,)`.

    v-prediction (Salimans & Ho, arXiv:2202.00512) on a zero-terminal-SNR schedule (Lin et al., arXiv:2305.08891): at
    the last timestep the input is pure noise and the target minus the clean sample, i.e. plain regression.

    Where `own (batch,)` is true, the noisy sample is built from the network's own estimate instead of the true
    one, as it will be in the course of sampling, and the error is that of the clean sample which the answer implies.
    This is what lets later steps correct the first one (cf. Lay et al., "Single and Few-step Diffusion for Generative
    Speech Enhancement", arXiv:2309.09677).
    """
    if noise_scheduler.config.prediction_type not in ("v_prediction", "sample"):
        raise ValueError(
            f"prediction_type {noise_scheduler.config.prediction_type!r} is ill-posed at zero terminal SNR; "
            "use 'v_prediction' or 'sample'"
        )
    own_weight = torch.ones(len(clean_sample), device=clean_sample.device)
    alpha_cumprod = noise_scheduler.alphas_cumprod.to(clean_sample.device)[timesteps]
    # Sampling starts from noise alone. The last alpha is not quite 0: without noise, a regressor would read the answer.
    start = clean_sample * (timesteps < noise_scheduler.config.num_train_timesteps - 1)[:, None, None, None]
    if own is not None and own.any():
        chosen = _rounded_up(own)
        estimates = own_estimates(unet, noise_scheduler, condition[chosen], noise[chosen])
        start[chosen] = torch.where(own[chosen][:, None, None, None], estimates, start[chosen])
    noisy_sample = noise_scheduler.add_noise(start, noise, timesteps)
    target = clean_sample
    if noise_scheduler.config.prediction_type == "v_prediction":
        alpha, sigma = (part.sqrt()[:, None, None, None] for part in (alpha_cumprod, 1 - alpha_cumprod))
        target = (alpha * noisy_sample - clean_sample) / sigma
        if own is not None:
            own_weight = torch.where(own, 1 - alpha_cumprod, own_weight)
    prediction = unet(noisy_sample, timesteps, condition).sample
    return own_weight * sample_loss(prediction.float(), target, weight)


def sampled_estimate(
    unet, noise_scheduler, condition: torch.Tensor, noise: torch.Tensor, num_inference_steps: int
) -> torch.Tensor:
    """The clean sample that `num_inference_steps` of DDIM from pure `noise` end with.

    The gradient goes through the last step alone; the ones before are taken as in sampling (Lay et al., "Single and Few-step
    Diffusion for Generative Speech Enhancement", arXiv:2309.09677, "correcting the reverse process").
    """
    scheduler = DDIMScheduler.from_config(noise_scheduler.config)
    scheduler.set_timesteps(num_inference_steps, device=noise.device)
    sample = noise
    for timestep in scheduler.timesteps[:-1]:
        with torch.no_grad():
            prediction = unet(sample, timestep, condition).sample.float()
        sample = scheduler.step(prediction, timestep, sample).prev_sample
    prediction = unet(sample, scheduler.timesteps[-1], condition).sample.float()
    return scheduler.step(prediction, scheduler.timesteps[-1], sample).prev_sample


def enhanced_spectrum(
    estimate: torch.Tensor, noisy_mel: torch.Tensor, noisy_stft: torch.Tensor, target: MelTarget, config: MelConfig
) -> torch.Tensor:
    """The STFT `(batch, frequencies, frames)` that the pipeline makes of an estimate of the clean sample.

    Args:
        estimate: `(batch, 1, bands, frames)`.
        noisy_mel: `(batch, bands, frames)` of the same windows.
        noisy_stft: `(batch, frequencies, frames)` of the same windows.
        target: What the sample stands for.
        config: The analysis of all of them.
    """
    if target.kind == "gain":  # at a gain of 0 the root in `decode` has no gradient
        estimate = estimate.clamp(min=_LEAST_GAIN_SAMPLE)
    return spectral_gain(target.decode(estimate[:, 0], noisy_mel), noisy_mel, config) * noisy_stft


def power_spectrum(spectrum: torch.Tensor) -> torch.Tensor:
    """Squared magnitudes of a complex STFT, with a gradient at 0 too."""
    return torch.view_as_real(spectrum).square().sum(dim=-1)


def spectrum_loss(enhanced_stft: torch.Tensor, clean_stft: torch.Tensor) -> torch.Tensor:
    """How far an STFT lies from the clean one, both `(batch, frequencies, frames)`, compressed by a power of 0.3: squared
    errors of magnitudes and, to three tenths, of complex values, per example `(batch,)` (Braun & Tashev, "A consolidated
    view of loss functions for supervised deep learning-based speech enhancement", arXiv:2009.12286)."""
    compressed = []
    for spectrum in (enhanced_stft, clean_stft):
        power = power_spectrum(spectrum) + _LEAST_POWER
        compressed.append((power.pow(0.15), torch.view_as_real(spectrum) * power.pow(-0.35)[..., None]))
    (magnitude, values), (clean_magnitude, clean_values) = compressed
    error = 0.7 * (magnitude - clean_magnitude).square() + 0.3 * (values - clean_values).square().sum(dim=-1)
    return error.mean(dim=(1, 2))
