import json

import numpy as np
import pytest
import torch
from conftest import TINY_LAYOUT, TINY_UNET, OracleUNet, noise, quiet

from speech_enhance import PRESETS, SCHEDULERS, SpeechEnhancementPipeline, make_scheduler, preset_settings
from speech_enhance.models.schedulers import LAST_ALPHA_CUMPROD, training_scheduler, try_scheduler, zero_snr_betas

# Largest error of the recovered mel in units of the diffusion's sample. Three schedulers stop at the first noise level
# of the schedule, σ = .01, instead of 0: what is left is the largest of 5,000 draws, about 4.4 σ.
TOLERANCE = dict.fromkeys(SCHEDULERS, 2e-3) | dict.fromkeys(("deis", "sasolver", "tcd"), 0.05)


def test_schedule_ends_in_noise():
    betas = np.array(zero_snr_betas())
    alphas_cumprod = np.cumprod(1 - betas)
    assert len(betas) == 1000
    assert (betas > 0).all()
    assert (betas <= 1).all()
    assert alphas_cumprod[0] == pytest.approx(1 - 1e-4)
    assert alphas_cumprod[-1] == pytest.approx(LAST_ALPHA_CUMPROD, rel=1e-6)
    assert training_scheduler().alphas_cumprod[-1] == pytest.approx(LAST_ALPHA_CUMPROD, rel=1e-3)


def test_a_shift_leaves_less_noise_in_the_middle():
    plain, shifted = (np.cumprod(1 - np.array(zero_snr_betas(snr_shift_db=shift))) for shift in (0, 10.8))
    ratio = 10 * np.log10(shifted / (1 - shifted) * (1 - plain) / plain)
    assert ratio[499] == pytest.approx(10.8, abs=0.3)
    assert shifted[-1] == pytest.approx(LAST_ALPHA_CUMPROD, rel=1e-6)
    assert zero_snr_betas(snr_shift_db=0) == zero_snr_betas()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("num_inference_steps", [1, 2, 4, 16, 30])
def test_a_perfect_network_gives_the_true_mel(oracle_pipeline, name, num_inference_steps):
    audio = noise(8000)
    noisy_mel = oracle_pipeline(audio, 16000, output_type="mel").mels
    oracle_pipeline.unet.share = 0.3
    oracle_pipeline.scheduler = make_scheduler(name, oracle_pipeline.scheduler.config)
    clean_mel = oracle_pipeline(audio, 16000, num_inference_steps, output_type="mel").mels
    recovered, true = (oracle_pipeline.mel_target.encode(mel, noisy_mel) for mel in (clean_mel, 0.3 * noisy_mel))
    error = (recovered - true).abs().max()
    assert error < TOLERANCE[name]


class RememberingOracle(OracleUNet):
    """A perfect network with self-conditioning; it keeps how far each estimate that it is shown lies from the truth."""

    share = 0.3

    def __init__(self, **config):
        super().__init__(**config)
        self.shown = []

    def forward(self, sample, timestep, condition, return_dict=True):
        condition, estimate = condition[:, :-1], condition[:, -1:]
        noisy_mel = condition[:, :1]
        clean_sample = self.target.encode(self.share * noisy_mel, noisy_mel)
        self.shown.append((float(estimate.abs().max()), float((estimate - clean_sample).abs().max())))
        return super().forward(sample, timestep, condition, return_dict)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("num_inference_steps", [1, 2, 4, 16])
def test_a_network_is_shown_its_last_estimate(name, num_inference_steps):
    """Zero at first, then at every call of the network what its last answer implies: with a perfect network, the
    truth."""
    unet = RememberingOracle(**TINY_UNET | {"in_channels": 160})
    pipeline = quiet(SpeechEnhancementPipeline(unet, training_scheduler(), **TINY_LAYOUT, self_conditioning=True))
    pipeline.scheduler = make_scheduler(name, pipeline.scheduler.config)
    audio = noise(12000)
    calls = pipeline.prepare_sampling(num_inference_steps).num_timesteps
    clean_mel = pipeline(audio, 16000, num_inference_steps, 1, window_batch_size=1, output_type="mel").mels
    assert len(unet.shown) == 2 * calls  # two windows
    for number, (largest, error) in enumerate(unet.shown):
        if number % calls == 0:
            assert largest == 0
        else:
            assert error < 1e-3
    assert clean_mel.isfinite().all()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_swap_there_and_back_keeps_the_schedule(name):
    original = training_scheduler()
    swapped = make_scheduler(name, original.config)
    assert type(swapped).__name__ == SCHEDULERS[name]
    back = make_scheduler("ddim", swapped.config)
    torch.testing.assert_close(back.alphas_cumprod, original.alphas_cumprod)
    assert back.config.clip_sample is False
    assert back.config.prediction_type == "v_prediction"
    assert back.config.timestep_spacing == "trailing"


def test_saved_scheduler_is_strict_json(tmp_path):
    training_scheduler().save_pretrained(tmp_path)
    json.loads((tmp_path / "scheduler_config.json").read_text(), parse_constant=pytest.fail)


def test_presets_are_schedulers_of_the_list():
    config = training_scheduler().config
    assert list(PRESETS) == ["fast", "balanced"]
    for name, preset in PRESETS.items():
        scheduler, settings = preset_settings(name, config)
        assert type(scheduler).__name__ == SCHEDULERS[preset.scheduler]
        assert settings == {
            "num_inference_steps": preset.num_inference_steps,
            "num_estimates": preset.num_estimates,
        }
    assert PRESETS["fast"].num_inference_steps == 1


def test_unknown_names_are_answered_with_the_known():
    config = training_scheduler().config
    with pytest.raises(ValueError, match=r"'pndm'.*ddim.*unipc"):
        make_scheduler("pndm", config)
    with pytest.raises(ValueError, match=r"'turbo'.*fast, balanced"):
        preset_settings("turbo", config)


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "PNDMScheduler"])
def test_unsuitable_schedulers_are_refused_with_the_suitable(tiny_pipeline, name):
    import diffusers

    tiny_pipeline.scheduler = getattr(diffusers, name).from_config(tiny_pipeline.scheduler.config)
    with pytest.raises(ValueError, match=rf"{name} does not suit.*DDIMScheduler.*UniPCMultistepScheduler"):
        tiny_pipeline(noise(1000), 16000)


def test_a_scheduler_not_made_from_the_models_config_is_refused(tiny_pipeline):
    from diffusers import DDIMScheduler

    tiny_pipeline.scheduler = DDIMScheduler()
    with pytest.raises(ValueError, match="from_config"):
        tiny_pipeline(noise(1000), 16000)


def test_a_scheduler_that_gives_nan_is_refused():
    config = {**training_scheduler().config, "trained_betas": [*zero_snr_betas()[:-1], 1.0]}  # no signal at the end
    with pytest.raises(ValueError, match="this EulerDiscreteScheduler gives NaN or infinite values in 2 steps"):
        try_scheduler(make_scheduler("euler", config), 2)
