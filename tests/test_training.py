import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import yaml
from conftest import ROOT, noise, quiet, source

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.schedulers import training_scheduler
from training.config import load_config
from training.objective import diffusion_loss, draw_timesteps, mel_pair, own_estimates, training_windows
from training.sources import AudioSource, SourceConfig, SourceMix, load_audio_dataset
from training.validation import load_pairs, score_pairs


def test_folder_and_parquet_give_the_same_kind_of_audio(corpus):
    for path, length in ((corpus / "speech", 24000), (corpus / "noise-*.parquet", 4000)):
        recordings = AudioSource(SourceConfig(str(path)), 16000)
        assert recordings[0].dtype == np.float32
        assert recordings[0].shape == (length,)
        np.testing.assert_allclose(
            recordings[0], AudioSource(SourceConfig(str(path)), 16000, cache=False)[0], atol=1e-4
        )
        np.testing.assert_array_equal(recordings[0], recordings[0])


def test_folders_with_and_without_metadata(tmp_path):
    (tmp_path / "test" / "deep").mkdir(parents=True)
    for name in ("test/a.wav", "test/deep/b.flac", "ignored.wav"):
        soundfile.write(tmp_path / name, noise(1000 + len(name)), 16000)
    (tmp_path / "test" / "notes.txt").write_text("no audio")
    assert len(load_audio_dataset(str(tmp_path), "test", ["audio"])) == 2
    (tmp_path / "test" / "metadata.csv").write_text("clean_file_name,noisy_file_name,id\na.wav,a.wav,x\n")
    (pair,) = load_pairs(str(tmp_path))
    assert (pair.id, len(pair.noisy)) == ("x", 1010)
    (tmp_path / "test" / "metadata.csv").write_text("clean_file_name,noisy_file_name\na.wav,gone.wav\n")
    with pytest.raises(FileNotFoundError, match=r"1 files that do not exist.*gone\.wav"):
        load_pairs(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no audio files"):
        load_audio_dataset(str(tmp_path / "empty"), "test", ["audio"])


def test_other_rates_are_resampled(corpus):
    assert AudioSource(SourceConfig(str(corpus / "speech")), 8000)[0].shape == (12000,)


def test_rows_below_a_minimum_are_left_out(corpus):
    assert len(AudioSource(SourceConfig(str(corpus / "speech"), minimum={"score": 2}), 16000)) == 2
    with pytest.raises(ValueError, match="no recordings left"):
        AudioSource(SourceConfig(str(corpus / "speech"), minimum={"score": 9}), 16000)


def test_balance_draws_by_group(corpus):
    balanced = AudioSource(SourceConfig(str(corpus / "speech"), balance_by="corpus", minimum={"score": 1}), 16000)
    rng = np.random.default_rng(0)
    single = sum(balanced.draw(rng).std() == balanced[1].std() for _ in range(400))
    assert 180 < single / (np.sqrt(1) / (np.sqrt(1) + np.sqrt(2))) / 2 < 220  # one row of three, in a group of its own


def test_wrong_sources_are_named(corpus):
    with pytest.raises(FileNotFoundError, match=r"nothing-\*\.parquet"):
        source(corpus / "nothing-*.parquet")
    with pytest.raises(ValueError, match="no column sound; it has audio"):
        source(corpus / "noise-0.parquet", column="sound")
    with pytest.raises(ValueError, match="at least one source"):
        SourceMix([], 16000)


def test_training_and_pipeline_see_the_same_condition(tiny_pipeline):
    """What the network is shown in training is what the pipeline shows it: level, mel, noise floor, grid."""
    audio = noise(16000)
    recording = tiny_pipeline.analyse(audio[None], 16000, seed=0)
    settings = tiny_pipeline.config
    waveform = torch.from_numpy(audio)[None]
    clean_mel, noisy_mel = mel_pair(0 * waveform, waveform, tiny_pipeline.mel_config)
    residual, condition = training_windows(
        clean_mel, noisy_mel, noisy_mel.shape[-1], settings.noise_floor_span, settings.noise_floor_block,
        settings.residual_scale, 0.0, torch.Generator(),
    )  # fmt: skip
    torch.testing.assert_close(condition[0], recording.condition)
    torch.testing.assert_close(residual[0, 0], -noisy_mel[0] / settings.residual_scale)


def test_padded_windows_end_in_silence():
    mel = torch.ones(64, 4, 100)
    residual, condition = training_windows(0 * mel, mel, 96, 64, 16, 1.0, 1.0, torch.Generator().manual_seed(0))
    padding = (condition == 0).all(dim=1).all(dim=1)
    assert padding[:, -1].float().mean() > 0.8
    assert (residual[:, 0].permute(0, 2, 1)[padding] == 0).all()
    assert not padding[:, 0].any()


def test_timesteps_have_their_terminal_share():
    timesteps = draw_timesteps(10000, 1000, 0.4, torch.Generator().manual_seed(0))
    assert 0.37 < (timesteps == 999).float().mean() < 0.43
    assert timesteps.min() == 0


def test_terminal_loss_is_regression(tiny_unet):
    """At the last timestep the target is minus the residual, whatever the noise."""
    scheduler = training_scheduler()
    residual, condition = torch.randn(2, 1, 80, 16), torch.randn(2, 3, 80, 16)
    timesteps = torch.full((2,), 999)
    with torch.no_grad():
        noise_map = torch.randn_like(residual)
        expected = (tiny_unet(noise_map, timesteps, condition).sample + residual).square().mean(dim=(1, 2, 3))
        loss = diffusion_loss(tiny_unet, scheduler, residual, condition, noise_map, timesteps)
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="ill-posed"):
        diffusion_loss(tiny_unet, training_scheduler("epsilon"), residual, condition, noise_map, timesteps)


def test_loss_on_own_estimates_is_the_error_of_the_implied_residual(tiny_unet):
    scheduler = training_scheduler()
    residual, condition, noise_map = torch.randn(2, 1, 80, 16), torch.randn(2, 3, 80, 16), torch.randn(2, 1, 80, 16)
    timesteps, own = torch.tensor([499, 499]), torch.tensor([True, False])
    with torch.no_grad():
        losses = diffusion_loss(tiny_unet, scheduler, residual, condition, noise_map, timesteps, own)
        estimate = own_estimates(tiny_unet, scheduler, condition, noise_map)
        first_step = scheduler_step(scheduler, tiny_unet, noise_map, 999, condition)
        torch.testing.assert_close(estimate, first_step, atol=1e-2, rtol=0)
        noisy_sample = scheduler.add_noise(estimate, noise_map, timesteps)
        implied = scheduler_step(scheduler, tiny_unet, noisy_sample, 499, condition)
        plain = diffusion_loss(tiny_unet, scheduler, residual, condition, noise_map, timesteps)
    torch.testing.assert_close(losses[0], (implied - residual)[0].square().mean(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(losses[1], plain[1], atol=1e-4, rtol=1e-4)


def scheduler_step(scheduler, unet, sample, timestep, condition):
    """The residual that the network's answer implies, by the scheduler's own arithmetic."""
    scheduler.set_timesteps(1000)
    prediction = unet(sample, timestep, condition).sample
    return scheduler.step(prediction, timestep, sample).pred_original_sample


def test_pairs_are_loaded_and_scored(corpus, tiny_pipeline):
    (pair,) = load_pairs(str(corpus / "pairs.parquet"))
    assert pair.noisy.shape == pair.clean.shape == (16000,)
    assert set(score_pairs(tiny_pipeline, [pair], 1)) == {"pesq", "estoi", "si_sdr"}


# The whole run


def tiny_config(corpus, folder, **changes):
    config = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())
    config["output_dir"] = str(folder / "run")
    config["speech"] = [{"path": str(corpus / "speech")}]
    config["noise"] = [{"path": str(corpus / "noise-*.parquet")}]
    config.update(changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def losses(folder):
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.filterwarnings("ignore")
def test_two_steps_give_a_pipeline_that_runs(corpus, tmp_path):
    from training.train import main

    pairs = {"validation_pairs": str(corpus / "pairs.parquet"), "validate_every": 2}
    main(["--config", str(tiny_config(corpus, tmp_path, **pairs))])
    assert sorted(losses(tmp_path)) == [1, 2]
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert "valid_1_steps/si_sdr" in log
    assert "valid_4_steps/si_sdr" in log
    assert list((tmp_path / "run" / "logs").rglob("events*"))
    pipeline = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path / "run" / "pipeline"))
    assert pipeline(noise(5000), 16000).audios.shape == (5000,)


@pytest.mark.filterwarnings("ignore")
def test_a_killed_run_resumes_to_the_same_losses_and_weights(corpus, tmp_path):
    from training.train import main

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        main(
            [
                "--config",
                str(tiny_config(corpus, tmp_path / name, max_train_steps=4, lr_warmup_steps=1, own_estimate_share=1.0)),
            ]
        )
    for folder in ("checkpoint-00000004", "pipeline"):
        shutil.rmtree(tmp_path / "killed" / "run" / folder)
    (tmp_path / "killed" / "run" / "checkpoint.partial").mkdir()  # a write that was cut off
    (tmp_path / "killed" / "run" / "log.jsonl").unlink()
    main(["--config", str(tmp_path / "killed" / "config.yaml"), "--resume"])
    assert losses(tmp_path / "killed") == {4: losses(tmp_path / "whole")[4]}
    weights = [
        (tmp_path / name / "run" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
        for name in ("whole", "killed")
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_two_processes_share_the_work(corpus, tmp_path):
    """Two processes draw different mixtures and end with one checkpoint that a single process can read."""
    config = tiny_config(corpus, tmp_path, max_train_steps=2)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "training/train.py"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, "--config", str(config)], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300
    )
    assert sorted(losses(tmp_path)) == [1, 2]
    pipeline = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path / "run" / "pipeline"))
    assert pipeline(noise(500), 16000).audios.shape == (500,)


def test_a_run_is_not_overwritten_by_accident(corpus, tmp_path, capsys):
    from training.train import main

    config = tiny_config(corpus, tmp_path)
    (tmp_path / "run" / "checkpoint-00000001").mkdir(parents=True)
    with pytest.raises(SystemExit):
        main(["--config", str(config)])
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1}, "unknown field 'learning_rat'"),
        ({"batch_size": "8"}, "batch_size: expected int, got '8'"),
        ({"mixing": {"snr": 1}}, "mixing: unknown field 'snr'"),
        ({"mixing": {"clip_share": 1.5}}, r"mixing: clip_share must be in \[0, 1\], got 1.5"),
        ({"mixing": {"snr_db": [20, -5]}}, "mixing: snr_db must be two numbers, the lower one first"),
        ({"mixing": {"babble_talkers": [4]}}, "mixing: babble_talkers must be two numbers"),
        ({"mixing": {"babble_talkers": [0, 4]}}, "mixing: babble_talkers must be at least 1"),
        ({"mixing": {"music_share": 0.9}}, "music_ and babble_share exclude each other"),
        ({"mixing": {"clean_share": 0.99}}, "clean_share and noise_only_share exclude each other"),
        ({"mixing": {"room_share": 0.5}}, "`rooms` has 0 sources and mixing.room_share is 0.5: give both or neither"),
        ({"rooms": [{"path": "x"}]}, "`rooms` has 1 sources and mixing.room_share is 0.0: give both or neither"),
        ({"speech": {"path": "x"}}, "speech: expected a list"),
        ({"noise": [{"column": "x"}]}, r"noise\[0\].*path"),
    ],
)
def test_mistakes_in_a_config_are_named(corpus, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_config(tiny_config(corpus, tmp_path, **changes))


@pytest.mark.parametrize(
    "path",
    sorted({*(ROOT / "training" / "configs").glob("*.yaml")} - {ROOT / "training" / "configs" / "data.yaml"}),
    ids=lambda path: path.stem,
)
def test_every_config_of_the_repository_is_valid(path):
    from speech_enhance import ConditionalUNet2DModel

    config = load_config(path)
    SpeechEnhancementPipeline(ConditionalUNet2DModel(**config.unet), training_scheduler(), **config.pipeline)
