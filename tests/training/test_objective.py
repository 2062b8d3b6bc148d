import dataclasses

import numpy as np
import pytest
import torch
from conftest import TINY_LAYOUT, TINY_UNET, noise, quiet
from torch.utils.data import default_collate
from training_runs import tiny_config

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.mel.conditioning import ConditionConfig
from speech_enhance.mel.spectrogram import MelConfig, mel_spectrogram
from speech_enhance.mel.targets import MelTarget
from speech_enhance.models.schedulers import training_scheduler
from training.config import load_config
from training.denoiser import Denoiser, sampled_estimate
from training.mixtures.examples import TrainingExamples
from training.objective import (
    Objective,
    diffusion_loss,
    enhanced_spectrum,
    loudness_weight,
    sample_loss,
    spectrum_loss,
    stft_pair,
    training_windows,
    underestimation_weight,
)


def test_training_and_pipeline_see_the_same_condition(tiny_pipeline):
    """What the network is shown in training is what the pipeline shows it: level, mel, noise floor, grid, padding."""
    audio = noise(99000) * np.repeat([1, 3, 0.5], 33000).astype(np.float32)
    settings, shown = tiny_pipeline.config, []
    tiny_pipeline(
        audio,
        16000,
        1,
        1,
        callback_on_step_end=lambda pipe, step, timestep, tensors: shown.append(tensors["condition"]),
        callback_on_step_end_tensor_inputs=["condition"],
    )
    waveform = torch.from_numpy(audio)[None]
    spectra = stft_pair(0 * waveform, waveform, tiny_pipeline.mel_config)
    clean_mel, noisy_mel = (mel_spectrogram(spectrum.abs(), tiny_pipeline.mel_config) for spectrum in spectra)
    clean_sample, condition = training_windows(
        clean_mel.repeat(16, 1, 1),
        noisy_mel.repeat(16, 1, 1),
        torch.arange(0, 16 * 48, 48),
        settings.window_frames,
        tiny_pipeline.condition_config,
        tiny_pipeline.mel_target,
    )
    torch.testing.assert_close(torch.cat(shown), condition)
    assert (clean_sample[:-1] == -1).all()


def test_windows_past_the_end_are_padded_with_silence():
    mel = torch.rand(2, 4, 100) + 0.1
    clean_sample, condition = training_windows(
        0 * mel, mel, torch.tensor([3, 60]), 96, ConditionConfig(64, 16), MelTarget("residual", residual_scale=0.5)
    )
    torch.testing.assert_close(condition[0, 0], torch.nn.functional.pad(mel[0, :, 3:99], (0, 0)))
    torch.testing.assert_close(clean_sample[1, 0, :, :40], -2 * mel[1, :, 60:])
    assert not clean_sample[1, 0, :, 40:].any()
    assert not condition[1, :, :, 40:].any()


def test_terminal_loss_is_regression(tiny_unet):
    """At the last timestep the target is minus the clean sample, whatever the noise."""
    denoiser = Denoiser(tiny_unet, training_scheduler())
    clean_sample, condition = torch.randn(2, 1, 80, 16), torch.randn(2, 3, 80, 16)
    timesteps = torch.full((2,), 999)
    with torch.no_grad():
        noise_map = torch.randn_like(clean_sample)
        expected = (tiny_unet(noise_map, timesteps, condition).sample + clean_sample).square().mean(dim=(1, 2, 3))
        loss = diffusion_loss(denoiser, clean_sample, condition, noise_map, timesteps)
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="ill-posed"):
        Denoiser(tiny_unet, training_scheduler("epsilon"))


@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
def test_nothing_of_the_answer_is_in_the_last_timesteps_sample(tiny_unet, noise_scale):
    """With noise it would be drowned, without (a plain regressor) it would be learnt in place of the task."""
    seen = []
    tiny_unet.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    clean_sample, condition = torch.randn(2, 1, 80, 16), torch.randn(2, 3, 80, 16)
    noise_map = noise_scale * torch.randn_like(clean_sample)
    diffusion_loss(
        Denoiser(tiny_unet, training_scheduler()), clean_sample, condition, noise_map, torch.tensor([999, 998])
    )
    torch.testing.assert_close(seen[0][0], noise_map[0])
    assert not torch.equal(seen[0][1], noise_map[1])


def test_loss_on_own_estimates_is_the_error_of_the_implied_sample(tiny_unet):
    scheduler = training_scheduler()
    denoiser = Denoiser(tiny_unet, scheduler)
    clean_sample, condition, noise_map = torch.randn(2, 1, 80, 16), torch.randn(2, 3, 80, 16), torch.randn(2, 1, 80, 16)
    timesteps, own = torch.tensor([499, 499]), torch.tensor([True, False])
    with torch.no_grad():
        losses = diffusion_loss(denoiser, clean_sample, condition, noise_map, timesteps, own)
        estimate = denoiser.estimate(noise_map, torch.tensor([999, 999]), condition)
        first_step = scheduler_step(scheduler, tiny_unet, noise_map, 999, condition)
        torch.testing.assert_close(estimate, first_step, atol=1e-2, rtol=0)
        noisy_sample = scheduler.add_noise(estimate, noise_map, timesteps)
        implied = scheduler_step(scheduler, tiny_unet, noisy_sample, 499, condition)
        plain = diffusion_loss(denoiser, clean_sample, condition, noise_map, timesteps)
    torch.testing.assert_close(losses[0], (implied - clean_sample)[0].square().mean(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(losses[1], plain[1], atol=1e-4, rtol=1e-4)


def test_few_steps_are_those_of_the_pipeline_and_the_last_one_learns(tiny_pipeline):
    """The estimate is what the pipeline generates from this noise."""
    seen = []

    def keep(_, inputs, output):
        seen.append((inputs, output[0] if isinstance(output, tuple) else output.sample))

    tiny_pipeline.unet.register_forward_hook(keep)
    settings = tiny_pipeline.config
    tiny_pipeline(noise(settings.window_frames * settings.hop_length // 2), 16000, num_inference_steps=3)
    (start, _, condition), timestep = seen[0][0], seen[2][0][1]
    tiny_pipeline.scheduler.set_timesteps(3)
    last = tiny_pipeline.scheduler.step(seen[2][1], timestep, seen[2][0][0]).pred_original_sample
    estimate = sampled_estimate(Denoiser(tiny_pipeline.unet, tiny_pipeline.scheduler), condition, start, 3)
    torch.testing.assert_close(estimate, last, rtol=1e-4, atol=1e-5)
    assert [item[1].requires_grad for item in seen[3:]] == [False, False, True]
    sample_loss(estimate, torch.randn_like(last)).sum().backward()
    assert tiny_pipeline.unet.conv_in.weight.grad.abs().sum() > 0


@pytest.fixture
def denoiser() -> Denoiser:
    """A tiny network with self-conditioning."""
    torch.manual_seed(0)
    unet = ConditionalUNet2DModel(**TINY_UNET | {"in_channels": 160}).eval()
    return Denoiser(unet, training_scheduler(), self_conditioning=True)


def test_an_estimate_below_the_truth_counts_more():
    estimate = torch.tensor([[[[0.2, 0.8, 0.5]]]], requires_grad=True)
    weight = underestimation_weight(estimate, torch.full((1, 1, 1, 3), 0.5), 1.5)
    assert weight.tolist() == [[[[2.5, 1.0, 1.0]]]]
    assert not weight.requires_grad


def test_few_steps_with_self_conditioning_are_those_of_the_pipeline(denoiser):
    """The network sees the same in training and in the pipeline, its last estimate included."""
    pipeline = quiet(
        SpeechEnhancementPipeline(denoiser.unet, training_scheduler(), **TINY_LAYOUT, self_conditioning=True)
    )
    seen, estimates = [], []
    denoiser.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))

    def keep(pipe, step, timestep, tensors):
        estimates.append(tensors["clean_estimate"])

    audio = noise(pipeline.config.window_frames * pipeline.config.hop_length // 2)
    pipeline(audio, 16000, 3, 1, callback_on_step_end=keep, callback_on_step_end_tensor_inputs=["clean_estimate"])
    estimate = sampled_estimate(denoiser, seen[0][2][:, :-1], seen[0][0], 3)
    torch.testing.assert_close(estimate, estimates[-1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen[-1][2][:, -1:], estimates[-2], rtol=1e-3, atol=1e-4)


def test_steps_may_add_fresh_noise(denoiser):
    condition, draws = torch.randn(2, 3, 80, 64), torch.randn(2, 2, 80, 64)
    with torch.no_grad():
        mixed = sampled_estimate(denoiser, condition, draws, 2, torch.tensor([True, False]))
        plain = sampled_estimate(denoiser, condition, draws, 2)
        first = denoiser.estimate(draws[:1, :1], torch.tensor([999]), condition[:1])
        sample = denoiser.noise_scheduler.add_noise(first, draws[:1, 1:], torch.tensor([499]))
        expected = denoiser.estimate(sample, torch.tensor([499]), condition[:1], first)
    torch.testing.assert_close(mixed[1], plain[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed[:1], expected, rtol=1e-4, atol=1e-5)
    assert (mixed[0] - plain[0]).abs().max() > 1e-3


def test_the_gradient_goes_through_the_last_step_or_through_all(tiny_pipeline):
    unet = tiny_pipeline.unet
    denoiser = Denoiser(unet, tiny_pipeline.scheduler)
    white, condition = torch.randn(1, 1, 80, 64), torch.randn(1, 3, 80, 64, requires_grad=True)
    answers = []
    unet.register_forward_hook(lambda _, inputs, output: answers.append(output.sample.requires_grad))
    sampled_estimate(denoiser, condition, white, 3)
    sampled_estimate(denoiser, condition, white, 3, all_gradients=True).sum().backward()
    assert answers == [False, False, True, True, True, True]
    assert condition.grad.any()


def test_with_self_conditioning_a_draw_meets_its_own_estimate_in_the_condition(denoiser):
    clean, white, condition = torch.randn(2, 1, 80, 16), torch.randn(2, 1, 80, 16), torch.randn(2, 3, 80, 16)
    seen = []
    denoiser.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    timesteps = torch.tensor([500, 500])
    with torch.no_grad():
        diffusion_loss(denoiser, clean, condition, white, timesteps, torch.tensor([True, False]))
    noisy_sample = denoiser.noise_scheduler.add_noise(clean, white, timesteps)
    torch.testing.assert_close(seen[-1][0], noisy_sample)
    assert not seen[0][2][:, -1].any()
    with torch.no_grad():
        expected = denoiser.estimate(noisy_sample[:1], timesteps[:1], condition[:1])
    torch.testing.assert_close(seen[1][2][:1, -1:], expected)
    assert not seen[1][2][1, -1].any()


def test_own_estimates_of_a_few_examples_leave_the_others_alone(tiny_pipeline):
    """Some more than asked for are computed, so that few sizes of a batch occur; they do not count."""
    unet, scheduler = tiny_pipeline.unet, tiny_pipeline.scheduler
    shape = (24, 1, tiny_pipeline.config.num_mel_bins, tiny_pipeline.config.window_frames)
    generator = torch.Generator().manual_seed(0)
    clean, white = (torch.randn(shape, generator=generator) for _ in range(2))
    condition = torch.randn(24, 3, *shape[2:], generator=generator)
    timesteps = torch.full((24,), 500)
    sizes = []
    unet.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    own = torch.zeros(24, dtype=torch.bool)
    own[[3, 11, 17, 20]] = True
    with torch.no_grad():
        losses = diffusion_loss(Denoiser(unet, scheduler), clean, condition, white, timesteps, own)
        plain = diffusion_loss(Denoiser(unet, scheduler), clean, condition, white, timesteps)
    assert sizes == [6, 24, 24]
    torch.testing.assert_close(losses[~own], plain[~own], rtol=1e-4, atol=1e-5)
    assert (losses[own] - plain[own]).abs().min() > 1e-4


@pytest.mark.parametrize("kind", ["gain", "residual"])
def test_the_error_of_the_spectrum_is_that_of_the_pipelines_sound(kind):
    config, target = MelConfig(), MelTarget(kind)
    speech = torch.from_numpy(noise(16000))[None] * torch.linspace(0, 1, 16000)
    hiss = 0.3 * torch.from_numpy(noise(16000, seed=1))[None]
    clean_stft, noisy_stft = stft_pair(speech, speech + hiss, config)
    clean_mel, noisy_mel = (mel_spectrogram(spectrum.abs(), config) for spectrum in (clean_stft, noisy_stft))
    true = target.encode(clean_mel, noisy_mel)[:, None].requires_grad_()
    nothing = torch.full_like(true, -1.0 if kind == "gain" else -9.0).requires_grad_()
    everything = torch.full_like(true, 1.0 if kind == "gain" else 0.0)
    losses = {}
    for name, estimate in {"true": true, "nothing": nothing, "everything": everything}.items():
        losses[name] = spectrum_loss(enhanced_spectrum(estimate, noisy_mel, noisy_stft, target, config), clean_stft)
        assert losses[name].shape == (1,)
    assert losses["true"] < losses["everything"] < losses["nothing"]
    (losses["true"] + losses["nothing"]).sum().backward()
    assert true.grad.isfinite().all()
    assert true.grad.abs().sum() > 0
    assert nothing.grad.isfinite().all()
    same = spectrum_loss(enhanced_spectrum(everything, noisy_mel, noisy_stft, target, config), noisy_stft)
    torch.testing.assert_close(same, torch.zeros(1), atol=1e-4, rtol=0)


def scheduler_step(scheduler, unet, sample, timestep, condition):
    """The sample that the network's answer implies, by the scheduler's own arithmetic."""
    scheduler.set_timesteps(1000)
    prediction = unet(sample, timestep, condition).sample
    return scheduler.step(prediction, timestep, sample).pred_original_sample


def test_an_error_counts_by_the_loudness_of_its_place(tiny_unet):
    condition = torch.rand(2, 3, 80, 16)
    weight = loudness_weight(condition, 1.0)
    assert weight.shape == (2, 1, 80, 16)
    torch.testing.assert_close(
        weight[:, 0] / weight[0, 0, 0, 0], (condition[:, 0] + 0.02) / (condition[0, 0, 0, 0] + 0.02)
    )
    clean_sample, noise_map, timesteps = torch.randn(2, 1, 80, 16), torch.randn(2, 1, 80, 16), torch.tensor([999, 500])
    with torch.no_grad():
        denoiser = Denoiser(tiny_unet, training_scheduler())
        plain = diffusion_loss(denoiser, clean_sample, condition, noise_map, timesteps)
        alike, twice = (
            diffusion_loss(denoiser, clean_sample, condition, noise_map, timesteps, weight=weight)
            for weight in (loudness_weight(condition, 0.0), torch.full((2, 1, 80, 16), 2.0))
        )
    torch.testing.assert_close(alike, plain)
    torch.testing.assert_close(twice, 2 * plain)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"diffusion"}),
        ({"few_step_share": 1.0, "few_step_number": 2}, {"few_steps"}),
        (
            {"few_step_share": 0.5, "few_step_number": 2, "spectrum_loss_weight": 0.5},
            {"diffusion", "few_steps", "spectrum"},
        ),
        ({"few_step_share": 0.5, "perceptual_loss_weight": 0.5}, {"diffusion", "few_steps", "perceptual"}),
    ],
    ids=["diffusion", "few steps", "spectrum", "perceptual"],
)
def test_the_losses_of_a_batch_are_named_and_each_is_about_its_own_examples(
    corpus, tmp_path, tiny_pipeline, tiny_unet, changes, expected
):
    config = load_config(tiny_config(corpus, tmp_path, **changes))
    settings = tiny_pipeline.config
    examples = TrainingExamples(config, tiny_pipeline.mel_config, settings.window_frames, 1000, length=4)
    batch = default_collate([examples[index] for index in range(4)])
    losses = Objective(config, tiny_pipeline, tiny_unet)(batch, global_step=0)
    assert losses.keys() == expected
    few = batch["few_steps"]
    for name, loss in losses.items():
        assert loss.shape == (4,)
        assert torch.equal(loss > 0, ~few if name == "diffusion" else few)
    sum(losses.values()).mean().backward()
    assert tiny_unet.conv_in.weight.grad.any()
    for name in expected & {"spectrum", "perceptual"}:
        weighty = dataclasses.replace(config, **{f"{name}_loss_weight": 1.0})
        again = Objective(weighty, tiny_pipeline, tiny_unet)(batch, global_step=0)
        torch.testing.assert_close(again[name], 2 * losses[name])


def test_own_estimates_begin_at_their_step(corpus, tmp_path, tiny_pipeline, tiny_unet):
    config = load_config(tiny_config(corpus, tmp_path, own_estimate_start_step=5))
    examples = TrainingExamples(config, tiny_pipeline.mel_config, tiny_pipeline.config.window_frames, 1000, length=2)
    batch = default_collate([examples[index] for index in range(2)])
    batch |= {"timestep": torch.full((2,), 500), "own": torch.ones(2, dtype=torch.bool)}
    objective = Objective(config, tiny_pipeline, tiny_unet)
    with torch.no_grad():
        at = {step: objective(batch, step)["diffusion"] for step in (0, 4, 5)}
    assert torch.equal(at[0], at[4])
    assert not torch.equal(at[4], at[5])
