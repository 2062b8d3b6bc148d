"""Folders in and out, in this process and in others."""

import json
import os
import shutil
import subprocess
import time
import tracemalloc

import numpy as np
import pytest
import soundfile
from conftest import noise

from speech_enhance import cli, read_audio
from speech_enhance.audio import ffmpeg
from speech_enhance.jobs.file import PipelineChoice, UserError
from speech_enhance.jobs.folder import FolderJob
from speech_enhance.jobs.folder_report import LINE_BYTES, REPORT_BYTES


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


def test_what_a_recording_of_a_folder_loses_is_said(tmp_path, tiny_model, capsys):
    """As of a single file: here a title in a local code page, which cannot be kept."""
    (tmp_path / "in").mkdir()
    with soundfile.SoundFile(tmp_path / "in" / "a.wav", "w", 16000, 1) as file:
        file.title = "Prüfung"
        file.write(noise(3000))
    data = (tmp_path / "in" / "a.wav").read_bytes()
    (tmp_path / "in" / "a.wav").write_bytes(data.replace("ü".encode(), "ü".encode("cp1252") + b" "))
    assert cli.main([str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(tiny_model)]) == 0
    expected = "[1/1] a.wav: tags that are not in Unicode were left out: title"
    assert expected in capsys.readouterr().err.splitlines()


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_what_is_left_out_is_counted_and_named(archive, tiny_model, capsys):
    (archive / "deep" / "broken.wav").unlink()
    for index in range(5):
        (archive / f"{index}.jpg").write_bytes(b"no sound")
    (archive / "deep" / "linked").symlink_to(archive.parent)
    (archive / ".hidden.wav").write_bytes(b"notes of a system")
    assert enhance(archive, tiny_model) == 0
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.endswith("8 files (.hidden.wav, 0.jpg, 1.jpg, 2.jpg, 3.jpg, …)")
    assert "2 files enhanced, 0 failed, 0 done before, 8 left out" in last
    (archive / "deep" / "ünï" / "b.flac").unlink()
    shutil.rmtree(archive.parent / "out")
    assert enhance(archive, tiny_model) == 0
    assert "1 file enhanced, 0 failed" in capsys.readouterr().err
    (archive / "a.wav").unlink()
    assert enhance(archive, tiny_model) == 2
    assert "holds no audio files of a format that can be written, only 8 files (.hidden.wav" in capsys.readouterr().err


CODECS = {  # as other programs name recordings and films, and what ffmpeg is told to put into them
    "a.ac3": (),
    "a.aifc": ("-f", "aiff"),
    "a.m4b": (),
    "a.mp2": (),
    "a.oga": ("-c:a", "libvorbis"),
    "a.snd": ("-f", "au"),
    "a.voc": (),
    "a.wave": ("-f", "wav"),
    "b.avi": (),
    "b.flv": ("-ar", "44100"),
    "b.mpg": (),
    "b.ts": (),
    "b.wmv": (),
}


@pytest.mark.slow
@pytest.mark.skipif(not ffmpeg.installed() and not os.environ.get("CI"), reason="ffmpeg is not installed")
def test_a_folder_job_enhances_what_a_single_call_does(tmp_path, tiny_pipeline, monkeypatch):
    """With a limit of 0 dB, so that what comes out can be compared."""
    source = tmp_path / "in"
    source.mkdir()
    tone = np.outer(0.3 * np.sin(2 * np.pi * 440 * np.arange(24000) / 48000), [1, 0.5])
    soundfile.write(tmp_path / "tone.wav", tone, 48000)
    soundfile.write(source / "a.sph", tone, 48000, format="NIST")
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=0.5")
    for name, options in CODECS.items():
        shown = picture if name.startswith("b") else ()
        command = ["ffmpeg", "-v", "error", *shown, "-i", tmp_path / "tone.wav", *options, source / name]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    choice = PipelineChoice(attenuation_limit_db=0)
    settings = {"attenuation_limit_db": 0.0}
    monkeypatch.setattr(PipelineChoice, "load", lambda self: (tiny_pipeline, settings))
    job = FolderJob(source, tmp_path / "out", choice)
    plan = job.plan()
    assert plan.left_out == []
    assert {outcome.file: outcome.error for outcome in job.run(plan)} == dict.fromkeys(["a.sph", *CODECS])
    for name in plan.files:
        after = read_audio(job.target / name)
        assert (after.sampling_rate, len(after.audio)) == (44100 if name == "b.flv" else 48000, 2), name
        assert 0.5 <= after.audio.shape[1] / after.sampling_rate < 0.7, name  # WMA in whole frames of 43 ms
        power = np.square(after.audio[:, 6000:18000]).mean(axis=1)
        np.testing.assert_allclose(power, [0.045, 0.01125], rtol=0.25, err_msg=name)  # MP3 takes a tenth each time
        if name.startswith("b"):
            command = [
                "ffprobe",
                "-v",
                "error",
                "-select_streams",
                "v",
                "-show_entries",
                "stream=codec_name",
                "-of",
                "csv",
            ]
            pictures = [subprocess.check_output([*command, folder / name]) for folder in (source, job.target)]
            assert pictures[0] == pictures[1] != b""


def test_a_link_to_a_file_outside_the_folder_is_not_followed(archive, tiny_model, capsys):
    soundfile.write(archive.parent / "secret.wav", noise(4000), 16000)
    (archive / "deep" / "broken.wav").unlink()
    (archive / "deep" / "link.wav").symlink_to("../../secret.wav")
    (archive / "inside.wav").symlink_to("a.wav")
    assert enhance(archive, tiny_model) == 1
    rows = {row["file"]: row["error"] for row in report(archive)}
    assert rows.pop(os.path.join("deep", "link.wav")) == (
        "is a link to a file outside the folder, which is not followed; put the file itself there"
    )
    assert set(rows.values()) == {None}
    assert (archive.parent / "out" / "inside.wav").exists()
    assert not (archive.parent / "out" / "deep" / "link.wav").exists()


def plan_with(archive, make) -> FolderJob:
    """A job whose report `make` has put in its place."""
    job = FolderJob(archive, archive.parent / "out", PipelineChoice())
    job.target.mkdir()
    make(job.report_path)
    return job


HOSTILE_LINES = {
    "not UTF-8": b'{"file": "\xff\xfe"}\n\x80\n',
    "UTF-16": '{"file": "a.wav"}\n'.encode("utf-16"),
    "nested deep": b"[" * 10**5 + b"\n" + b'{"file":' * 30000 + b"\n",
    "a huge line": b'{"file": "a.wav", "x": "' + b"x" * (REPORT_BYTES - 100),
    "huge numbers": b'{"file": "a.wav", "source": [' + b"9" * (LINE_BYTES - 100) + b", 1e999999999, NaN]}\n",
    "many lines": b'{"file":"" }\n' * (REPORT_BYTES // 13),
    "nothing but lines": b"\n" * REPORT_BYTES,
    "zeros": bytes(REPORT_BYTES),
}


@pytest.mark.parametrize("kind", HOSTILE_LINES)
def test_lines_of_a_hostile_report_do_not_count(archive, kind):
    job = plan_with(archive, lambda path: path.write_bytes(HOSTILE_LINES[kind]))
    if HOSTILE_LINES[kind].count(b"\n") < 1000:  # else it takes long
        tracemalloc.start()
        job.plan()
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
        tracemalloc.stop()
    started = time.process_time()
    assert job.plan().kept == []
    assert time.process_time() - started < 2


@pytest.mark.parametrize("kind", ["FIFO", "link", "link to nothing", "hard link", "folder", "too large"])
def test_what_is_no_report_is_not_written(archive, tiny_model, capsys, kind):
    precious = archive.parent / "precious.txt"
    precious.write_text("do not touch")

    def sparse(path):
        with open(path, "wb") as file:
            file.truncate(1 << 40)

    make = {
        "FIFO": os.mkfifo,
        "link": lambda path: path.symlink_to(precious),
        "link to nothing": lambda path: path.symlink_to(archive.parent / "new.txt"),
        "hard link": lambda path: os.link(precious, path),
        "folder": os.mkdir,
        "too large": sparse,
    }[kind]
    job = plan_with(archive, make)
    started = time.process_time()
    with pytest.raises(UserError, match=r"speech-enhance\.jsonl: (is|has|cannot be read)"):
        next(job.run(job.plan()))
    assert time.process_time() - started < 2
    assert precious.read_text() == "do not touch"
    assert not (archive.parent / "new.txt").exists()


def test_a_line_after_one_that_was_cut_off_counts(archive, tiny_model, capsys):
    (archive / "deep" / "broken.wav").unlink()
    plan_with(archive, lambda path: path.write_text('{"file": "a.w'))
    assert enhance(archive, tiny_model) == 0
    assert enhance(archive, tiny_model) == 0
    assert "0 files enhanced, 0 failed, 2 done before" in capsys.readouterr().err


def test_no_room_for_the_report_is_told_in_one_line(archive, tiny_model, capsys, monkeypatch):
    (archive / "deep" / "broken.wav").unlink()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:10]))
    assert enhance(archive, tiny_model) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("speech-enhance.jsonl: cannot be written (no space left)")
