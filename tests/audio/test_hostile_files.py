"""What happens to each kind of bad or odd file: the command's exit code and its one line, or what it makes of it."""

import contextlib
import dataclasses
import os
import resource
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import noise

from speech_enhance import AudioFileError, cli, enhance_file, open_audio, write_audio
from speech_enhance.audio import ffmpeg
from speech_enhance.audio.files import BLOCK_SAMPLES
from speech_enhance.jobs.file import PipelineChoice
from speech_enhance.jobs.folder import FolderJob

SOUND = noise(8000)


def header(offset: int, form: str, value: int) -> bytes:
    """A good WAV file with one number of its header changed."""
    content = bytearray(encoded("WAV"))
    content[offset : offset + struct.calcsize(form)] = struct.pack(form, value)
    return bytes(content)


def encoded(
    format_name: str, audio: np.ndarray = SOUND, sampling_rate: int = 16000, subtype: str | None = None
) -> bytes:
    import io

    file = io.BytesIO()
    soundfile.write(file, audio, sampling_rate, format=format_name, subtype=subtype)
    return file.getvalue()


def claiming(format_name: str) -> bytes:
    """A small file whose header claims 10 GB, or the most that the format can say."""
    content = bytearray(encoded(format_name, SOUND))
    if format_name == "FLAC":
        content[21] |= 0x0F
        content[22:26] = b"\xff" * 4  # 2^36 - 1 samples, in bits 108 to 143 of the stream's facts
    else:
        content[20:44] = struct.pack("<QQQ", 10 * 10**9 + 72, 10 * 10**9, 5 * 10**9)
    return bytes(content)


def floats(audio: np.ndarray) -> bytes:
    return encoded("WAV", audio.astype(np.float32), subtype="FLOAT")


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


REFUSED = {
    "empty": (b"", "is empty"),
    "header only": (encoded("WAV")[:44], "holds no audio samples"),
    "cut off in the header": (encoded("WAV")[:30], "cannot be read as audio"),
    "random bytes": (np.random.default_rng(0).bytes(5000), "cannot be read as audio"),
    "random RIFF": (b"RIFF" + np.random.default_rng(0).bytes(5000), "cannot be read as audio"),
    "random FLAC": (b"fLaC" + np.random.default_rng(0).bytes(5000), "cannot be read as audio"),
    "zip": (b"PK\x03\x04" + np.random.default_rng(0).bytes(5000), "cannot be read as audio"),
    "text": (b"hello, this is not audio\n" * 100, "cannot be read as audio"),
    "NaN": (floats(np.append(SOUND, np.nan)), "NaN or infinite"),
    "infinite": (floats(np.append(SOUND, np.inf)), "NaN or infinite"),
    "beyond single precision": (encoded("WAV", SOUND.astype(float) * 1e300, subtype="DOUBLE"), "NaN or infinite"),
    "0 Hz": (header(24, "<I", 0), "cannot be read as audio"),
    "1 Hz": (header(24, "<I", 1), "(1000 to 768000), got 1"),
    "2 MHz": (header(24, "<I", 2_000_000), "(1000 to 768000), got 2000000"),
    "no channels": (header(22, "<H", 0), "cannot be read as audio"),
    "1000 channels": (header(22, "<H", 1000), "1000 channels, expected 1 to 64"),
    "65 channels": (encoded("WAV", noise(400, channels=65).T), "65 channels, expected 1 to 64"),
    "0 bits": (header(34, "<H", 0), "cannot be read as audio"),
}
ENHANCED = {
    "cut off WAV": (half(encoded("WAV")), None),
    "claims 4 GB": (header(40, "<I", 2**32 - 1), SOUND.shape),
    "RF64 that claims 10 GB": (claiming("RF64"), SOUND.shape),
    "digital silence": (encoded("WAV", 0 * SOUND), SOUND.shape),
    "constant offset": (floats(SOUND + 0.5), SOUND.shape),
    "one sample": (floats(SOUND[:1]), (1,)),
    "full-scale square wave": (floats(np.sign(np.sin(0.3 * np.arange(8000)))), SOUND.shape),
    "a million times full scale": (floats(SOUND * 1e7), SOUND.shape),
    "hardly above nothing": (floats(SOUND * 1e-37), SOUND.shape),
    "64 channels": (encoded("WAV", noise(400, channels=64).T), (400, 64)),
}


def enhance(folder, model, name="in.wav", *options) -> int:
    return cli.main(["--model", str(model), *options, "--", str(folder / name), str(folder / "out.wav")])


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_enhanced_is_refused_in_one_line(tmp_path, tiny_model, capsys, kind):
    content, message = REFUSED[kind]
    (tmp_path / "in.wav").write_bytes(content)
    assert enhance(tmp_path, tiny_model) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"speech-enhance: error: {tmp_path / 'in.wav'}: ")
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize("kind", ENHANCED)
def test_what_is_odd_is_enhanced_all_the_same(tmp_path, tiny_model, kind):
    content, shape = ENHANCED[kind]
    (tmp_path / "in.wav").write_bytes(content)
    assert enhance(tmp_path, tiny_model) == 0
    output, _ = soundfile.read(tmp_path / "out.wav")
    original, _ = soundfile.read(tmp_path / "in.wav")
    assert output.shape == original.shape
    assert shape in (None, output.shape)
    assert np.isfinite(output).all()
    assert np.square(output).sum() <= 1.01 * np.square(original).sum()


def test_a_flac_file_that_claims_49_days_is_enhanced_and_said_to_be_damaged(tmp_path, tiny_model, capsys):
    (tmp_path / "in.wav").write_bytes(claiming("FLAC"))
    assert enhance(tmp_path, tiny_model) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == len(SOUND)
    note, _ = capsys.readouterr().err.splitlines()
    assert "the recording is damaged" in note
    assert "0.5 of" in note


@pytest.mark.parametrize("name", ["new\nline.wav", "-dash.wav", "ünï 音.wav", "x" * 240 + ".wav", "a'b\"$(c).wav"])
def test_names(tmp_path, tiny_model, monkeypatch, name):
    (tmp_path / name).write_bytes(encoded("WAV"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--model", str(tiny_model), "--", name, "out.wav"]) == 0
    assert cli.main(["--model", str(tiny_model), "--", "out.wav", name]) == 0
    assert soundfile.info(tmp_path / name).frames == 8000


@pytest.mark.parametrize("target", ["loop.wav", "nowhere"])
def test_links_to_nothing(tmp_path, tiny_model, capsys, target):
    (tmp_path / "loop.wav").symlink_to(target)
    assert enhance(tmp_path, tiny_model, "loop.wav") == 2
    assert "loop.wav: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_file(tmp_path, tiny_model):
    """A limit on the size of files stands for it."""
    soundfile.write(tmp_path / "in.wav", noise(160000), 16000)
    (tmp_path / "out.wav").write_bytes(b"precious")
    command = [sys.executable, "-m", "speech_enhance", "--model", tiny_model, "in.wav", "out.wav"]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

    result = subprocess.run(command, cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "out.wav: cannot be written" in result.stderr
    assert (tmp_path / "out.wav").read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["in.wav", "out.wav"]


@pytest.mark.slow
def test_a_full_file_system_leaves_the_old_file(tmp_path, tiny_model):
    """One of 100 kB, in a name space of its own."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    soundfile.write(tmp_path / "in.wav", noise(160000), 16000)
    (tmp_path / "small").mkdir()
    script = (
        'mount -t tmpfs -o size=100k none small && printf precious > small/out.wav && "$@"; code=$?; '
        "ls -A small; cat small/out.wav; exit $code"
    )
    command = [sys.executable, "-m", "speech_enhance", "--model", tiny_model, "in.wav", "small/out.wav"]
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 2
    assert result.stdout == "out.wav\nprecious"
    (line,) = result.stderr.splitlines()
    assert "small/out.wav: cannot be written (no space left)" in line


@contextlib.contextmanager
def as_nobody():
    """Without the rights of root, to whom nothing is forbidden."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_no_permission(tiny_model, capsys):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        folder.chmod(0o755)
        for name in ("secret.wav", "open.wav"):
            soundfile.write(folder / name, SOUND, 16000)
        (folder / "secret.wav").chmod(0)
        (folder / "closed").mkdir(mode=0o555)
        with as_nobody():
            assert cli.main([str(folder / "secret.wav"), str(folder / "out.wav")]) == 2
            assert cli.main([str(folder / "open.wav"), str(folder / "closed" / "out.wav")]) == 2
        read, write = capsys.readouterr().err.splitlines()
        assert read == f"speech-enhance: error: {folder}/secret.wav: no permission to read it"
        assert write == f"speech-enhance: error: {folder}/closed/out.wav: no permission to write it"


def test_a_folder_that_cannot_be_looked_into_is_a_failure(tmp_path):
    """Silence about it would look like success."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        source.chmod(0o755)
        (source / "closed").mkdir(mode=0)
        soundfile.write(source / "a.wav", SOUND, 16000)
        job = FolderJob(source, tmp_path / "out", PipelineChoice())
        with as_nobody():
            plan = job.plan()
        assert plan.files == ["a.wav"]
        assert plan.unreadable == {"closed": "Permission denied"}
        (outcome,) = job.run(dataclasses.replace(plan, files=[], waiting=[]))
        assert (outcome.file, outcome.status) == ("closed", "failed")
        assert outcome.error == "cannot be read (Permission denied)"


def test_a_name_with_a_line_break_has_its_error_in_one_line(tmp_path, tiny_model, capsys):
    (tmp_path / "a\nb\x1b[2J.wav").write_text("no audio")
    assert enhance(tmp_path, tiny_model, "a\nb\x1b[2J.wav") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a\\nb\\x1b[2J.wav: cannot be read as audio" in line


@pytest.mark.slow
def test_a_file_without_end_is_read_in_blocks(tmp_path):
    """A hundred hours of silence are 4 MB of FLAC, and 23 GB decoded."""
    with soundfile.SoundFile(tmp_path / "in.flac", "w", 16000, 1, "PCM_16") as file:
        for _ in range(100):
            file.write(np.zeros(10**6, np.int16))
    assert (tmp_path / "in.flac").stat().st_size < 2 * 10**6
    tracemalloc.start()
    for block in open_audio(tmp_path / "in.flac").blocks():
        assert block.shape[1] <= BLOCK_SAMPLES
    assert tracemalloc.get_traced_memory()[1] < 10 * 4 * BLOCK_SAMPLES
    tracemalloc.stop()


def test_a_file_that_grows_while_it_is_read(tmp_path, tiny_pipeline):
    soundfile.write(tmp_path / "in.wav", SOUND, 16000)

    def append(stage, seconds, duration):
        if stage == "measuring" and seconds == duration:
            soundfile.write(tmp_path / "in.wav", noise(9000), 16000)

    with pytest.raises(ValueError, match="changed while it was read"):
        enhance_file(tiny_pipeline, tmp_path / "in.wav", tmp_path / "out.wav", on_progress=append)
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize("extension", [".wav", ".m4a"])
def test_a_fifo_in_the_place_of_a_file_that_is_read_is_not_waited_for(tmp_path, tiny_pipeline, extension):
    """It comes between the two passes over the file."""
    if extension == ".m4a" and not ffmpeg.installed() and not os.environ.get("CI"):
        pytest.skip("ffmpeg is not installed")
    source = tmp_path / f"in{extension}"
    write_audio(source, np.stack([SOUND, SOUND]), 16000)

    def replace(stage, seconds, duration):
        if stage == "measuring" and not source.is_fifo():
            source.unlink()
            os.mkfifo(source)

    with pytest.raises(AudioFileError, match="it is not a regular file"):
        enhance_file(tiny_pipeline, source, tmp_path / "out.wav", on_progress=replace)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]
