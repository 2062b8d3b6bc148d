"""Folders in and out, in this process and in others."""

import json
import os

import numpy as np
import pytest
import soundfile
from conftest import noise

from speech_enhance import cli


@pytest.fixture
def archive(tmp_path):
    """Three recordings in a tree, one of them no audio, and something that is none of our business."""
    source = tmp_path / "in"
    (source / "deep" / "ünï").mkdir(parents=True)
    soundfile.write(source / "a.wav", noise(8000), 16000)
    soundfile.write(source / "deep" / "ünï" / "b.flac", noise(9000, channels=2).T, 44100)
    (source / "deep" / "broken.wav").write_text("this is not audio")
    (source / "notes.txt").write_text("do not touch")
    return source


def enhance(archive, tiny_model, *options) -> int:
    arguments = [archive, archive.parent / "out", "--model", tiny_model, *options]
    return cli.main([str(item) for item in arguments])


def report(archive) -> list[dict]:
    lines = (archive.parent / "out" / "speech-enhance.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_structure_is_kept_and_one_broken_file_stops_nothing(archive, tiny_model, capsys):
    assert enhance(archive, tiny_model) == 1
    out = archive.parent / "out"
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {"a.wav", os.path.join("deep", "ünï", "b.flac"), "speech-enhance.jsonl"}
    assert soundfile.info(out / "deep" / "ünï" / "b.flac").frames == 9000
    by_file = {row["file"]: row for row in report(archive)}
    assert by_file["a.wav"]["error"] is None
    assert by_file["a.wav"]["duration"] == 0.5
    assert {row["file"]: row["status"] for row in report(archive)} == {
        "a.wav": "enhanced",
        os.path.join("deep", "broken.wav"): "failed",
        os.path.join("deep", "ünï", "b.flac"): "enhanced",
    }
    assert by_file["a.wav"]["real_time_factor"] == pytest.approx(by_file["a.wav"]["seconds"] / 0.5, abs=1e-3)
    assert by_file[os.path.join("deep", "broken.wav")]["real_time_factor"] is None
    assert "cannot be read as audio" in by_file[os.path.join("deep", "broken.wav")]["error"]
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2 files enhanced, 1 failed, 0 done before" in last
    single = archive.parent / "single.wav"
    assert cli.main([str(archive / "a.wav"), str(single), "--model", str(tiny_model)]) == 0
    # in the folder it shares a batch, which rounds otherwise
    np.testing.assert_allclose(soundfile.read(single)[0], soundfile.read(out / "a.wav")[0], atol=2**-14)


def test_what_is_done_is_not_done_again(archive, tiny_model, capsys):
    (archive / "deep" / "broken.wav").unlink()
    assert enhance(archive, tiny_model) == 0
    out = archive.parent / "out" / "a.wav"
    before = out.stat().st_mtime_ns
    assert enhance(archive, tiny_model) == 0
    assert out.stat().st_mtime_ns == before
    assert "0 files enhanced, 0 failed, 2 done before" in capsys.readouterr().err
    assert len(report(archive)) == 2

    soundfile.write(archive / "a.wav", noise(4000), 16000)  # changed
    assert enhance(archive, tiny_model) == 0
    assert soundfile.info(out).frames == 4000
    out.unlink()  # lost
    assert enhance(archive, tiny_model) == 0
    assert out.exists()
    assert len(report(archive)) == 4
    assert enhance(archive, tiny_model, "--mix", "0") == 0  # another setting
    assert len(report(archive)) == 6
    np.testing.assert_array_equal(soundfile.read(out)[0], soundfile.read(archive / "a.wav")[0])


def test_a_report_that_was_cut_off_is_read_as_far_as_it_goes(archive, tiny_model):
    (archive / "deep" / "broken.wav").unlink()
    assert enhance(archive, tiny_model) == 0
    path = archive.parent / "out" / "speech-enhance.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"file": "a.w', encoding="utf-8")
    assert enhance(archive, tiny_model) == 0
    path.write_text("[]\n3\n{}\n", encoding="utf-8")
    assert enhance(archive, tiny_model) == 0


def test_output_inside_the_input_is_not_input(archive, tiny_model):
    (archive / "deep" / "broken.wav").unlink()
    for _ in range(2):
        assert cli.main([str(archive), str(archive / "clean"), "--model", str(tiny_model)]) == 0
    assert not (archive / "clean" / "clean").exists()


@pytest.mark.slow
def test_workers_give_the_same_files(archive, tiny_model):
    assert enhance(archive, tiny_model) == 1
    out = archive.parent / "out"
    expected = {path.name: soundfile.read(path) for path in out.rglob("*.*") if path.suffix in (".wav", ".flac")}
    assert len(expected) == 2
    for path in out.rglob("*.*"):
        if path.is_file():
            path.unlink()
    assert enhance(archive, tiny_model, "--workers", "2") == 1
    for name, (audio, _) in expected.items():  # another number of threads rounds otherwise
        (path,) = out.rglob(name)
        np.testing.assert_allclose(soundfile.read(path)[0], audio, atol=2**-14)
    assert len(report(archive)) == 3


@pytest.mark.parametrize("kind", ["same", "file", "empty"])
def test_folders_that_cannot_be_used_are_named(archive, tiny_model, capsys, kind):
    target = {"same": archive, "file": archive / "a.wav", "empty": archive.parent / "out"}[kind]
    source = archive
    if kind == "empty":
        source = archive.parent / "nothing"
        source.mkdir()
    assert cli.main([str(source), str(target), "--model", str(tiny_model)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert {"same": "the same folder", "file": "is no folder", "empty": "holds no audio files"}[kind] in line


def test_a_run_that_goes_on_gives_the_same_bytes(archive, tiny_model):
    """Neighbours of a missing file that are done are computed again, since what shares a batch changes the rounding."""
    for index in range(5):
        soundfile.write(archive / f"c{index}.wav", noise(3000 + 2000 * index, seed=index), 16000, subtype="FLOAT")
    assert enhance(archive, tiny_model) == 1
    out = archive.parent / "out"
    first = {path: path.read_bytes() for path in sorted(out.rglob("*.wav"))}
    written = {path: path.stat().st_mtime_ns for path in first}
    for name in ("c1.wav", "c3.wav"):
        (out / name).unlink()
    assert enhance(archive, tiny_model) == 1
    assert {path: path.read_bytes() for path in first} == first
    anew = {path.name for path, time in written.items() if path.stat().st_mtime_ns != time}
    assert anew == {"c1.wav", "c3.wav"}
    assert [row["file"] for row in report(archive)[-3:]] == ["c1.wav", "c3.wav", os.path.join("deep", "broken.wav")]


def test_names_that_are_no_text_and_links_in_circles(archive, tiny_model, capsys):
    (archive / "deep" / "circle").symlink_to(archive)
    (archive / "deep" / "self.wav").symlink_to("self.wav")
    (archive / "line\nbreak\u2028.wav").write_bytes((archive / "a.wav").read_bytes())
    odd = os.fsdecode(b"\xff\xfe.wav")
    (archive / odd).write_bytes((archive / "a.wav").read_bytes())
    assert enhance(archive, tiny_model) == 1
    lines = capsys.readouterr().err.splitlines()
    assert next(line for line in lines if "self.wav" in line).endswith(("no such file", "symbolic links)"))
    assert len(lines) == 1 + 6 + 1  # what is left out, a line for each file, and the sum
    assert any("line\\nbreak\\u2028.wav" in line for line in lines)
    assert {row["file"] for row in report(archive)} >= {odd, "line\nbreak\u2028.wav"}
    assert not (archive.parent / "out" / "deep" / "circle").exists()
    assert enhance(archive, tiny_model) == 1
    assert "0 files enhanced, 2 failed, 4 done before" in capsys.readouterr().err


def test_an_output_folder_that_leads_back_into_the_input_spoils_nothing(archive, tiny_model):
    before = (archive / "deep" / "ünï" / "b.flac").read_bytes()
    (archive.parent / "out").mkdir()
    (archive.parent / "out" / "deep").symlink_to(archive / "deep")
    assert enhance(archive, tiny_model) == 1
    assert (archive / "deep" / "ünï" / "b.flac").read_bytes() == before
    assert [row["error"].endswith("the same file") for row in report(archive) if "b.flac" in row["file"]] == [True]


def test_a_place_that_is_taken_fails_the_files_it_concerns(archive, tiny_model):
    (archive.parent / "out").mkdir()
    (archive.parent / "out" / "deep").write_text("a file where a folder is to be")
    assert enhance(archive, tiny_model) == 1
    assert {row["file"]: row["status"] for row in report(archive)}["a.wav"] == "enhanced"
    assert len(report(archive)) == 3
