"""A PulseAudio server of our own, with a null sink in the place of a sound card.

Its left channel is the sink `talk`, which is heard at the source `microphone`. Its right channel is the sink `clean`,
into which `speech-enhance live` plays. So one recording of both channels has the delay between them to the sample.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODULES = (
    "module-native-protocol-unix",
    "module-null-sink sink_name=card channels=2 channel_map=front-left,front-right rate={rate}",
    "module-remap-sink sink_name=talk master=card channels=1 channel_map=mono master_channel_map=front-left remix=no",
    "module-remap-sink sink_name=clean master=card channels=1 channel_map=mono master_channel_map=front-right remix=no",
    "module-remap-source source_name=microphone master=card.monitor channels=1 channel_map=mono "
    "master_channel_map=front-left remix=no",
)
PROGRAMS = ("pulseaudio", "pacat", "parec")
"""What this module runs. On Debian they are in the packages `pulseaudio` and `pulseaudio-utils`; PortAudio also needs
`libasound2-plugins`."""
START_SECONDS = 10.0


class NoPulseAudio(RuntimeError):
    """PulseAudio does not start here."""


@contextmanager
def sound_card(folder: Path, sampling_rate: int) -> Iterator[dict[str, str]]:
    """Run a server and yield the environment of programs that use it. They hear `microphone` and play into `clean`.

    Args:
        folder: Folder for the server's socket and settings.
        sampling_rate: Samples per second of the card.

    Raises:
        NoPulseAudio: if the server does not start.
    """
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    environment = os.environ | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        "PULSE_SOURCE": "microphone",
        "PULSE_SINK": "clean",
    }
    options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=yes"]
    options += [f"--load={module.format(rate=sampling_rate)}" for module in MODULES]
    server = subprocess.Popen(["pulseaudio", *options], env=environment, stderr=subprocess.DEVNULL)
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


def stream_options(sampling_rate: int, num_channels: int) -> list[str]:
    """Options of `pacat` and `parec`: float32 with a long buffer, so that neither leaves anything out."""
    return ["--latency-msec=500", f"--rate={sampling_rate}", f"--channels={num_channels}", "--format=float32le"]


@contextmanager
def recorded(environment: dict[str, str], path: Path, sampling_rate: int) -> Iterator[None]:
    """Record both channels of the card into a file of float32 samples, in turn, as long as the context lasts."""
    with open(path, "wb") as file:
        command = ["parec", *stream_options(sampling_rate, 2), "--device=card.monitor"]
        recorder = subprocess.Popen(command, env=environment, stdout=file)
        try:
            yield
        finally:
            recorder.terminate()
            recorder.wait(10)


@contextmanager
def silence(environment: dict[str, str]) -> Iterator[None]:
    """Play silence into `talk`, so that it stays awake."""
    player = subprocess.Popen(["pacat", "--latency-msec=500", "--device=talk", "/dev/zero"], env=environment)
    try:
        yield
    finally:
        player.terminate()
        player.wait(10)


def play(environment: dict[str, str], path: Path, sampling_rate: int) -> None:
    """Play a file of float32 samples into `talk`, to its end."""
    command = ["pacat", *stream_options(sampling_rate, 1), "--device=talk", str(path)]
    subprocess.run(command, env=environment, check=True)
