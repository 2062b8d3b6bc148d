"""Files that ffmpeg makes, and what it sees in them."""

import json
import subprocess
from pathlib import Path

import numpy as np

from speech_enhance import AudioWriter, open_audio

TONE_HZ = 40 + 20 * np.arange(16)  # low: a channel for low frequencies alone must pass them


def run(*arguments) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def streams(path) -> list[dict]:
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    for index, stream in enumerate(found["streams"]):
        stream["packets"] = [item for item in found["packets"] if item["stream_index"] == index]
    return found["streams"]


def copy(source, target, factor: float = 1.0) -> list[str]:
    """Write a recording again, and return what the writer notes."""
    reader = open_audio(source)
    with AudioWriter(target, reader.sampling_rate, reader.num_channels, like=reader) as writer:
        for block in reader.blocks():
            writer.write(factor * block)
    return writer.notes


def write_tones(path: Path, layout: str, num_channels: int, *options) -> None:
    """Half a second with a tone of its own in each channel."""
    time = np.arange(24000) / 48000
    tones = 0.25 * np.sin(2 * np.pi * TONE_HZ[:num_channels] * time[:, None])
    named = ["-channel_layout", layout] if layout else ["-ac", str(num_channels)]
    command = ["ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", "48000", *named, "-i", "-", *options, str(path)]
    subprocess.run(command, input=tones.astype("<f4").tobytes(), check=True)


def heard_tones(audio: np.ndarray) -> list[list[int]]:
    """Which tones each channel of `(channels, samples)` at 48 kHz holds."""
    audio = audio * np.hanning(audio.shape[1])
    time = np.arange(audio.shape[1]) / 48000
    heard = np.abs(audio @ np.exp(-2j * np.pi * TONE_HZ[:, None] * time).T)
    return [np.flatnonzero(row > 0.1 * heard.max()).tolist() for row in heard]


def decoded_by_ffmpeg(path, num_channels: int) -> np.ndarray:
    """`(channels, samples)`, in ffmpeg's order, which is that of WAV files."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "f32le", "-"]
    content = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(content, "<f4").reshape(-1, num_channels).T
