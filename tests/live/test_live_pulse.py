"""The command `speech-enhance live` from end to end: PulseAudio's null sinks in the place of a sound card."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import noise

RATE = 48000
MISSING = [name for name in ("pulseaudio", "pacat", "parec") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (apt install pulseaudio libasound2-plugins)"),
]


@pytest.fixture
def pulse(tmp_path):
    """The environment of a PulseAudio of our own, with the null sinks `talk` and `clean`, both awake."""
    pytest.importorskip("sounddevice")
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(runtime),
        "PULSE_SOURCE": "talk.monitor",
        "PULSE_SINK": "clean",
    }
    sinks = [f"--load=module-null-sink sink_name={name} rate={RATE}" for name in ("talk", "clean")]
    options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes", "--load=module-native-protocol-unix"]
    server = subprocess.Popen(["pulseaudio", *options, *sinks], env=environment, stderr=subprocess.DEVNULL)
    for _ in range(100):
        time.sleep(0.1)
        if server.poll() is None and list(runtime.rglob("native")):
            break
    else:
        pytest.skip("PulseAudio does not start here")
    yield environment
    server.terminate()
    server.wait(10)


def record(environment: dict, source: str, path: Path) -> subprocess.Popen:
    command = [
        "parec",
        "--latency-msec=20",
        f"--rate={RATE}",
        "--channels=1",
        "--format=float32le",
        f"--device={source}",
    ]
    with open(path, "wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file)


def test_what_is_played_at_one_end_arrives_at_the_other(pulse, tiny_model, tmp_path):
    """With --attenuation-limit 0 the sound is the same; delay and gaps are as the command says."""
    silence = subprocess.Popen(["pacat", "--latency-msec=20", "--device=talk", "/dev/zero"], env=pulse)
    recorders = [record(pulse, f"{name}.monitor", tmp_path / f"{name}.raw") for name in ("talk", "clean")]
    command = [
        sys.executable,
        "-m",
        "speech_enhance",
        "live",
        "--input",
        "pulse",
        "--output",
        "pulse",
        "--buffer",
        "100",
        "--rate",
        str(RATE),
    ]
    command += ["--model", str(tiny_model), "--attenuation-limit", "0", "--record", str(tmp_path / "kept.wav")]
    interruptible = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # else ignored in background jobs
    live = subprocess.Popen(command, env=pulse, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible)
    try:
        for line in live.stderr:
            if "from 'pulse'" in line:
                break
        time.sleep(2)
        (tmp_path / "talk.f32").write_bytes(noise(6 * RATE).tobytes())
        player = ["pacat", "--latency-msec=20", f"--rate={RATE}", "--channels=1", "--format=float32le", "--device=talk"]
        subprocess.run([*player, str(tmp_path / "talk.f32")], env=pulse, check=True, timeout=60)
        time.sleep(2)
        live.send_signal(signal.SIGINT)
        told = live.communicate(timeout=60)[1]
    finally:
        live.stderr.close()
        for process in (live, silence, *recorders):
            process.terminate()
            process.wait(10)
    assert live.returncode == 0, told
    delay, devices = (int(number) for number in re.search(r"delay (\d+) ms and (\d+) ms", told).groups())
    before, after = (np.fromfile(tmp_path / f"{name}.raw", np.float32) for name in ("talk", "clean"))
    lag, likeness = best_lag(before, after)
    steady = " 0 gaps" in told and " 0 times too slow" in told  # else the delay has changed on the way
    assert likeness > (0.9 if steady else 0.3), told
    assert lag / RATE * 1000 == pytest.approx(delay + devices, abs=200 if steady else 1500), told
    kept, rate = soundfile.read(tmp_path / "kept.wav")
    assert rate == RATE
    assert np.abs(kept).max() > 0.1


def best_lag(before: np.ndarray, after: np.ndarray) -> tuple[int, float]:
    """By how many samples `after` is later, up to 3 s, and how like it then is to `before`, at most 1."""
    length = min(len(before), len(after))
    first, second = (np.fft.rfft(item[:length], 2 * length) for item in (before, after))
    correlation = np.fft.irfft(second * first.conj())[: 3 * RATE]
    lag = int(correlation.argmax())
    return lag, float(correlation[lag] / np.sqrt((before[:length] ** 2).sum() * (after[:length] ** 2).sum()))


def test_an_unknown_device_is_one_line(pulse):
    command = [sys.executable, "-m", "speech_enhance", "live", "--input", "nonsense"]
    run = subprocess.run(command, env=pulse, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert re.fullmatch(
        r"speech-enhance: error: --input: no input device 'nonsense' .*\n", run.stderr.splitlines(True)[-1]
    )
