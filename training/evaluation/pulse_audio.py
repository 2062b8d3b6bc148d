"""A PulseAudio server of our own, with two null sinks in the place of a sound card: what is played into `talk` can be
heard at `talk.monitor`, and what `speech-enhance live` plays into `clean` at `clean.monitor`."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SINKS = ("talk", "clean")
PROGRAMS = ("pulseaudio", "pacat", "parec")
"""What this module runs. On Debian they are in the packages `pulseaudio` and `pulseaudio-utils`; PortAudio also needs
`libasound2-plugins`."""
START_SECONDS = 10.0


class NoPulseAudio(RuntimeError):
    """PulseAudio does not start here."""


@contextmanager
def null_sinks(folder: Path, sampling_rate: int) -> Iterator[dict[str, str]]:
    """Run a server and yield the environment of programs that use it. They hear `talk` and play into `clean`.

    Args:
        folder: Folder for the server's socket and settings.
        sampling_rate: Samples per second of the sinks.

    Raises:
        NoPulseAudio: if the server does not start.
    """
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    environment = os.environ | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        "PULSE_SOURCE": "talk.monitor",
        "PULSE_SINK": "clean",
    }
    sinks = [f"--load=module-null-sink sink_name={name} rate={sampling_rate}" for name in SINKS]
    options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes", "--load=module-native-protocol-unix"]
    server = subprocess.Popen(["pulseaudio", *options, *sinks], env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while server.poll() is not None or not list(runtime.rglob("native")):
            if time.monotonic() > deadline:
                raise NoPulseAudio("PulseAudio does not start here")
            time.sleep(0.1)
        yield environment
    finally:
        server.terminate()
        server.wait(10)


def stream_options(sampling_rate: int) -> list[str]:
    """Options of `pacat` and `parec`: mono float32 with a short buffer."""
    return ["--latency-msec=20", f"--rate={sampling_rate}", "--channels=1", "--format=float32le"]


@contextmanager
def recorded(environment: dict[str, str], source: str, path: Path, sampling_rate: int) -> Iterator[None]:
    """Record a source into a file of float32 samples as long as the context lasts."""
    with open(path, "wb") as file:
        command = ["parec", *stream_options(sampling_rate), f"--device={source}"]
        recorder = subprocess.Popen(command, env=environment, stdout=file)
        try:
            yield
        finally:
            recorder.terminate()
            recorder.wait(10)


@contextmanager
def silence(environment: dict[str, str]) -> Iterator[None]:
    """Play silence into `talk`, so that it stays awake."""
    player = subprocess.Popen(["pacat", "--latency-msec=20", "--device=talk", "/dev/zero"], env=environment)
    try:
        yield
    finally:
        player.terminate()
        player.wait(10)


def play(environment: dict[str, str], path: Path, sampling_rate: int) -> None:
    """Play a file of float32 samples into `talk`, to its end."""
    command = ["pacat", *stream_options(sampling_rate), "--device=talk", str(path)]
    subprocess.run(command, env=environment, check=True)
