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
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from conftest import flac, noise
from datasets import Array2D, Audio, ClassLabel, Dataset, Features, IterableDataset, Value, load_dataset
from processes import Process, run

from speech_enhance.audio.datasets import known_column, load_audio_dataset
from speech_enhance.corpus import __main__ as corpus

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
    columns = {
        "audio": sounds,
        "talker": [f"t{index}" for index in range(NUM_ROWS)],
        "score": [None, *range(1, NUM_ROWS)],
    }
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
    assert sorted(path.name for path in (out / "data").iterdir()) == [
        f"train-0000{i}-of-00003.parquet" for i in range(3)
    ]
    result = rows(out)
    assert result["talker"] == [f"t{index}" for index in range(NUM_ROWS)]
    assert result["score"] == [None, *range(1, NUM_ROWS)]
    failed = {
        1: "cannot be read as audio",
        4: "has no sound",
        5: "outside the dataset",
        7: "is empty",
        8: "outside the dataset",
    }
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
    for folder in ("out", "out/data"):
        *result, failed = load_audio_dataset(str(tmp_path / folder), "train", ["audio"])
        lengths = [soundfile.info(row["audio"]["path"]).frames for row in result]
        assert lengths == [len(sound(index)) for index in range(3)]
        assert [row["enhancement_error"] for row in result] == [None] * 3
        assert failed["audio"] is None
        assert "row 3: cannot be read as audio" in failed["enhancement_error"]
    assert [line["status"] for line in report(tmp_path / "out")] == ["enhanced"] * 3 + ["failed"]
    names = pyarrow.parquet.read_table(out / "00000-of-00002" / "metadata.parquet")["file_name"].to_pylist()
    assert names == [f"{index:09d}.flac" for index in range(3)]
    assert corpus.main([str(item) for item in [source, tmp_path / "out", *options]]) == 1


@pytest.fixture
def odd_table(tmp_path) -> Path:
    """A Parquet file of three rows, the last one broken, with columns that Python, JSON or Datasets could stumble
    over."""
    plain = Dataset.from_dict(
        {
            "file_name": ["a", None, "c"],
            "other_file_name": ["x", "y", "z"],
            "enhancement_error": [None, "old", None],
            "blob": [b"\xff\x00", None, b""],
            "struct": [{"bytes": 1, "text": "a"}, None, {"bytes": None, "text": None}],
            "kind": [0, 1, 0],
            "matrix": [[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]],
            "nested": [[{"a": [1]}], [], None],
        }
    )
    plain = plain.cast_column("kind", ClassLabel(names=["no", "yes"])).cast_column("matrix", Array2D((1, 2), "float32"))
    sounds = {
        "audio": [{"bytes": flac(sound(0)), "path": "a.flac"}, {"bytes": flac(sound(1)), "path": None}, None],
        "other": [{"bytes": b"x", "path": None}, None, {"bytes": None, "path": "y"}],
    }
    columns = {name: plain.data.column(name) for name in plain.column_names}
    columns |= {name: pyarrow.array(values, Audio.pa_type) for name, values in sounds.items()}
    columns["late"] = pyarrow.array([10**12, -(10**12), None], pyarrow.timestamp("s"))
    features = Features({**plain.features, "audio": Audio(), "other": Audio(), "late": Value("timestamp[s]")})
    path = tmp_path / "odd" / "part.parquet"
    path.parent.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=features.arrow_schema), path)
    return path


@pytest.mark.parametrize(
    "options", [[], ["--streaming"], ["--layout", "audiofolder"]], ids=["parquet", "streamed", "folder"]
)
def test_other_columns_pass_through_whatever_they_hold(odd_table, tiny_model, capsys, options):
    out = odd_table.parents[1] / "out"
    arguments = [str(item) for item in [odd_table.parent, out, "--model", tiny_model, *options]]
    assert corpus.main(arguments) == 1
    (path,) = out.glob("data/**/*.parquet")
    before, after = pyarrow.parquet.read_table(odd_table), pyarrow.parquet.read_table(path)
    names = {name: name for name in before.column_names}
    if "audiofolder" in options:
        names |= {name: f"{name}_of_input" for name in ("file_name", "other_file_name")}
        assert "the column file_name is called file_name_of_input" in capsys.readouterr().err
        assert [file and (path.parent / file).is_file() for file in after["file_name"].to_pylist()] == [
            True,
            True,
            None,
        ]
    for name, other in names.items():
        if name != "audio":
            assert after[other].combine_chunks() == before[name].combine_chunks(), name
    *enhanced, failed = after["enhancement_error_2"].to_pylist()
    assert enhanced == [None, None]
    assert "row 2: has no sound" in failed
    features, loaded = Features.from_arrow_schema(before.schema), Features.from_arrow_schema(after.schema)
    assert {name: loaded[name] for name in ("kind", "late", "matrix", "nested")} == {
        name: features[name] for name in ("kind", "late", "matrix", "nested")
    }
    # What came out goes in again.
    assert corpus.main([str(out), str(out.with_name("again")), *arguments[2:]]) == 1
    again = load_audio_dataset(str(out.with_name("again")), "train", ["audio"])
    assert {"enhancement_error", "enhancement_error_2", "enhancement_error_3"} < set(again.column_names)
    sounds = again["audio"]
    assert [bool(entry) for entry in sounds] == [True, True, False]
    lengths = [
        soundfile.info(io.BytesIO(item["bytes"]) if item["bytes"] else item["path"]).frames for item in sounds[:2]
    ]
    assert lengths == [len(sound(0)), len(sound(1))]


@pytest.mark.parametrize("options", [[], ["--streaming"]], ids=["held", "streamed"])
def test_a_dataset_without_rows_is_told_in_a_line(odd_table, capsys, options):
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(odd_table).slice(0, 0), odd_table)
    assert corpus.main([str(odd_table), str(odd_table.parents[1] / "out"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no rows" in line


def test_an_output_in_its_own_dataset_is_refused(table, monkeypatch, capsys):
    monkeypatch.chdir(table.parent)
    (table.parent / "link").symlink_to(table.parent)
    places = [(".", "out"), (table.parent, "."), ("link", "out"), ("./out/data/*.parquet", "out"), ("out/data", "out")]
    (table.parent / "out" / "data").mkdir(parents=True)
    for dataset, output in places:
        assert corpus.main([str(dataset), output]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"speech-enhance: error: {output} lies in the dataset {dataset}")
    assert not list((table.parent / "out").rglob("*.json"))


def test_another_path_to_the_same_dataset_goes_on(table, tiny_model, monkeypatch, capsys):
    monkeypatch.chdir(table.parents[1])
    for path in ("data", "./data/", "data/../data", table.parent):
        assert corpus.main([str(path), "out", "--model", str(tiny_model)]) == 1
    assert corpus.main(["elsewhere", "out", "--model", str(tiny_model)]) == 2
    assert "was begun with dataset 'data', not 'elsewhere'" in capsys.readouterr().err


def test_folders_of_parquet_files(table, tmp_path):
    for index, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")):
        (tmp_path / "set" / "data").mkdir(parents=True, exist_ok=True)
        Dataset.from_dict({"audio": [{"bytes": b"", "path": "x"}], "at": [index]}).to_parquet(
            tmp_path / "set" / "data" / f"{name}.parquet"
        )
    (tmp_path / "set" / ".hidden.parquet").write_bytes(b"")
    for split, rows in (("train", [0, 1]), ("test", [2])):
        assert load_audio_dataset(str(tmp_path / "set"), split, ["audio"])["at"] == rows
    with pytest.raises(ValueError, match="holds Parquet files of test, train, none of 'valid'"):
        load_audio_dataset(str(tmp_path / "set"), "valid", ["audio"])
    assert len(load_audio_dataset(str(table.parent), "valid", ["audio"])) == NUM_ROWS


def test_a_folder_of_audio_holds_what_a_folder_job_takes(tmp_path):
    names = ["a.wave", "b.oga", "c.m4a", "d.mkv", "e.sph", "f.opus"]
    for name in [*names, "notes.txt", "._a.wave"]:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.wav").mkdir()
    rows = load_audio_dataset(str(tmp_path), "train", ["audio"])
    assert [Path(row["audio"]["path"]).name for row in rows] == names


def test_a_corpus_that_is_read_as_it_goes_by(table, tiny_model):
    """Shards are its files."""
    for index in range(2):
        dataset = Dataset.from_dict(
            {
                "audio": [{"bytes": flac(sound(3 * index + i)), "path": f"{i}.flac"} for i in range(3)],
                "at": [3 * index + i for i in range(3)],
            }
        )
        dataset.to_parquet(table.parent / f"part-{index}.parquet")
    out = table.parents[1] / "out"
    arguments = [table.parent / "part-*.parquet", out, "--model", tiny_model, "--streaming"]
    assert corpus.main([str(item) for item in arguments]) == 0
    assert len(list((out / "data").iterdir())) == 2
    result = rows(out)
    assert result["at"] == list(range(6))
    assert [(line["shard"], line["row"]) for line in report(out)] == [
        (shard, row) for shard in (0, 1) for row in range(3)
    ]
    assert len({row["audio"]["path"] for row in result}) == 6
    assert [soundfile.info(io.BytesIO(row["audio"]["bytes"])).frames for row in result] == [
        len(sound(i)) for i in range(6)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"), [(["nowhere-*.parquet"], "no file matches"), (["."], "no audio files")]
)
def test_datasets_that_cannot_be_loaded_are_named(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert corpus.main([*arguments, "../out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"speech-enhance: error: cannot load the dataset {arguments[0]}")
    assert message in line
    assert not (tmp_path.parent / "out").exists()


@pytest.mark.slow
def test_without_datasets_it_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['datasets'] = None; from speech_enhance.corpus import __main__ as corpus; "
        "sys.exit(corpus.main(['x.parquet', 'out']))"
    )
    result = run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "pip install datasets" in line


def test_processes_share_all_shards_and_help_each_other():
    for num_shards, world in ((0, 3), (1, 3), (7, 3), (12, 4)):
        processes = [corpus.Process(rank, world, "cpu") for rank in range(world)]
        shares = [shard for process in processes for shard in process.share(num_shards)]
        assert sorted(shares) == list(range(num_shards))
        assert all(sorted(process.order(num_shards)) == list(range(num_shards)) for process in processes)
    assert corpus.Process(1, 3, "cpu").order(7) == [1, 4, 6, 5, 3, 2, 0]


@pytest.mark.slow
def test_two_processes_one_killed_and_restarted_lose_and_double_nothing(tmp_path, tiny_model):
    sounds = [{"bytes": flac(sound(index % 9)), "path": f"{index}.flac"} for index in range(12)]
    Dataset.from_dict({"audio": sounds, "at": list(range(12))}).to_parquet(tmp_path / "noisy.parquet")
    common = ["-m", "speech_enhance.corpus", "noisy.parquet"]
    options = ["--model", tiny_model, "--rows-per-shard", "2", "--steps", "12"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]

    def start(*command) -> subprocess.Popen:
        command = [str(item) for item in command]
        return Process(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

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
    assert 0 < len(list(tmp_path.glob("two/data/*"))) < 6

    run = start(*launcher, *common, "two", *options)
    _, messages = run.communicate(timeout=300)
    assert run.returncode == 0, messages
    assert "complete: 12 rows, 0 failed" in messages
    run = start(sys.executable, *common, "one", *options)
    _, messages = run.communicate(timeout=300)
    assert run.returncode == 0, messages
    together, alone = rows(tmp_path / "two"), rows(tmp_path / "one")
    assert together["at"] == alone["at"] == list(range(12))
    for one, other in zip(alone, together, strict=True):
        samples = [soundfile.read(io.BytesIO(row["audio"]["bytes"]))[0] for row in (one, other)]
        np.testing.assert_allclose(*samples, atol=1e-4)
    assert [line["row"] for line in report(tmp_path / "two")] == list(range(12))


def test_a_stream_of_rows_with_unknown_columns_is_refused():
    rows = IterableDataset.from_generator(lambda: iter([{"file": "a.wav"}]))
    with pytest.raises(ValueError, match="user/rows: its columns are not known before it is read"):
        known_column("file", rows, "user/rows")
