"""Several recordings at once, previews, and what was taken away."""

import io
import os

import numpy as np
import pytest
import soundfile
from conftest import noise

from speech_enhance import cli
from speech_enhance.audio.excerpts import excerpt_with_speech
from speech_enhance.audio.files import open_audio


def write(path, seconds=0.5, seed=0, channels=1, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = noise(round(seconds * rate), channels=channels, seed=seed)
    soundfile.write(path, audio.T, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def command(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_several_files_go_to_a_folder_under_their_names(tmp_path, tiny_model, capsys):
    first, second = write(tmp_path / "a.wav"), write(tmp_path / "in" / "b.flac", seed=1)
    options = ["--model", tiny_model, "--seed", 3]
    assert command(first, *options, second, tmp_path / "out") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"[1/2] {tmp_path}/out/a.wav",
        f"[2/2] {tmp_path}/out/b.flac",
        "speech-enhance",
    ]
    assert "1 step, 3 estimates" in lines[0]
    assert lines[-1] == "speech-enhance: 2 files enhanced, 0 failed"
    assert command(second, tmp_path / "alone.flac", *options) == 0
    assert (tmp_path / "out" / "b.flac").read_bytes() == (tmp_path / "alone.flac").read_bytes()


def test_one_of_several_that_fails_does_not_stop_the_others(tmp_path, tiny_model, capsys):
    good, broken = write(tmp_path / "a.wav"), tmp_path / "broken.wav"
    broken.write_text("no sound")
    (tmp_path / "out").mkdir()
    assert command(broken, good, tmp_path / "missing.wav", tmp_path / "out", "--model", tiny_model, "--quiet") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"[1/3] {broken}: cannot be read as audio")
    assert lines[1].startswith(f"[3/3] {tmp_path / 'missing.wav'}: ")
    assert lines[2] == "speech-enhance: 1 file enhanced, 2 failed"
    assert os.listdir(tmp_path / "out") == ["a.wav"]


def test_a_file_of_a_folder_that_fails_is_named_once(tmp_path, tiny_model, capsys):
    write(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "broken.wav").write_text("no sound")
    assert command(tmp_path / "in", tmp_path / "out", "--model", tiny_model) == 1
    lines = capsys.readouterr().err.splitlines()
    (failure,) = (line for line in lines if "broken" in line)
    assert failure.count("broken.wav") == 1
    assert any("0.5 s of audio enhanced in " in line for line in lines)


def test_a_file_goes_into_an_existing_folder_under_its_name(tmp_path, tiny_model, capsys):
    source = write(tmp_path / "a.wav")
    (tmp_path / "out").mkdir()
    assert command(source, tmp_path / "out", "--model", tiny_model, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert soundfile.info(tmp_path / "out" / "a.wav").frames == 8000
    before = source.read_bytes()
    assert command(source, tmp_path, "--model", tiny_model) == 2
    assert "output and input are the same file" in capsys.readouterr().err
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav", "b/a.wav", "out"], "a.wav and b/a.wav would both become out/a.wav"),
        (["a.wav", "b/a.wav", "c.wav"], "c.wav: is no folder; the last name is where 2 files are to go"),
        (["a.wav", "b/a.wav", "a.wav"], "a.wav: is no folder"),
        (["a.wav", "b", "out"], "b: is a folder; give one folder alone, or files"),
        (["a.wav", "-", "out"], "stdin has no name"),
        (["a.wav", "b/a.wav", "-"], "several files need a folder for the output, not stdout"),
        (["-", "b"], "b: is a folder, and stdin has no name"),
        (["a.wav", "b/a.wav", "out", "--workers", "2"], "--workers is for a folder"),
        (["a.wav", "b/a.wav", "out", "--preview", "1"], "--preview takes one file, not several"),
        (["b", "out", "--save-removed", "x.wav"], "--save-removed takes one file, not a folder"),
        (["a.wav", "out.wav", "--save-removed", "a.wav"], "a.wav: removed and input are the same file"),
        (["a.wav", "out.wav", "--save-removed", "out.wav"], "out.wav: removed and output are the same file"),
        (["a.wav", "out.wav", "--save-removed", "x.txt"], "unknown output format"),
        (["a.wav", "out.m4a", "--preview", "1"], "out.m4a: a preview is sound alone"),
        (["a.wav", "out.wav", "--preview", "0"], "from 0.1 to 86400"),
        (
            ["a.wav", "out.wav", "--model", "no/such/folder"],
            "no/such/folder: no such folder, and no name of a model on the Hub",
        ),
        (
            ["a.wav", "out.wav", "--model", "nosuch/folder"],
            "nosuch/folder: no such folder, and the Hub cannot be reached",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    write(tmp_path / "a.wav")
    write(tmp_path / "b" / "a.wav")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setattr("speech_enhance.audio.ffmpeg.installed", lambda: True)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "a.wav").read_bytes())))
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("speech-enhance: error: ")
    assert message in line
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "out"] == before


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
def test_what_was_taken_away_is_the_input_minus_the_output(tmp_path, tiny_model, channels):
    source = write(tmp_path / "in.wav", 5, channels=channels, rate=44100)
    removed = tmp_path / "removed.wav"
    assert command(source, tmp_path / "out.wav", "--model", tiny_model, "--save-removed", removed) == 0
    parts = [soundfile.read(path, dtype="float32")[0] for path in (source, tmp_path / "out.wav", removed)]
    np.testing.assert_allclose(parts[1] + parts[2], parts[0], atol=1e-6)
    assert np.abs(parts[2]).max() > 0.01
    assert soundfile.info(removed).subtype == "FLOAT"


def test_a_failure_leaves_no_file_of_what_was_taken_away(tmp_path, tiny_model, capsys):
    audio = noise(80000)
    audio[-1] = np.nan
    soundfile.write(tmp_path / "in.wav", audio, 16000, subtype="FLOAT")
    removed = tmp_path / "removed.wav"
    removed.write_bytes(b"precious")
    assert command(tmp_path / "in.wav", tmp_path / "out.wav", "--model", tiny_model, "--save-removed", removed) == 2
    assert removed.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "removed.wav"]


def test_a_preview_is_where_most_speech_is(tmp_path, tiny_model, capsys):
    audio, first = 0.1 * noise(16000 * 12), 219 * 512  # a part begins with one of the frames of 32 ms
    audio[first : first + 32000] += 3 * noise(32000, seed=1)
    soundfile.write(tmp_path / "in.wav", audio, 16000, subtype="FLOAT")
    options = ["--model", tiny_model, "--mix", 0, "--preview", 2, "--save-removed", tmp_path / "removed.wav"]
    assert command(tmp_path / "in.wav", tmp_path / "out.wav", *options) == 0
    assert ": 2.0 s of audio enhanced in " in (said := capsys.readouterr().err)
    assert ", from 0:07 to 0:09 (" in said
    part, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    np.testing.assert_allclose(part, audio[first : first + 32000], atol=1e-6)
    assert soundfile.info(tmp_path / "removed.wav").frames == 32000


@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_an_excerpt_is_within_the_recording(tmp_path, seconds):
    reader = open_audio(write(tmp_path / "in.wav", 1.01, channels=2, rate=44100))
    excerpt = excerpt_with_speech(reader, seconds)
    audio = np.concatenate(list(excerpt.blocks()), axis=1)
    assert audio.shape == (2, round(min(seconds, 1.01) * 44100))
    assert excerpt.duration == pytest.approx(min(seconds, 1.01), abs=1e-4)
    whole = np.concatenate(list(reader.blocks()), axis=1)
    np.testing.assert_array_equal(audio, whole[:, excerpt.first : excerpt.last])


@pytest.mark.parametrize("option", ["--plot", "--backend"])
def test_advice_names_a_command_that_works_everywhere(tmp_path, tiny_model, monkeypatch, capsys, option):
    import importlib.util
    import sys

    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "matplotlib" else find(name, *rest)
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    value = "picture.png" if option == "--plot" else "onnx"
    monkeypatch.chdir(tmp_path)
    assert command(write(tmp_path / "in.wav"), "out.wav", "--model", tiny_model, option, value) == 2
    package = "matplotlib" if option == "--plot" else "onnx onnxruntime"
    assert f"pip install {package}" in capsys.readouterr().err
