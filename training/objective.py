"""The training objective as pure functions: what the network is shown and what it must answer."""

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler

from speech_enhance.mel.conditioning import ConditionConfig, build_condition
from speech_enhance.mel.gain import spectral_gain
from speech_enhance.mel.spectrogram import MelConfig, active_level, level_scale, stft
from speech_enhance.mel.targets import MelTarget
from speech_enhance.models.noise_schedule import NoiseSchedule

_TYPICAL_MEL = 0.75  # mean of a noisy mel at the level of training
_LEAST_MEL = 0.02
_LEAST_GAIN_SAMPLE = -1 + 2e-4
_LEAST_POWER = 1e-6


def stft_pair(
    clean: torch.Tensor, noisy: torch.Tensor, config: MelConfig, level_jitter: torch.Tensor | float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Complex STFTs `(batch, frequencies, frames)` of aligned waveforms `(batch, samples)`, both at the noisy one's
    level."""
    scale = level_scale(active_level(noisy[:, None], config.sampling_rate), config) * level_jitter
    return stft(clean * scale[:, None], config), stft(noisy * scale[:, None], config)


def cut_windows(maps: torch.Tensor, starts: torch.Tensor, window_frames: int) -> torch.Tensor:
    """The window of each item of `maps (batch, …, frames)` that begins at its frame of `starts (batch,)`, silence after
    its end."""
    if maps.is_complex():
        return torch.complex(*(cut_windows(part, starts, window_frames) for part in (maps.real, maps.imag)))
    places = starts[:, None] + torch.arange(window_frames, device=maps.device)
    places = places.reshape(len(maps), *[1] * (maps.ndim - 2), window_frames).expand(*maps.shape[:-1], -1)
    return F.pad(maps, (0, window_frames)).gather(-1, places)


def training_windows(
    clean_mel: torch.Tensor,
    noisy_mel: torch.Tensor,
    starts: torch.Tensor,
    window_frames: int,
    condition_config: ConditionConfig,
    target: MelTarget,
    dereverb: torch.Tensor | float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The window of each mixture that begins at its frame of `starts (batch,)`: `(clean_sample, condition)`.

    Statistics over time are taken on the whole mixture before the cut, as the pipeline takes them on the whole
    recording. Where a window reaches past the end it is padded with silence, as the pipeline's last one is.

    Returns:
        `clean_sample (batch, 1, bands, window_frames)`, what the diffusion is to generate, and `condition (batch,
        channels, bands, window_frames)`.
    """
    condition = build_condition(noisy_mel, condition_config, dereverb)
    clean_sample = target.encode(clean_mel, noisy_mel)[:, None]
    maps = torch.cat([clean_sample, condition], dim=1)
    windows = cut_windows(maps, starts, window_frames)
    return windows[:, :1], windows[:, 1:]


def loudness_weight(condition: torch.Tensor, power: float) -> torch.Tensor:
    """What an error counts in each band and frame `(batch, 1, bands, frames)`: the noisy mel to `power`, about 1 on
    average. With a power of 2 and gains of power 1, errors of gains are errors of the mel."""
    return ((condition[:, :1] + _LEAST_MEL) / _TYPICAL_MEL).pow(power)


class Denoiser:
    """The network with its noise schedule: it answers with clean samples.

    Args:
        unet: The network, or what a trainer has wrapped it in.
        noise_scheduler: Scheduler of the training schedule.
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
        """What the network predicts in float32, shown its previous `estimate` (zero if `None`) where it can see it."""
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
        return tuple(part.to(timesteps.device, torch.float32).reshape(-1, 1, 1, 1) for part in parts)


def _rounded_up(mask: torch.Tensor) -> torch.Tensor:
    """Indices where `mask (batch,)` is true, and of some more examples, so that only eight numbers of them occur: cuDNN
    plans every size of a batch anew."""
    multiple = -(-len(mask) // 8)
    number = -(-int(mask.sum()) // multiple) * multiple
    return mask.float().argsort(descending=True, stable=True)[:number]


def sample_loss(estimate: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Mean squared error of `estimate (batch, 1, bands, frames)`, each point times `weight`, per example `(batch,)`."""
    return (weight * (estimate - target).square()).mean(dim=(1, 2, 3))


def underestimation_weight(estimate: torch.Tensor, target: torch.Tensor, extra: float) -> torch.Tensor:
    """1, and `extra` more where `estimate` lies below `target`, both `(batch, 1, bands, frames)`: of gains, where
    speech is turned down further than it should be."""
    return 1 + extra * (estimate.detach() < target)


def diffusion_loss(
    denoiser: Denoiser,
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

    Where `own (batch,)` is true, the network meets an estimate of its own. With self-conditioning it is shown the
    estimate that it makes of the same noisy sample without one (Chen et al., "Analog Bits", arXiv:2208.04202). Without,
    the noisy sample is built from its one-step estimate instead of the truth, as it will be in the course of sampling,
    and the error is that of the clean sample which the answer implies (cf. Lay et al., "Single and Few-step Diffusion
    for Generative Speech Enhancement", arXiv:2309.09677).
    """
    own = torch.zeros(len(noise), dtype=torch.bool, device=noise.device) if own is None else own
    chosen = _rounded_up(own)
    # Sampling starts from noise alone. The last alpha is not quite 0: without noise, a regressor would read the answer.
    start = clean_sample * (timesteps < denoiser.last_timestep)[:, None, None, None]
    if not denoiser.self_conditioning:
        last = torch.full_like(timesteps, denoiser.last_timestep)
        start = _with_own_estimates(denoiser, start, noise, last, condition, own, chosen)
    noisy_sample = denoiser.noise_scheduler.add_noise(start, noise, timesteps)
    shown = None
    if denoiser.self_conditioning:
        nothing = torch.zeros_like(noisy_sample)
        shown = _with_own_estimates(denoiser, nothing, noisy_sample, timesteps, condition, own, chosen)
    signal, noise_share = denoiser.amplitudes(timesteps)
    target, own_weight = clean_sample, torch.ones(len(noise), device=noise.device)
    if denoiser.schedule.prediction_type == "v_prediction":
        target = (signal * noisy_sample - clean_sample) / noise_share
        if not denoiser.self_conditioning:
            own_weight = torch.where(own, noise_share.flatten().square(), own_weight)
    return own_weight * sample_loss(denoiser.predict(noisy_sample, timesteps, condition, shown), target, weight)


def _with_own_estimates(
    denoiser: Denoiser,
    samples: torch.Tensor,
    noisy_sample: torch.Tensor,
    timesteps: torch.Tensor,
    condition: torch.Tensor,
    own: torch.Tensor,
    chosen: torch.Tensor,
) -> torch.Tensor:
    """`samples` with those of `own` replaced by the network's estimates of `noisy_sample`, made without gradient for
    the examples `chosen`."""
    if not len(chosen):
        return samples
    with torch.no_grad():
        estimates = denoiser.estimate(noisy_sample[chosen], timesteps[chosen], condition[chosen])
    samples = samples.clone()
    samples[chosen] = torch.where(own[chosen][:, None, None, None], estimates, samples[chosen])
    return samples


def sampled_estimate(
    denoiser: Denoiser,
    condition: torch.Tensor,
    noise: torch.Tensor,
    num_inference_steps: int,
    stochastic: torch.Tensor | None = None,
    all_gradients: bool = False,
) -> torch.Tensor:
    """The clean sample that `num_inference_steps` of sampling from pure noise end with.

    The steps before the last are taken as in sampling, without gradient (Lay et al., "Single and Few-step Diffusion for
    Generative Speech Enhancement", arXiv:2309.09677, "correcting the reverse process").

    Args:
        denoiser: The network.
        condition: `(batch, channels, bands, frames)`.
        noise: `(batch, draws, bands, frames)`: the first draw starts the sampling, the others are fresh noise for later
            steps. With one draw alone no step adds any.
        num_inference_steps: Number of steps.
        stochastic: `(batch,)`, where true each step adds fresh noise, as LCM and ancestral samplers do; elsewhere it
            keeps the noise that the network finds in the sample, as DDIM does.
        all_gradients: Whether the gradient goes through all steps instead of the last alone.
    """
    scheduler = DDIMScheduler.from_config(denoiser.noise_scheduler.config)
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
    return estimate


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
    """How far an STFT lies from the clean one, both `(batch, frequencies, frames)`, compressed by a power of 0.3:
    squared errors of magnitudes and, to three tenths, of complex values, per example `(batch,)` (Braun & Tashev, "A
    consolidated view of loss functions for supervised deep learning-based speech enhancement", arXiv:2009.12286)."""
    compressed = []
    for spectrum in (enhanced_stft, clean_stft):
        power = power_spectrum(spectrum) + _LEAST_POWER
        compressed.append((power.pow(0.15), torch.view_as_real(spectrum) * power.pow(-0.35)[..., None]))
    (magnitude, values), (clean_magnitude, clean_values) = compressed
    error = 0.7 * (magnitude - clean_magnitude).square() + 0.3 * (values - clean_values).square().sum(dim=-1)
    return error.mean(dim=(1, 2))
