"""A dataset of audio in, an enhanced one out: every row once, whatever happens to rows and processes."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from conftest import flac, noise
from datasets import Audio, Dataset, load_dataset

from speech_enhance import corpus
from speech_enhance.audio_datasets import load_audio_dataset

NUM_ROWS = 11


def sound(index: int) -> np.ndarray:
    return noise(2000 + 500 * index, seed=index)


@pytest.fixture
def table(tmp_path) -> Path:
    """A Parquet file of eleven rows, of which five have something wrong with them."""
    private = tmp_path / "elsewhere" / "private.wav"
    private.parent.mkdir()
    soundfile.write(private, noise(3000), 16000)
    sounds = [{"bytes": flac(sound(index)), "path": f"{index}.flac"} for index in range(NUM_ROWS)]
    sounds[1] = {"bytes": b"not audio", "path": "../../x.wav"}
    sounds[2] = {"bytes": flac(sound(2)), "path": None}
    sounds[4] = None
    sounds[5] = {"bytes": None, "path": str(private)}
    sounds[7] = {"bytes": b"", "path": "7.wav"}
    sounds[8] = {"bytes": None, "path": f"{tmp_path}/data/../elsewhere/private.wav"}
    path = tmp_path / "data" / "noisy.parquet"
    path.parent.mkdir()
    columns = {"audio": sounds, "talker": [f"t{index}" for index in range(NUM_ROWS)], "score": [None, *range(1, NUM_ROWS)]}  # fmt: skip
    dataset = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
    dataset.to_parquet(path)
    return path


def enhance(table, model, *options) -> int:
    arguments = [table, table.parents[1] / "out", "--model", model, "--rows-per-shard", 4, *options]
    return corpus.main([str(item) for item in arguments])


def rows(folder) -> Dataset:
    return load_dataset(str(folder), split="train").cast_column("audio", Audio(decode=False))


def report(folder) -> list[dict]:
    files = sorted((folder / "reports").iterdir())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_every_row_comes_out_once_and_a_broken_one_stops_nothing(table, tiny_model, capsys):
    assert enhance(table, tiny_model) == 1
    out = table.parents[1] / "out"
    assert sorted(path.name for path in (out / "data").iterdir()) == [f"train-0000{i}-of-00003.parquet" for i in range(3)]  # fmt: skip
    result = rows(out)
    assert result["talker"] == [f"t{index}" for index in range(NUM_ROWS)]
    assert result["score"] == [None, *range(1, NUM_ROWS)]
    failed = {1: "cannot be read as audio", 4: "has no sound", 5: "outside the dataset", 7: "is empty", 8: "outside the dataset"}  # fmt: skip
    for index, row in enumerate(result):
        if index in failed:
            assert row["audio"] is None
            assert failed[index] in row["enhancement_error"]
            assert row["enhancement_error"].startswith(f"row {index}: ")
        else:
            assert row["enhancement_error"] is None
            enhanced, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
            assert (len(enhanced), rate) == (len(sound(index)), 16000)
            assert row["audio"]["path"] == f"{index:09d}.flac"
    lines = report(out)
    assert [line["row"] for line in lines] == list(range(NUM_ROWS))
    assert [line["row"] for line in lines if line["status"] == "failed"] == sorted(failed)
    assert lines[0]["real_time_factor"] == pytest.approx(lines[0]["seconds"] / lines[0]["duration"], abs=1e-3)
    assert "complete: 11 rows, 5 failed" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_done_stays_done_and_what_is_lost_comes_back_the_same(table, tiny_model):
    enhance(table, tiny_model)
    out = table.parents[1] / "out"
    shards = sorted((out / "data").iterdir())
    before = {path: path.read_bytes() for path in shards}
    times = {path: path.stat().st_mtime_ns for path in shards}
    shards[1].unlink()
    assert enhance(table, tiny_model) == 1
    assert {path: path.read_bytes() for path in shards} == before
    assert [path for path in shards if path.stat().st_mtime_ns != times[path]] == [shards[1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "1"], "was begun with how"),
        (["--rows-per-shard", "5"], "was begun with rows_per_shard 4, not 5"),
        (["--audio-format", "wav"], "was begun with audio_format None, not 'wav'"),
        (["--column", "talker2"], "no column talker2"),
        (["--split", "test", "--streaming"], "was begun with split"),
        (["--rows-per-shard", "0"], "whole number from 1"),
    ],
)
def test_a_corpus_is_not_mixed_of_several(table, tiny_model, capsys, options, message):
    enhance(table, tiny_model)
    capsys.readouterr()
    assert enhance(table, tiny_model, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_corpus_that_has_changed_is_noticed(table, tiny_model, capsys):
    enhance(table, tiny_model)
    Dataset.from_dict({"audio": [{"bytes": flac(noise(900)), "path": "x"}] * NUM_ROWS}).to_parquet(table)
    assert enhance(table, tiny_model) == 2
    assert "was begun with columns" in capsys.readouterr().err.splitlines()[-1]


def test_audio_folders_in_and_out(tmp_path, tiny_model):
    source = tmp_path / "recordings"
    (source / "deep").mkdir(parents=True)
    for index in range(3):
        soundfile.write(source / "deep" / f"{index}.wav", sound(index), 16000)
    (source / "deep" / "bad.wav").write_bytes(b"RIFF")
    options = ["--model", tiny_model, "--layout", "audiofolder", "--audio-format", "flac", "--rows-per-shard", "3"]
    assert corpus.main([str(item) for item in [source, tmp_path / "out", *options]]) == 1
    out = tmp_path / "out" / "data" / "train"
    assert [path.name for path in sorted(out.iterdir())] == ["00000-of-00002", "00001-of-00002"]
    result = load_audio_dataset(str(tmp_path / "out" / "data"), "train", ["audio"])
    lengths = [soundfile.info(row["audio"]["path"]).frames for row in result]
    assert lengths == [len(sound(index)) for index in range(3)]
    assert [line["status"] for line in report(tmp_path / "out")] == ["enhanced"] * 3 + ["failed"]
    names = [
        json.loads(line)["file_name"] for line in (out / "00000-of-00002" / "metadata.jsonl").read_text().splitlines()
    ]
    assert names == [f"{index:09d}.flac" for index in range(3)]
    assert corpus.main([str(item) for item in [source, tmp_path / "out", *options]]) == 1


def test_a_corpus_that_is_read_as_it_goes_by(table, tiny_model):
    """Shards are its files."""
    for index in range(2):
        dataset = Dataset.from_dict({"audio": [{"bytes": flac(sound(3 * index + i)), "path": f"{i}.flac"} for i in range(3)], "at": [3 * index + i for i in range(3)]})  # fmt: skip
        dataset.to_parquet(table.parent / f"part-{index}.parquet")
    out = table.parents[1] / "out"
    arguments = [table.parent / "part-*.parquet", out, "--model", tiny_model, "--streaming"]
    assert corpus.main([str(item) for item in arguments]) == 0
    assert len(list((out / "data").iterdir())) == 2
    result = rows(out)
    assert result["at"] == list(range(6))
    assert [soundfile.info(io.BytesIO(row["audio"]["bytes"])).frames for row in result] == [len(sound(i)) for i in range(6)]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), [(["nowhere-*.parquet"], "no file matches"), (["."], "no audio files")])  # fmt: skip
def test_datasets_that_cannot_be_loaded_are_named(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert corpus.main([*arguments, "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"speech-enhance: error: cannot load the dataset {arguments[0]}")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_without_datasets_it_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['datasets'] = None; from speech_enhance import corpus; sys.exit(corpus.main(['x.parquet', 'out']))"  # fmt: skip
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert 'pip install "speech-enhance[corpus]"' in line


def test_processes_share_all_shards_and_help_each_other():
    for num_shards, world in ((0, 3), (1, 3), (7, 3), (12, 4)):
        processes = [corpus.Process(rank, world, "cpu") for rank in range(world)]
        shares = [shard for process in processes for shard in process.share(num_shards)]
        assert sorted(shares) == list(range(num_shards))
        assert all(sorted(process.order(num_shards)) == list(range(num_shards)) for process in processes)
    assert corpus.Process(1, 3, "cpu").order(7) == [1, 4, 6, 5, 3, 2, 0]


@pytest.mark.slow
def test_two_processes_one_killed_and_restarted_lose_and_double_nothing(tmp_path, tiny_model):
    sounds = [{"bytes": flac(sound(index % 9)), "path": f"{index}.flac"} for index in range(24)]
    Dataset.from_dict({"audio": sounds, "at": list(range(24))}).to_parquet(tmp_path / "noisy.parquet")
    common = ["-m", "speech_enhance.corpus", "noisy.parquet"]
    options = ["--model", tiny_model, "--rows-per-shard", "2", "--steps", "20"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]

    def start(*command) -> subprocess.Popen:
        command = [str(item) for item in command]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    run = start(*launcher, *common, "two", *options)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("two/data/*.parquet")):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [child for child in psutil.Process(run.pid).children() if "speech_enhance.corpus" in child.cmdline()]
    assert len(workers) == 2
    workers[1].send_signal(signal.SIGKILL)
    run.communicate(timeout=120)
    assert run.returncode == 1
    assert 0 < len(list(tmp_path.glob("two/data/*"))) < 12

    run = start(*launcher, *common, "two", *options)
    _, messages = run.communicate(timeout=300)
    assert run.returncode == 0, messages
    assert "complete: 24 rows, 0 failed" in messages
    run = start(sys.executable, *common, "one", *options)
    _, messages = run.communicate(timeout=300)
    assert run.returncode == 0, messages
    together, alone = rows(tmp_path / "two"), rows(tmp_path / "one")
    assert together["at"] == alone["at"] == list(range(24))
    for one, other in zip(alone, together, strict=True):
        samples = [soundfile.read(io.BytesIO(row["audio"]["bytes"]))[0] for row in (one, other)]
        np.testing.assert_allclose(*samples, atol=1e-4)
    assert [line["row"] for line in report(tmp_path / "two")] == list(range(24))
