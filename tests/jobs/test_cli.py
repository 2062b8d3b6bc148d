"""The command, as a process of its own where that makes a difference."""

import contextlib
import errno
import io
import os
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, noise
from processes import Process
from processes import run as run_process
from sound_files import make

from speech_enhance import SpeechEnhancementPipeline, cli


def run(*arguments, **options):
    command = [sys.executable, "-m", "speech_enhance", *map(str, arguments)]
    return run_process(command, capture_output=True, text=True, **options)


@pytest.fixture
def call(capsys):
    """The command in this process, with the results of [`run`]."""

    def answer(*arguments) -> SimpleNamespace:
        capsys.readouterr()
        try:
            code = cli.main(list(map(str, arguments)))
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=printed.out, stderr=printed.err)

    return answer


def write(path, sampling_rate=16000, channels=1, seconds=0.5, **options):
    soundfile.write(path, noise(int(seconds * sampling_rate), channels=channels).T, sampling_rate, **options)
    return path


def test_help_imports_no_torch():
    code = (
        "import sys, speech_enhance.cli as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as stop: print('exit', stop.code)\n"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'soundfile') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--preset {fast,balanced}" in result.stdout
    assert result.stdout.endswith("exit 0\n[]\n")


def test_version():
    assert run("--version").stdout.startswith("speech-enhance 0.")


@pytest.mark.parametrize(
    ("sampling_rate", "channels", "name"), [(8000, 1, "a.wav"), (44100, 2, "b.flac"), (48000, 6, "c.wav")]
)
def test_output_has_the_inputs_rate_channels_and_length(tmp_path, tiny_model, call, sampling_rate, channels, name):
    source = write(tmp_path / name, sampling_rate, channels, subtype="PCM_24")
    target = tmp_path / f"out_{name}"
    result = call(source, target, "--model", tiny_model)
    assert (result.returncode, result.stdout) == (0, "")
    before, after = soundfile.info(source), soundfile.info(target)
    for field in ("samplerate", "channels", "frames", "subtype", "format"):
        assert getattr(before, field) == getattr(after, field)
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([name, f"out_{name}"])


@pytest.mark.slow
def test_onnx_runtime_gives_the_same_sound_for_files_and_folders(tmp_path, tiny_model, call):
    pytest.importorskip("onnxruntime")
    (tmp_path / "in").mkdir()
    source = write(tmp_path / "in" / "a.wav", seconds=2, subtype="FLOAT")
    outputs = []
    for backend, arguments in [
        ("torch", (source, tmp_path / "torch.wav")),
        ("onnx", (source, tmp_path / "onnx.wav")),
        ("onnx", (tmp_path / "in", tmp_path / "folder")),
    ]:
        result = call(*arguments, "--model", tiny_model, "--backend", backend)
        assert result.returncode == 0, result.stderr
        assert "Warning" not in result.stderr
        written = arguments[1] / "a.wav" if arguments[1].is_dir() else arguments[1]
        outputs.append(soundfile.read(written, dtype="float32")[0])
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-5)
    np.testing.assert_array_equal(outputs[2], outputs[1])


def test_onnx_runtime_where_it_cannot_be(tmp_path, tiny_model, capsys, monkeypatch):
    arguments = [str(write(tmp_path / "in.wav")), str(tmp_path / "out.wav"), "--model", str(tiny_model)]
    assert cli.main([*arguments, "--backend", "onnx", "--device", "cuda"]) == 2
    assert "--backend onnx computes on the CPU, not on the device 'cuda': give --device cpu" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert cli.main([*arguments, "--backend", "onnx"]) == 2
    assert "pip install onnx onnxruntime" in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.slow
def test_options_reach_the_pipeline(tmp_path, tiny_model, capsys):
    source = write(tmp_path / "in.wav")

    def output(*options):
        arguments = [source, tmp_path / "out.wav", "--model", tiny_model, *options]
        assert cli.main(list(map(str, arguments))) == 0
        return soundfile.read(tmp_path / "out.wav", dtype="int16")[0], capsys.readouterr().err

    base = output()[0]
    np.testing.assert_array_equal(output()[0], base)
    np.testing.assert_array_equal(output("--seed", 0)[0], base)
    assert not np.array_equal(output("--seed", 1)[0], base)
    assert "DDIMScheduler, 1 step, 1 estimate)" in output("--preset", "fast")[1]
    assert (
        "EulerDiscreteScheduler, 3 steps, 2 estimates)"
        in output("--scheduler", "euler", "--steps", 3, "--estimates", 2)[1]
    )
    original = soundfile.read(source, dtype="int16")[0]
    np.testing.assert_array_equal(output("--mix", 0)[0], original)
    np.testing.assert_allclose(output("--attenuation-limit", 0)[0], original, atol=1)


def test_the_dial_for_reverberation_reaches_the_pipeline(tmp_path, dial_model, capsys):
    source = write(tmp_path / "in.wav")
    outputs = []
    for dial in (0, 0.5, 1):
        path = tmp_path / f"{dial}.wav"
        assert cli.main([str(source), str(path), "--model", str(dial_model), "--dereverb", str(dial)]) == 0
        outputs.append(soundfile.read(path)[0])
    recording = soundfile.read(source, dtype="float32")
    pipeline = SpeechEnhancementPipeline.from_pretrained(dial_model)
    expected = pipeline(*recording, preset="balanced", dereverb=0.5, generator=torch.Generator().manual_seed(0)).audios
    np.testing.assert_allclose(outputs[1], expected, atol=1e-4)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3
    assert np.abs(outputs[2] - outputs[1]).max() > 1e-3


def test_bfloat16_where_it_is_fast(tmp_path, tiny_model, capsys, monkeypatch):
    source, outputs = write(tmp_path / "in.wav"), {}
    for precision in ("float32", "bfloat16"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
        arguments = [str(source), str(tmp_path / f"{precision}.wav"), "--model", str(tiny_model), "--device", "cpu"]
        assert cli.main([*arguments, "--precision", precision]) == 0
        outputs[precision] = soundfile.read(arguments[1])[0]
    difference = np.abs(outputs["float32"] - outputs["bfloat16"]).max()
    assert 0 < difference < 0.02 * np.abs(outputs["float32"]).max()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    path = tmp_path / "none.wav"
    assert cli.main([str(source), str(path), *arguments[2:], "--precision", "bfloat16"]) == 2
    assert "this CPU has neither AMX nor AVX-512 BF16" in capsys.readouterr().err
    assert cli.main([str(source), str(path), *arguments[2:], "--precision", "bfloat16", "--backend", "onnx"]) == 2
    assert "--backend onnx computes in float32" in capsys.readouterr().err
    assert not path.exists()


def test_what_is_lost_on_the_way_is_said(tmp_path, tiny_model, call):
    with soundfile.SoundFile(tmp_path / "in.wav", "w", 16000, 1, "FLOAT") as file:
        file.title, file.artist = "Grüße", "Ada"
        file.write(3 * noise(8000))
    result = call(tmp_path / "in.wav", tmp_path / "out.mp3", "--model", tiny_model, "--mix", 0)
    assert result.returncode == 0
    limited, tags, done = result.stderr.splitlines()
    assert limited.endswith("samples over full scale were limited")
    assert tags == "speech-enhance: tags that .mp3 cannot hold were left out: title"
    assert "0.5 s of audio enhanced" in done
    with soundfile.SoundFile(tmp_path / "out.mp3") as file:
        assert (file.artist, file.title) == ("Ada", "")


@pytest.mark.slow
def test_plot(tmp_path, tiny_model, capsys):
    source = write(tmp_path / "in.wav", 44100, 2)
    arguments = [source, tmp_path / "out.wav", "--model", tiny_model, "--plot", tmp_path / "picture.png"]
    assert cli.main(list(map(str, arguments))) == 0
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 3
    assert cli.main([*map(str, arguments[:-1]), str(tmp_path / "picture.wav")]) == 2
    assert "ends in .png" in capsys.readouterr().err
    assert cli.main([*map(str, arguments[:-1]), str(tmp_path / "no" / "picture.png")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["input", "link to input", "link to output", "hard link to output", "folder"])
def test_a_plot_never_takes_the_place_of_a_recording(tmp_path, capsys, kind):
    source, target, picture = write(tmp_path / "p.png", format="WAV"), tmp_path / "out.wav", tmp_path / "q.png"
    target.write_bytes(b"precious")
    make = {
        "input": lambda: None,
        "link to input": lambda: picture.symlink_to(source),
        "link to output": lambda: picture.symlink_to(target),
        "hard link to output": lambda: os.link(target, picture),
        "folder": picture.mkdir,
    }
    make[kind]()
    before = source.read_bytes()
    picture = source if kind == "input" else picture
    assert cli.main([str(source), str(target), "--plot", str(picture)]) == 2
    message = "is no regular file" if kind == "folder" else f"picture and {kind.split()[-1]} are the same file"
    assert message in capsys.readouterr().err
    assert (source.read_bytes(), target.read_bytes()) == (before, b"precious")


@contextlib.contextmanager
def stream_to(monkeypatch, name: str, descriptor: int):
    """Have `stdout` or `stderr` write to a descriptor, line by line."""
    with open(descriptor, "w", buffering=1) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        yield


def test_a_reader_that_leaves_is_no_error(tmp_path, tiny_model, monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with stream_to(monkeypatch, "stdout", writing):
        assert cli.main([str(write(tmp_path / "in.wav")), "-", "--model", str(tiny_model)]) == 141
    assert capsys.readouterr().err == ""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(["--version"]) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_stdout_is_told_in_one_line(tmp_path, tiny_model, monkeypatch, capsys):
    source = str(write(tmp_path / "in.wav"))
    with stream_to(monkeypatch, "stdout", os.open("/dev/full", os.O_WRONLY)):
        assert cli.main([source, "-", "--model", str(tiny_model)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "speech-enhance: error: stdout: cannot be written (No space left on device)"
    with stream_to(
        monkeypatch, "stderr", os.open("/dev/full", os.O_WRONLY)
    ):  # nobody hears of the file, which is there
        assert cli.main([source, str(tmp_path / "out.wav"), "--model", str(tiny_model)]) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 8000


@pytest.mark.parametrize(("closed", "places"), [("<&-", "- out.wav"), (">&-", "in.wav -")])
def test_a_closed_stream_is_told_before_anything_is_done(tmp_path, closed, places):
    write(tmp_path / "in.wav")
    result = shell(f'"$0" -m speech_enhance {places} {closed}', tmp_path)
    assert result.returncode == 2
    assert result.stderr == f"speech-enhance: error: {'stdin' if closed == '<&-' else 'stdout'}: is closed\n"
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.slow
def test_without_stderr_nothing_goes_elsewhere(tmp_path, tiny_model):
    """Not a message to stdout, and not what libraries print into the output, which would get the number of stderr."""
    write(tmp_path / "in.wav", subtype="FLOAT")
    code = (
        "import os, sys, speech_enhance.cli as cli\n"
        "load = cli.PipelineChoice.load\n"
        "def loud(self):\n    pair = load(self)\n    stream = pair[0].stream\n"
        "    def warned(*a, **k):\n"
        "        for block in stream(*a, **k):\n            os.write(2, b'a warning of a library in C')\n            "
        "yield block\n"
        "    pair[0].stream = warned\n    return pair\n"
        "cli.PipelineChoice.load = loud\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    (tmp_path / "loud.py").write_text(code)
    result = shell(f'"$0" loud.py in.wav - --model {tiny_model} --mix 0 2>&- | cat > out.wav', tmp_path)
    assert result.stderr == ""
    np.testing.assert_array_equal(soundfile.read(tmp_path / "out.wav")[0], soundfile.read(tmp_path / "in.wav")[0])
    assert (tmp_path / "out.wav").stat().st_size == (tmp_path / "in.wav").stat().st_size


def test_no_room_for_stdin_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(write(tmp_path / "in.wav").read_bytes())))
    monkeypatch.setattr("tempfile.mkdtemp", fail)
    assert cli.main(["-", str(tmp_path / "out.wav")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "stdin: no temporary folder can be made (No space left on device); let TMPDIR name another" in line


def test_a_full_tmpdir_is_told_in_one_line(tmp_path):
    """A limit on the size of files stands for it."""
    write(tmp_path / "in.wav")
    result = shell('ulimit -f 4; trap "" XFSZ; "$0" -m speech_enhance - out.wav < in.wav', tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert re.fullmatch(
        r"speech-enhance: error: stdin: cannot be kept in .* \(File too large\); let TMPDIR name .*", line
    )
    assert not (tmp_path / "out.wav").exists()


def shell(script: str, folder, **options):
    """Run `script`, in which `$0` is Python."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.mark.slow
def test_pipes(tmp_path, tiny_model):
    source = write(tmp_path / "in.flac", 44100, 2)
    command = [sys.executable, "-m", "speech_enhance", "-", "-", "--model", tiny_model, "--format", "flac"]
    result = run_process(command, input=source.read_bytes(), capture_output=True, check=True)
    assert run(source, tmp_path / "out.flac", "--model", tiny_model).returncode == 0
    assert result.stdout == (tmp_path / "out.flac").read_bytes()
    assert result.stderr.startswith(b"-: 0.5 s of audio enhanced")
    nothing = run_process([*command[:4], tmp_path / "x.wav"], input=b"", capture_output=True)
    assert nothing.returncode == 2
    assert nothing.stderr.startswith(b"speech-enhance: error: stdin: is empty")


def test_silence_in_gives_silence_out(tmp_path, tiny_model, call):
    soundfile.write(tmp_path / "in.wav", np.zeros(8000), 16000)
    assert call(tmp_path / "in.wav", tmp_path / "out.wav", "--model", tiny_model).returncode == 0
    audio, _ = soundfile.read(tmp_path / "out.wav")
    assert len(audio) == 8000
    assert not audio.any()


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "nan"])
def test_wrong_input_gets_one_line_and_exit_code_2(tmp_path, call, kind):
    make(tmp_path / "in.wav", kind)
    result = call(tmp_path / "in.wav", tmp_path / "out.wav")
    check_refusal(result, str(tmp_path / "in.wav"))
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "from 1 to 1000, got '0'"),
        (["--steps", "two"], "got 'two'"),
        (["--scheduler", "pndm"], "invalid choice: 'pndm'"),
        (["--preset", "turbo"], "invalid choice: 'turbo'"),
        (["--mix", "1.5"], "from 0 to 1"),
        (["--mix", "nan"], "from 0 to 1"),
        (["--dereverb", "1.5"], "from 0 to 1"),
        (["--dereverb", "0.5"], "--dereverb 0.5: this model was not trained to remove reverberation"),
        (["--attenuation-limit", "-3"], "from 0 to 1000"),
        (["--seed", "-1"], "whole number"),
        (["--device", "abacus"], "cannot use the device 'abacus'"),
        (["--model", "/nowhere/model"], "/nowhere/model"),
        (["--model", str(ROOT / "tests")], "is no pipeline folder"),
    ],
)
def test_wrong_options_get_one_line_and_exit_code_2(tmp_path, tiny_model, call, monkeypatch, options, message):
    write(tmp_path / "in.wav")
    if "--model" not in options:
        options = ["--model", str(tiny_model), *options]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = call(tmp_path / "in.wav", tmp_path / "out.wav", *options)
    check_refusal(result, message)
    assert not (tmp_path / "out.wav").exists()


def test_output_that_cannot_be_written_is_refused(tmp_path, call):
    source = write(tmp_path / "in.wav")
    before = source.read_bytes()
    check_refusal(call(source, source), "same file")
    (tmp_path / "link.wav").symlink_to(source)
    check_refusal(call(source, tmp_path / "link.wav"), "same file")
    check_refusal(call(source, tmp_path / "no" / "out.wav"), "does not exist")
    check_refusal(call(source, tmp_path), "same file")  # the same name in a folder
    check_refusal(call(source, tmp_path / "out.txt"), "unknown output format")
    os.mkfifo(tmp_path / "fifo.wav")
    check_refusal(call(source, tmp_path / "fifo.wav"), "is not a regular file")
    assert source.read_bytes() == before


def test_too_few_arguments():
    check_refusal(run("only.wav"), "OUTPUT")


def test_the_module_of_the_command_is_the_command():
    command = [sys.executable, "-m", "speech_enhance.cli", "only.wav"]
    check_refusal(run_process(command, capture_output=True, text=True), "OUTPUT")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "names"), [((24, 80), ["in.wav"]), ((0, 0), ["in.wav"]), ((24, 80), ["in/a.wav", "in/b.wav"])]
)
def test_progress_is_shown_on_a_terminal_only(tmp_path, tiny_model, call, size, names):
    (tmp_path / "in").mkdir()
    for name in names:
        write(tmp_path / name)
    source, target = (
        (tmp_path / "in", tmp_path / "out") if len(names) > 1 else (tmp_path / "in.wav", tmp_path / "out.wav")
    )
    command = [sys.executable, "-m", "speech_enhance", source, target, "--model", tiny_model]
    terminal, other_end = os.openpty()
    termios.tcsetwinsize(terminal, size)
    process = Process(command, stderr=other_end)
    os.close(other_end)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the process has closed its end
            break
    assert process.wait(timeout=60) == 0
    os.close(terminal)
    assert b"enhancing" in shown
    assert re.search(rb"\d+% \|.*\| \d of \d s of audio, .* left", shown)
    assert "s of audio, " not in call(source, tmp_path / "again.wav", "--model", tiny_model).stderr


@pytest.mark.parametrize("name", ["out.m4a", "out.mp4"])
def test_an_output_that_needs_ffmpeg_says_so(tmp_path, call, monkeypatch, name):
    source = write(tmp_path / "in.wav")
    monkeypatch.setenv("PATH", str(tmp_path))
    check_refusal(call(source, tmp_path / name), "needs ffmpeg")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_nothing_behind(tmp_path, tiny_model, number):
    source = write(tmp_path / "in.wav", seconds=300)
    command = [
        sys.executable,
        "-m",
        "speech_enhance",
        source,
        tmp_path / "out.wav",
        "--model",
        tiny_model,
        "--steps",
        "200",
    ]
    process = Process(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not writes(process.pid, tmp_path):
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert message.splitlines()[-1] == "speech-enhance: interrupted, no file is left half-written"
    assert [item.name for item in tmp_path.iterdir()] == ["in.wav"]


def writes(pid: int, folder: Path) -> bool:
    """Whether a process has begun an output file in `folder`, which has no name on Linux."""
    names = [item.name for item in folder.iterdir()]
    with contextlib.suppress(OSError):  # the process may close files meanwhile; elsewhere there is no /proc
        names += [os.readlink(item).removeprefix(f"{folder}/") for item in Path(f"/proc/{pid}/fd").iterdir()]
    return any(name.startswith(("#", ".speech-enhance.")) for name in names)


def check_refusal(result, message):
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("speech-enhance: error: ")
    assert message in line
