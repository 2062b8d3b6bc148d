import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import typing
import warnings

import pytest
import torch
import yaml
from conftest import ROOT, noise, quiet
from processes import Process
from safetensors.torch import load_file
from training_runs import tiny_config

from speech_enhance import SpeechEnhancementPipeline
from training.config import TrainingConfig, load_config
from training.corpora.prepare_data import DataConfig
from training.corpora.recordings import CorpusConfig
from training.evaluation.ablate import AblationPlan
from training.mixtures.degradation import DegradationConfig
from training.mixtures.mixing import MixingConfig
from training.mixtures.sources import AudioSource, SourceConfig
from training.mixtures.tracks import TrackConfig
from training.own_pairs import make_own_pairs, scored_pairs
from training.pairs.making import PairsConfig
from training.progress import CLOCKS, progress_bar
from training.validation import load_pairs, score_pairs
from training.vocoder.train_vocoder import VocoderConfig
from training.weights import export_pipeline


def losses(folder):
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_keeps_pairs_apart_and_ends_with_scores_folder_and_command(corpus, tmp_path, capsys):
    from training.train import main

    sources = {
        "speech": [{"path": str(corpus / "speech"), "valid_share": 0.25}],
        "noise": [{"path": str(corpus / "noise-*.parquet"), "valid_share": 0.5}],
    }
    options = {"own_pairs": 2, "validation_steps": [1], "validate_every": 0, "max_train_steps": 1}
    main(["--config", str(tiny_config(corpus, tmp_path, **sources, **options))])
    scores, folder, command = capsys.readouterr().out.splitlines()
    number = r"-?\d+\.\d+"
    assert re.fullmatch(
        rf"Before → after, on 2 pairs kept apart: PESQ {number} → {number}, ESTOI {number} → {number}, "
        rf"SI-SDR {number} → {number}",
        scores,
    )
    model = tmp_path / "run" / "pipeline"
    assert (folder, command) == (
        f"The model is in {model}",
        f"Try it: speech-enhance NOISY.wav ENHANCED.wav --model {model}",
    )
    assert b"example/enhanced" in b"".join(file.read_bytes() for file in (tmp_path / "run" / "logs").rglob("events*"))
    (talker,) = {pair.info["speaker_id"] for pair in load_pairs(str(tmp_path / "run" / "own-pairs.parquet"))}
    assert talker == "recording-0"
    train, valid = (AudioSource(SourceConfig(**sources["speech"][0], side=side), 16000) for side in ("train", "valid"))
    assert sorted([*train.info["score"], *valid.info["score"]]) == [0, 1, 2, 3]
    assert len(valid) == 1


def test_one_recording_alone_trains_and_that_is_said(corpus, tmp_path, capsys):
    source = {"path": str(corpus / "speech"), "valid_share": 0.5}
    sources = {"speech": [source], "noise": [source | {"minimum": {"score": 3}}]}
    config = load_config(tiny_config(corpus, tmp_path, **sources, own_pairs=2))
    make_own_pairs(config, 16000)
    assert "has one recording, which trains: no pairs are kept apart" in capsys.readouterr().err
    assert scored_pairs(config, 16000) == []
    assert len(AudioSource(config.noise[0], 16000)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"own_pairs": 2}, "speech: expected a source with a valid_share above 0, for own_pairs"),
        ({"own_pairs": 2, "validation_pairs": "x.parquet"}, "validation_pairs: expected none with own_pairs"),
    ],
)
def test_own_pairs_need_recordings_apart(corpus, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_config(tiny_config(corpus, tmp_path, **changes))


def test_the_bar_shows_the_share_of_the_time_and_what_is_left(capsys):
    bar = progress_bar(0.25, step=6, disable=False)
    bar.start_t -= 30
    bar.update(0.25)
    bar.set_description("step 7")
    bar.close()
    shown = capsys.readouterr().err
    assert "step 6:  25%|" in shown
    assert re.search(r"step 7:  50%\|.*00:30 so far, 01:00 left", shown)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("self_conditioning", [False, True])
def test_few_steps_of_sampling_can_be_trained(corpus, tmp_path, share, self_conditioning):
    from training.train import main

    changes = {}
    if self_conditioning:
        tiny = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())
        changes = {
            "unet": tiny["unet"] | {"in_channels": 160},
            "pipeline": tiny["pipeline"] | {"self_conditioning": True},
            "stochastic_share": 0.5,
            "few_step_all_gradients": True,
            "own_estimate_share": 0.5,
        }
    main(
        [
            "--config",
            str(
                tiny_config(
                    corpus,
                    tmp_path,
                    max_train_steps=6,
                    few_step_share=share,
                    few_step_number=[3, 1],
                    spectrum_loss_weight=0.5,
                    perceptual_loss_weight=0.5,
                    **changes,
                )
            ),
        ]
    )
    assert all(loss > 0 for loss in losses(tmp_path).values())
    names = {name for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines() for name in json.loads(line)}
    assert "loss_few_steps" in names
    assert share < 1 or not names & {"loss_low", "loss_middle", "loss_high", "loss_terminal"}, "they have no timestep"


@pytest.mark.slow
def test_mixed_precision_outlasts_validation(corpus, tmp_path, monkeypatch):
    from accelerate.state import AcceleratorState

    from training import train

    AcceleratorState._reset_state(reset_partial_state=True)  # it keeps the precision of the process's first run
    monkeypatch.setattr(train, "usable_precision", lambda precision: precision)
    pairs = {"validation_pairs": str(corpus / "pairs.parquet"), "validate_every": 1}
    trainer = train.Trainer(load_config(tiny_config(corpus, tmp_path, mixed_precision="bf16", **pairs)))
    seen = []
    trainer.unet.conv_in.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    trainer.train()
    AcceleratorState._reset_state(reset_partial_state=True)
    assert seen == [torch.bfloat16] * 2


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_losses_and_weights(corpus, tmp_path):
    from training.train import main

    unet = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())["unet"] | {"dropout": 0.1}
    options = {"max_train_steps": 4, "lr_warmup_steps": 1, "own_estimate_share": 1.0, "unet": unet}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        main(["--config", str(tiny_config(corpus, tmp_path / name, **options))])
    for folder in ("checkpoint-00000004", "pipeline"):
        shutil.rmtree(tmp_path / "killed" / "run" / folder)
    (tmp_path / "killed" / "run" / "checkpoint.partial").mkdir()  # a write that was cut off
    (tmp_path / "killed" / "run" / "log.jsonl").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        main(["--config", str(tmp_path / "killed" / "config.yaml"), "--resume"])
    assert losses(tmp_path / "killed") == {4: losses(tmp_path / "whole")[4]}
    weights = [
        (tmp_path / name / "run" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
        for name in ("whole", "killed")
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_run_on_ready_tracks_resumes_to_the_same_losses(corpus, tmp_path):
    from training.train import main

    tracks = {
        "tracks": {"number": 5, "uses": 2},
        "few_step_share": 0.5,
        "few_step_number": [2, 1],
        "stochastic_share": 0.5,
    }
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        main(["--config", str(tiny_config(corpus, tmp_path / name, max_train_steps=4, **tracks))])
    shutil.rmtree(tmp_path / "killed" / "run" / "checkpoint-00000004")
    (tmp_path / "killed" / "run" / "log.jsonl").unlink()
    main(["--config", str(tmp_path / "killed" / "config.yaml"), "--resume"])
    assert losses(tmp_path / "killed") == {4: losses(tmp_path / "whole")[4]}


def test_averaged_weights_come_out_in_pieces(corpus, tmp_path, monkeypatch):
    from training import train
    from training.carry import join_folder

    exported = []

    def export(pipeline, folder):
        exported.append(folder)
        export_pipeline(pipeline, folder)

    monkeypatch.setattr(train, "export_pipeline", export)
    carry = {"carry_to": str(tmp_path / "carry"), "carry_every_minutes": 1e-6, "checkpoint_every": 2}
    train.main(["--config", str(tiny_config(corpus, tmp_path, max_train_steps=4, **carry))])
    assert exported == [tmp_path / "run" / "pipeline"] * 4, "once a step, for the checkpoint too"
    join_folder(tmp_path / "carry", tmp_path / "carried")
    carried, final = (
        (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
        for folder in (tmp_path / "carried", tmp_path / "run" / "pipeline")
    )
    assert carried == final


def launch(config, *options, processes: int = 1) -> subprocess.Popen:
    """A training run in a process of its own, or in several, with one thread each."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] * (processes > 1)
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "training/train.py", "--config", str(config), *options]
    return Process(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def finish(run: subprocess.Popen) -> None:
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors


def exported_weights(folder) -> dict:
    return load_file(folder / "run" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(corpus, tmp_path):
    """SIGKILL at whatever moment: while starting, in a step, while a checkpoint is written."""
    from training.train import main

    options = {"max_train_steps": 40, "lr_warmup_steps": 2, "own_estimate_share": 1.0}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        tiny_config(corpus, tmp_path / name, **options)
    main(["--config", str(tmp_path / "whole" / "config.yaml")])
    log = tmp_path / "killed" / "run" / "log.jsonl"
    for kill in (0, 2):
        run = launch(tmp_path / "killed" / "config.yaml", "--resume")
        lines = len(log.read_text().splitlines()) if log.exists() else 0
        while run.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < lines + 7 + kill):
            time.sleep(0.01)
        time.sleep(0.03 * kill)
        run.kill()
        run.communicate()
        assert run.returncode == -signal.SIGKILL
    main(["--config", str(tmp_path / "killed" / "config.yaml"), "--resume"])
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) > 40  # some steps were taken again
    expected = losses(tmp_path / "whole")
    assert all(line["loss"] == expected[line["step"]] for line in lines)
    assert {line["step"] for line in lines} == set(expected)
    whole, killed = exported_weights(tmp_path / "whole"), exported_weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(corpus, tmp_path):
    from training.train import main

    options = {"max_train_steps": 6, "lr_warmup_steps": 1, "own_estimate_share": 0.5, "terminal_share": 0.3}
    configs = []
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        configs.append(tiny_config(corpus, tmp_path / str(processes), batch_size=4 // processes, **options))
    main(["--config", str(configs[0])])
    finish(launch(configs[1], processes=2))
    single, double = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert sorted(double) == list(range(1, 7))
    assert double == pytest.approx(single, rel=1e-4)
    single, double = exported_weights(tmp_path / "1"), exported_weights(tmp_path / "2")
    for name in single:
        torch.testing.assert_close(double[name], single[name], rtol=2e-3, atol=1e-4)


@pytest.mark.slow
def test_accumulated_batches_train_as_one_batch(corpus, tmp_path):
    from training.train import main

    options = {"max_train_steps": 3, "lr_warmup_steps": 1, "own_estimate_share": 0.5, "terminal_share": 0.3}
    for name, sizes in {
        "whole": {"batch_size": 4},
        "parts": {"batch_size": 2, "gradient_accumulation_steps": 2},
    }.items():
        (tmp_path / name).mkdir()
        main(["--config", str(tiny_config(corpus, tmp_path / name, **sizes, **options))])
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


@pytest.mark.slow
def test_a_time_budget_ends_the_run_and_its_schedule(corpus, tmp_path, capsys, monkeypatch):
    from training.train import main

    monkeypatch.setitem(CLOCKS, "wall", itertools.count(step=0.05).__next__)  # seconds that pass at each look at it
    config = tiny_config(corpus, tmp_path, max_train_steps=100000, lr_warmup_steps=2, checkpoint_every=0)
    main(["--config", str(config), "--max-minutes", "0.05"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert 5 < len(lines) < 3 / 0.05
    rates = [line["learning_rate"] for line in lines[2:]]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 3e-4
    assert rates[-1] < 1e-6
    assert lines[-1]["windows_per_second"] > 0
    assert 0 < lines[-1]["data_wait_share"] < 1
    assert (tmp_path / "run" / "pipeline").is_dir()
    capsys.readouterr()
    main(["--config", str(config), "--max-minutes", "0.05", "--resume"])  # the budget is that of all parts together
    assert re.search(r"step \d+: +\d+%", capsys.readouterr().err)[0] == f"step {lines[-1]['step']}: 100%"
    again = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(again) == len(lines) + 1


@pytest.mark.slow
def test_the_best_weights_are_kept_and_another_run_can_start_from_them(corpus, tmp_path):
    from training.train import Trainer, main

    validation = {"validation_pairs": str(corpus / "pairs.parquet"), "validation_steps": [1], "validate_every": 1}
    config = tiny_config(corpus, tmp_path, max_train_steps=3, best_metric="si_sdr", learning_rate=1e-2, **validation)
    main(["--config", str(config)])
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["valid_1_steps/si_sdr"] for line in lines if "valid_1_steps/si_sdr" in line}
    assert sorted(scores) == [0, 1, 2, 3]
    best = quiet(SpeechEnhancementPipeline.from_pretrained(tmp_path / "run" / "pipeline-best"))
    expected = max(score for step, score in scores.items() if step > 0)
    assert score_pairs(best, load_pairs(str(corpus / "pairs.parquet")), 1)["si_sdr"] == pytest.approx(
        expected, abs=0.05
    )
    (tmp_path / "next").mkdir()
    start = str(tmp_path / "run" / "pipeline-best")
    trainer = Trainer(load_config(tiny_config(corpus, tmp_path / "next", init_from=start)))
    averaged = trainer.averaged_pipeline().unet.state_dict()
    for name, value in best.unet.state_dict().items():
        assert torch.equal(averaged[name], value.float())
    unet = {**yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())["unet"], "norm_num_groups": 2}
    with pytest.raises(ValueError, match="init_from: the network of"):
        Trainer(load_config(tiny_config(corpus, tmp_path / "next", init_from=start, unet=unet)))


def test_a_run_that_diverges_stops_and_keeps_its_last_good_checkpoint(corpus, tmp_path):
    from training.train import main

    config = tiny_config(corpus, tmp_path, max_train_steps=20, lr_warmup_steps=0, learning_rate=1e25)
    with pytest.raises(RuntimeError, match=r"not finite at step \d+: .*lower learning_rate"):
        main(["--config", str(config)])
    assert not (tmp_path / "run" / "checkpoint-00000020").exists()


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
        ({"speech": {"path": "x"}}, "speech: expected a list"),
        ({"noise": [{"column": "x"}]}, r"noise\[0\].*path"),
        ({"noise": []}, r"noise: expected sources at paired_share 0\.0, got \[\]"),
        ({"paired_share": 0.5}, "pairs: expected sources"),
        ({"best_metric": "loudness"}, "best_metric: expected one of pesq, estoi, si_sdr"),
        ({"mixed_precision": "half"}, "mixed_precision: expected one of no, fp16, bf16"),
        ({"max_minutes": 0}, "max_minutes must be above 0, got 0"),
        ({"ema_decay": 2}, "ema_decay must be from 0 to below 1, got 2"),
        ({"padded_share": 7}, "padded_share must be from 0 to 1, got 7"),
        ({"max_grad_norm": -1}, "max_grad_norm must be above 0, got -1"),
        ({"validation_steps": [1, 0]}, r"validation_steps must be from 1 to 1000, got \[1, 0\]"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number, got nan"),
        ({"mixing": {"seconds": 0}}, "mixing: seconds must be above 0 to 3600, got 0"),
        ({"mixing": {"speed_range": [0.1, 1]}}, "mixing: speed_range must be above 0.5"),
        ({"prediction_type": "epsilon"}, "prediction_type: expected one of v_prediction, sample, got 'epsilon'"),
        ({"lr_scheduler": "piecewise_constant"}, "lr_scheduler: expected one of linear"),
        ({"unet": {"layers": 1}}, "unet: unknown field 'layers'; known are sample_size"),
        ({"unet": {"block_out_channels": 5}}, "unet: .*int"),
        ({"pipeline": {"hop": 1}}, "pipeline: unknown field 'hop'; known are sampling_rate"),
        ({"pipeline": {"overlap_frames": 9}}, "pipeline: `overlap_frames` must be"),
        ({"few_step_number": [1, "4"]}, r"few_step_number\[1\]: expected int, got '4'"),
        ({"few_step_number": []}, "few_step_number: expected a whole number from 1, or several"),
        ({"perceptual_loss_weight": 1.0}, "perceptual_loss_weight: expected 0 at few_step_share 0"),
    ],
)
def test_mistakes_in_a_config_are_named(corpus, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_config(tiny_config(corpus, tmp_path, **changes))


@pytest.mark.parametrize(
    "config",
    [
        TrainingConfig("run", speech=[SourceConfig("x")], noise=[SourceConfig("x")]),
        VocoderConfig("run", [SourceConfig("x")], mel_layout="speecht5"),
        AblationPlan("x.yaml", {"first": {}}),
        DataConfig([]),
        CorpusConfig("x", "noise", "x", licence="x"),
        *(kind() for kind in (MixingConfig, DegradationConfig, PairsConfig, TrackConfig)),
        SourceConfig("x"),
    ],
    ids=lambda config: type(config).__name__,
)
def test_every_number_of_every_config_has_bounds(config):
    hints = typing.get_type_hints(type(config))
    numbers = {name: hint for name, hint in hints.items() if "int" in str(hint) or "float" in str(hint)}
    numbers = {name: hint for name, hint in numbers.items() if not str(hint).startswith("dict")}
    assert numbers
    for name, hint in numbers.items():
        for number in (-1e6, float("nan")):
            value = {tuple: (number, number), list: [number]}.get(typing.get_origin(hint), number)
            with pytest.raises(ValueError, match=name):
                dataclasses.replace(config, **{name: value})


def test_a_folder_in_which_a_run_trains_is_left_to_it(corpus, tmp_path, capsys):
    from training.train import main

    config = tiny_config(corpus, tmp_path)
    (tmp_path / "run").mkdir()
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for options in ([], ["--resume"]):
            with pytest.raises(SystemExit) as exit:
                main(["--config", str(config), *options])
            assert exit.value.code == 2
            assert "another run trains in this folder" in capsys.readouterr().err.splitlines()[-1]
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
        other.communicate(b"\n")
    main(["--config", str(config)])


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2000, 20000, 200000])
def test_a_full_disk_is_told_in_a_line_and_leaves_the_last_checkpoint(corpus, tmp_path, capsys, limit):
    """Limits of a file's size stand for a disk with as much room."""
    import resource

    from training.train import main

    main(["--config", str(tiny_config(corpus, tmp_path, max_train_steps=1))])
    run = tmp_path / "run"
    before = {path: path.read_bytes() for name in ("checkpoint*", "pipeline") for path in run.glob(name + "/**/*.*")}
    size = max(len(content) for content in before.values())
    assert size > 200000
    config = str(tiny_config(corpus, tmp_path, max_train_steps=2))
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(SystemExit) as exit:
            main(["--config", config, "--resume"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert exit.value.code == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert re.search(r"error: .*/run.*(cannot be written|File too large).* \(--resume goes on", errors.splitlines()[-1])
    assert {path: path.read_bytes() for path in before} == before
    assert not list(run.glob("*.partial"))
    main(["--config", config, "--resume"])
    assert (run / "checkpoint-00000002" / "run.json").exists()


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in (ROOT / "training" / "configs").glob("*.yaml")
        if path.stem.split("-")[0] not in ("data", "ablations", "vocoder", "exam")
    ),
    ids=lambda path: path.stem,
)
def test_every_config_of_the_repository_is_valid(path):
    load_config(path)
