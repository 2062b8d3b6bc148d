"""The training objective: what the network is shown, what it must answer, and what an error costs.

[`Objective`] puts it together. To add a loss, write it as a function here and give it a name in what [`Objective`]
returns.
"""

import torch
import torch.nn.functional as F

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.mel.conditioning import ConditionConfig, build_condition
from speech_enhance.mel.gain import spectral_gain
from speech_enhance.mel.spectrogram import MelConfig, active_level, level_scale, mel_spectrogram, stft
from speech_enhance.mel.targets import MelTarget

from .config import TrainingConfig
from .denoiser import Denoiser, sampled_estimate
from .mixtures.degradation import degrade_batch
from .perceptual import perceptual_disturbance

_TYPICAL_MEL = 0.75  # mean of a noisy mel at the level of training
_LEAST_MEL = 0.02
_LEAST_GAIN_SAMPLE = -1 + 2e-4
_LEAST_POWER = 1e-6


class Objective:
    """The losses of a training step, by name.

    Timesteps and noise come with the batch. Only the degradation of mels is drawn here; it depends on the seed and on
    the numbers of the examples alone.

    Args:
        config: Configuration of the run, with the shares and weights of the losses.
        pipeline: The pipeline that is trained, for its mel, condition, target and noise schedule.
        unet: The network that learns, or what a trainer has wrapped it in. The network of `pipeline` is not used.

    Raises:
        ValueError: if the scheduler's prediction type is ill-posed at zero terminal SNR.
    """

    def __init__(self, config: TrainingConfig, pipeline: SpeechEnhancementPipeline, unet):
        self.config, self.pipeline = config, pipeline
        self.denoiser = Denoiser(unet, pipeline.scheduler, pipeline.config.self_conditioning)

    def __call__(self, batch: dict[str, torch.Tensor], global_step: int) -> dict[str, torch.Tensor]:
        """The losses of a batch of [`TrainingExamples`] at optimiser step `global_step`.

        Returns:
            Losses `(batch,)`, each times its weight; training minimises their sum. `diffusion` is the loss of examples
            at one timestep. `few_steps`, `spectrum` and `perceptual` are losses of examples at the end of a few steps
            of sampling. A loss is 0 for the other examples, and absent if it is 0 for the whole batch.
        """
        with torch.no_grad():
            spectra = stft_pair(
                batch["clean"], batch["noisy"], self.pipeline.mel_config, 10 ** (batch["level_db"] / 20)
            )
            clean_sample, condition = self._windows(batch, spectra)
            weight = loudness_weight(condition, self.config.loudness_weight_power)
            own = batch["own"] & (global_step >= self.config.own_estimate_start_step)
        few, losses = batch["few_steps"], {}
        if few.any():
            few_step_losses = self._few_step_losses(batch, spectra, clean_sample, condition, weight, global_step)
            losses |= {name: _spread(loss, few) for name, loss in few_step_losses.items()}
        if not few.all():
            parts = clean_sample, condition, batch["noise"][:, :1], batch["timestep"], own, weight
            losses["diffusion"] = _spread(diffusion_loss(self.denoiser, *(part[~few] for part in parts)), ~few)
        return losses

    def _windows(
        self, batch: dict[str, torch.Tensor], spectra: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`(clean_sample, condition)` of the windows of a batch, see [`training_windows`]."""
        config, pipeline = self.config, self.pipeline
        clean_mel, noisy_mel = (mel_spectrogram(spectrum.abs(), pipeline.mel_config) for spectrum in spectra)
        if config.degradation:
            numbers = batch["index"].tolist()
            noisy_mel = degrade_batch(noisy_mel, config.degradation, pipeline.mel_config, config.seed, numbers)
        return training_windows(
            clean_mel,
            noisy_mel,
            batch["start"],
            pipeline.config.window_frames,
            pipeline.condition_config,
            pipeline.mel_target,
            batch["dereverb"],
        )

    def _few_step_losses(
        self,
        batch: dict[str, torch.Tensor],
        spectra: tuple[torch.Tensor, torch.Tensor],
        clean_sample: torch.Tensor,
        condition: torch.Tensor,
        weight: torch.Tensor,
        global_step: int,
    ) -> dict[str, torch.Tensor]:
        """The losses of the examples that learn at the end of a few steps of sampling, and of these alone."""
        config, pipeline, few = self.config, self.pipeline, batch["few_steps"]
        clean_sample, condition, weight = clean_sample[few], condition[few], weight[few]
        number = config.few_step_numbers[global_step % len(config.few_step_numbers)]
        draws = batch["noise"][few], number, batch["stochastic"][few], config.few_step_all_gradients
        estimate = sampled_estimate(self.denoiser, condition, *draws)
        low = underestimation_weight(estimate, clean_sample, config.underestimation_weight)
        losses = {"few_steps": sample_loss(estimate, clean_sample, low * weight)}
        if config.spectrum_loss_weight > 0 or config.perceptual_loss_weight > 0:
            clean, noisy = (
                cut_windows(spectrum, batch["start"], pipeline.config.window_frames)[few] for spectrum in spectra
            )
            enhanced = enhanced_spectrum(estimate, condition[:, 0], noisy, pipeline.mel_target, pipeline.mel_config)
        if config.spectrum_loss_weight > 0:
            losses["spectrum"] = config.spectrum_loss_weight * spectrum_loss(enhanced, clean)
        if config.perceptual_loss_weight > 0:
            powers = power_spectrum(enhanced), power_spectrum(clean)
            losses["perceptual"] = config.perceptual_loss_weight * perceptual_disturbance(*powers, pipeline.mel_config)
        return losses


def _spread(losses: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The losses of the examples where `mask (batch,)` is true, in their places `(batch,)`; 0 elsewhere."""
    return torch.zeros(len(mask), device=losses.device).masked_scatter(mask, losses.float())


def stft_pair(
    clean: torch.Tensor, noisy: torch.Tensor, config: MelConfig, level_jitter: torch.Tensor | float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Complex STFTs `(batch, frequencies, frames)` of aligned waveforms `(batch, samples)`.

    Both are brought to the level of training by the level of the noisy one, times `level_jitter`.
    """
    scale = level_scale(active_level(noisy[:, None], config.sampling_rate), config) * level_jitter
    return stft(clean * scale[:, None], config), stft(noisy * scale[:, None], config)


def cut_windows(maps: torch.Tensor, starts: torch.Tensor, window_frames: int) -> torch.Tensor:
    """One window of each item of `maps (batch, …, frames)`: it begins at the item's frame of `starts (batch,)`. Silence
    follows the end of an item."""
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
    """One window of each mixture, which begins at the mixture's frame of `starts (batch,)`.

    Statistics over time are taken on the whole mixture before the cut, as the pipeline takes them on the whole
    recording. A window that reaches past the end is padded with silence, as the pipeline pads its last one.

    Returns:
        `clean_sample (batch, 1, bands, window_frames)`, which the diffusion must generate, and `condition (batch,
        channels, bands, window_frames)`.
    """
    condition = build_condition(noisy_mel, condition_config, dereverb)
    clean_sample = target.encode(clean_mel, noisy_mel)[:, None]
    maps = torch.cat([clean_sample, condition], dim=1)
    windows = cut_windows(maps, starts, window_frames)
    return windows[:, :1], windows[:, 1:]


def loudness_weight(condition: torch.Tensor, power: float) -> torch.Tensor:
    """Weight of an error in each band and frame `(batch, 1, bands, frames)`: the noisy mel to the power of `power`,
    about 1 on average. With a power of 2 and gains of power 1, errors of gains count as errors of the mel."""
    return ((condition[:, :1] + _LEAST_MEL) / _TYPICAL_MEL).pow(power)


def _rounded_up(mask: torch.Tensor) -> torch.Tensor:
    """Indices where `mask (batch,)` is true, padded with other examples, so that only eight batch sizes occur: cuDNN
    plans anew for each size."""
    multiple = -(-len(mask) // 8)
    number = -(-int(mask.sum()) // multiple) * multiple
    return mask.float().argsort(descending=True, stable=True)[:number]


def sample_loss(estimate: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Mean squared error of `estimate (batch, 1, bands, frames)`, each point times `weight`, per example `(batch,)`."""
    return (weight * (estimate - target).square()).mean(dim=(1, 2, 3))


def underestimation_weight(estimate: torch.Tensor, target: torch.Tensor, extra: float) -> torch.Tensor:
    """Weight of an error: 1, and 1 + `extra` where `estimate` lies below `target`, both `(batch, 1, bands, frames)`.
    For gains, that is where speech is turned down too far."""
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

    The target is v (Salimans & Ho, arXiv:2202.00512) on a zero-terminal-SNR schedule (Lin et al., arXiv:2305.08891). At
    the last timestep the input is pure noise and the target is minus the clean sample, so that it is plain regression.

    Where `own (batch,)` is true, the network meets an estimate of its own. With self-conditioning, it is shown the
    estimate that it makes of the same noisy sample without one (Chen et al., "Analog Bits", arXiv:2208.04202). Without
    self-conditioning, the noisy sample is built from the network's one-step estimate instead of the truth, as happens
    in sampling; the error is then that of the clean sample which the answer implies (cf. Lay et al., "Single and
    Few-step Diffusion for Generative Speech Enhancement", arXiv:2309.09677).
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
    """Replaces the samples of `own` by the network's estimates of `noisy_sample`, without gradient. The network runs on
    the examples of `chosen`."""
    if not len(chosen):
        return samples
    with torch.no_grad():
        estimates = denoiser.estimate(noisy_sample[chosen], timesteps[chosen], condition[chosen])
    samples = samples.clone()
    samples[chosen] = torch.where(own[chosen][:, None, None, None], estimates, samples[chosen])
    return samples


def enhanced_spectrum(
    estimate: torch.Tensor, noisy_mel: torch.Tensor, noisy_stft: torch.Tensor, target: MelTarget, config: MelConfig
) -> torch.Tensor:
    """The STFT `(batch, frequencies, frames)` that the pipeline makes of an estimate of the clean sample.

    Args:
        estimate: Estimate `(batch, 1, bands, frames)`.
        noisy_mel: Noisy mel `(batch, bands, frames)` of the same windows.
        noisy_stft: Noisy STFT `(batch, frequencies, frames)` of the same windows.
        target: Meaning of the sample.
        config: Analysis of the mel and the STFT.
    """
    if target.kind == "gain":  # at a gain of 0 the root in `decode` has no gradient
        estimate = estimate.clamp(min=_LEAST_GAIN_SAMPLE)
    return spectral_gain(target.decode(estimate[:, 0], noisy_mel), noisy_mel, config) * noisy_stft


def power_spectrum(spectrum: torch.Tensor) -> torch.Tensor:
    """Squared magnitudes of a complex STFT, with a gradient at 0 too."""
    return torch.view_as_real(spectrum).square().sum(dim=-1)


def spectrum_loss(enhanced_stft: torch.Tensor, clean_stft: torch.Tensor) -> torch.Tensor:
    """Squared error of an STFT against the clean one, both `(batch, frequencies, frames)`, per example `(batch,)`.

    Both are compressed by a power of 0.3. Errors of magnitudes count seven tenths and errors of complex values three
    tenths (Braun & Tashev, "A consolidated view of loss functions for supervised deep learning-based speech
    enhancement", arXiv:2009.12286).
    """
    compressed = []
    for spectrum in (enhanced_stft, clean_stft):
        power = power_spectrum(spectrum) + _LEAST_POWER
        compressed.append((power.pow(0.15), torch.view_as_real(spectrum) * power.pow(-0.35)[..., None]))
    (magnitude, values), (clean_magnitude, clean_values) = compressed
    error = 0.7 * (magnitude - clean_magnitude).square() + 0.3 * (values - clean_values).square().sum(dim=-1)
    return error.mean(dim=(1, 2))
