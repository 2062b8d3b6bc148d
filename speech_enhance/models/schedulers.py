"""The noise schedule, the schedulers that may be swapped in, and the presets that trade speed against quality."""

import copy
import inspect
from dataclasses import dataclass
from typing import Any, cast

LAST_ALPHA_CUMPROD = 2.0**-24

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "deis": "DEISMultistepScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
    "dpmsolver-singlestep": "DPMSolverSinglestepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "kdpm2": "KDPM2DiscreteScheduler",
    "kdpm2-ancestral": "KDPM2AncestralDiscreteScheduler",
    "lcm": "LCMScheduler",
    "lms": "LMSDiscreteScheduler",
    "sasolver": "SASolverScheduler",
    "tcd": "TCDScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Short names of the Diffusers schedulers that recover the true mel from a perfect network
(`tests/models/test_schedulers.py`).

`scheduler.compatibles` is no substitute: it lists some that diverge on this schedule and omits some that work.
"""


@dataclass(frozen=True)
class Preset:
    """Settings of the pipeline under one name: a scheduler of [`SCHEDULERS`], the number of its steps, and the number
    of estimates that are averaged."""

    scheduler: str
    num_inference_steps: int
    num_estimates: int


PRESETS = {
    "fast": Preset("ddim", num_inference_steps=1, num_estimates=1),
    "balanced": Preset("ddim", num_inference_steps=1, num_estimates=3),
}
"""Derived by rule from the figures of the bundled checkpoint: `training/evaluation/compare_schedulers.py`. A preset
exists if it gains for sure on each of three sets of recordings."""


def make_scheduler(name: str, config):
    """The scheduler with this name in [`SCHEDULERS`], on the noise schedule of `config`, the configuration of another
    scheduler.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"unknown scheduler {name!r}; choose from {', '.join(SCHEDULERS)}")
    import diffusers

    return getattr(diffusers, SCHEDULERS[name]).from_config(config)


DEFAULT_PRESET = "balanced"


def find_preset(name: str) -> Preset:
    """The preset with this name.

    Raises:
        ValueError: for an unknown name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def preset_settings(preset: str, config) -> tuple[object, dict[str, Any]]:
    """Scheduler and arguments of a preset (see [`PRESETS`]): `(scheduler, arguments)`. The scheduler is on the noise
    schedule of `config`; the arguments are `num_inference_steps` and `num_estimates` for the pipeline's call.

    Raises:
        ValueError: for an unknown preset.
    """
    chosen = find_preset(preset)
    arguments = {"num_inference_steps": chosen.num_inference_steps, "num_estimates": chosen.num_estimates}
    return make_scheduler(chosen.scheduler, config), arguments


def check_preset(preset: str, scheduler) -> None:
    """Refuse a preset that names another scheduler than the one that will run: one of the two would be ignored.

    Raises:
        ValueError: if their classes differ.
    """
    wanted, found = SCHEDULERS[find_preset(preset).scheduler], type(scheduler).__name__
    if wanted != found:
        raise ValueError(
            f"`preset` {preset!r} is made for a {wanted}, and this pipeline's scheduler is a {found}: leave out "
            "`preset`, or "
            f"set pipe.scheduler = {wanted}.from_config(pipe.scheduler.config)"
        )


def check_scheduler(scheduler) -> None:
    """Refuse a scheduler that would silently give a wrong result.

    Raises:
        ValueError: if its class is not in [`SCHEDULERS`] or it was not made from a model's own configuration.
    """
    kind = type(scheduler).__name__
    if kind not in SCHEDULERS.values():
        raise ValueError(f"{kind} does not suit this model; use one of {', '.join(SCHEDULERS.values())}")
    if scheduler.config.get("trained_betas") is None or scheduler.config.get("prediction_type") == "epsilon":
        raise ValueError(
            f"this {kind} lacks the model's noise schedule (trained_betas, prediction_type); "
            f"make it with {kind}.from_config(pipe.scheduler.config)"
        )


def try_scheduler(scheduler, num_inference_steps: int) -> None:
    """Run a copy of `scheduler` on a single value, so that a useless configuration is reported before the network runs.

    Raises:
        ValueError: if a step fails (the message quotes Diffusers) or gives NaN or infinite values.
    """
    import torch

    kind = type(scheduler).__name__
    try:
        trial = copy.deepcopy(scheduler)
        trial.set_timesteps(num_inference_steps, device="cpu")
        takes_generator = "generator" in inspect.signature(trial.step).parameters
        options = {"generator": torch.Generator()} if takes_generator else {}
        sample = torch.full((1, 1, 1, 1), 0.1, dtype=torch.float32) * trial.init_noise_sigma
        for timestep in trial.timesteps:
            prediction = 0.1 * trial.scale_model_input(sample, timestep)
            sample = trial.step(prediction, timestep, sample, **options, return_dict=False)[0]
    except Exception as error:  # whatever Diffusers raises for an impossible configuration
        reason = " ".join(str(error).split()) or "no reason given"
        raise ValueError(
            f"this {kind} cannot make {num_inference_steps} steps ({type(error).__name__}: {reason[:300]})"
        ) from error
    if not torch.as_tensor(sample).isfinite().all():
        raise ValueError(f"this {kind} gives NaN or infinite values in {num_inference_steps} steps")


def training_scheduler(
    prediction_type: str = "v_prediction", num_train_timesteps: int = 1000, snr_shift_db: float = 0.0
):
    """The scheduler that a model is trained and saved with: DDIM on the zero-terminal-SNR schedule with trailing
    timesteps.

    `clip_sample=False` is spelled out because a scheduler that is swapped in later would otherwise clip at ±1.

    Args:
        prediction_type: Kind of the network's answer, `"v_prediction"` or `"sample"`.
        num_train_timesteps: Number of noise levels.
        snr_shift_db: Shift of the signal-to-noise ratio in dB, see [`zero_snr_betas`].
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=num_train_timesteps,
        trained_betas=zero_snr_betas(num_train_timesteps, snr_shift_db=snr_shift_db),
        prediction_type=cast(Any, prediction_type),  # the scheduler itself refuses others
        timestep_spacing="trailing",
        clip_sample=False,
    )


def zero_snr_betas(
    num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, snr_shift_db: float = 0.0
) -> list[float]:
    """Linear betas rescaled to almost zero terminal SNR, to be stored as `trained_betas`.

    This is Algorithm 1 of Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed"
    (arXiv:2305.08891), but the last cumulative alpha is 2⁻²⁴ instead of 0. These betas are stored explicitly. So
    one-step sampling is exact even for schedulers that lack `rescale_betas_zero_snr`, and no scheduler divides by zero.

    A positive `snr_shift_db` leaves less noise in the middle: the ratio of signal to noise is that many dB higher at
    every timestep except the last (Hoogeboom et al., "simple diffusion", arXiv:2301.11093, shift it the other way).
    """
    import torch

    betas = torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)
    alphas_cumprod = (1 - betas).cumprod(0)
    ratio = 10 ** (snr_shift_db / 10)
    roots = (ratio * alphas_cumprod / (1 + (ratio - 1) * alphas_cumprod)).sqrt()
    last = LAST_ALPHA_CUMPROD**0.5
    roots = last + (roots - roots[-1]) * (roots[0] - last) / (roots[0] - roots[-1])
    alphas_cumprod = roots.square()
    alphas = torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    return (1 - alphas).tolist()
