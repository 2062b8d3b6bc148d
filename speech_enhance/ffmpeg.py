"""What libsndfile does not know, through the program ffmpeg: other formats, and the sound of videos.

Only local files are opened, whatever a playlist in one of them names.
"""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

CONTAINERS = {
    ".3g2": ("3g2", "aac"),
    ".3gp": ("3gp", "aac"),
    ".aac": ("adts", "aac"),
    ".ac3": ("ac3", "ac3"),
    ".asf": ("asf", "wmav2"),
    ".avi": ("avi", "libmp3lame"),
    ".eac3": ("eac3", "eac3"),
    ".flv": ("flv", "aac"),
    ".m2ts": ("mpegts", "aac"),
    ".m4a": ("ipod", "aac"),
    ".m4b": ("ipod", "aac"),
    ".m4v": ("mp4", "aac"),
    ".mka": ("matroska", "libopus"),
    ".mkv": ("matroska", "aac"),
    ".mov": ("mov", "aac"),
    ".mp2": ("mp2", "mp2"),
    ".mp4": ("mp4", "aac"),
    ".mpeg": ("vob", "mp2"),
    ".mpg": ("vob", "mp2"),
    ".mts": ("mpegts", "aac"),
    ".ts": ("mpegts", "aac"),
    ".tta": ("tta", "tta"),
    ".vob": ("vob", "mp2"),
    ".webm": ("webm", "libopus"),
    ".wma": ("asf", "wmav2"),
    ".wmv": ("asf", "wmav2"),
    ".wv": ("wv", "wavpack"),
}
"""Per extension ffmpeg's names of the container and of the usual encoder for sound in it."""

_SOUND_ONLY = (".aac", ".ac3", ".eac3", ".m4a", ".m4b", ".mka", ".mp2", ".tta", ".wma", ".wv")
_ENCODERS = {"vorbis": "libvorbis", "opus": "libopus", "mp3": "libmp3lame"}  # the others are called as their codec
_QUIET = ("-v", "error", "-nostdin")
_LOCAL = ("-protocol_whitelist", "file")
_BIT_RATE_PER_CHANNEL = 96000


class FfmpegError(ValueError):
    """ffmpeg cannot read or write something; the message is its own."""


@dataclass(frozen=True)
class Sound:
    """The first sound track of a file, as ffmpeg sees it."""

    sampling_rate: int
    num_channels: int
    duration: float
    codec: str
    bit_rate: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    start: float = 0.0
    """Seconds; below 0 where the file begins with the delay of its encoder."""


def installed() -> bool:
    """Whether the programs ffmpeg and ffprobe are there."""
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


def probe(path: Path) -> Sound:
    """Look at the first sound track of a file.

    Raises:
        FfmpegError: if there is none, or the file is nothing that ffmpeg reads.
    """
    command = ["ffprobe", "-v", "error", *_LOCAL, "-show_streams", "-show_format", "-of", "json", _url(path)]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise FfmpegError(_last_line(result.stderr, path))
    found = json.loads(result.stdout)
    track = next((item for item in found.get("streams", []) if item.get("codec_type") == "audio"), None)
    if track is None or "codec_name" not in track or not int(track.get("sample_rate", 0)):
        raise FfmpegError("it has no sound track" if track is None else "its sound is of no known kind")
    about = found.get("format", {})
    duration = float(track.get("duration") or about.get("duration") or "nan")
    bit_rate = int(track.get("bit_rate", 0)) or None
    tags = {name.lower(): value for name, value in (about.get("tags", {}) | track.get("tags", {})).items()}
    start = min(float(about.get("start_time", 0)), 0.0)
    return Sound(int(track["sample_rate"]), track["channels"], duration, track["codec_name"], bit_rate, tags, start)


def decode(path: Path, num_channels: int, block_samples: int) -> Iterator[np.ndarray]:
    """The first sound track in float32 blocks `(channels, samples)`. Sample 0 is time 0 of the file: a track that begins
    later, or has gaps, is filled with silence.

    Raises:
        FfmpegError: if it cannot be decoded to its end.
    """
    command = ["ffmpeg", *_QUIET, *_input(path, probe(path)), "-map", "0:a:0", "-af", "aresample=async=1:first_pts=0"]
    command += ["-ac", str(num_channels), "-f", "f32le", "pipe:1"]
    size = 4 * num_channels
    with (
        tempfile.TemporaryFile() as messages,  # a pipe could fill up while nobody reads it
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            while data := process.stdout.read(size * block_samples):
                samples = np.frombuffer(data[: len(data) // size * size], "<f4").reshape(-1, num_channels)
                yield np.array(samples.T, np.float32, order="C")  # writable, unlike the bytes
            process.wait()
        finally:
            process.kill()
        _check(process, messages, path)


class Encoder:
    """Writes a file block by block: sound, and all other tracks of `source`, which are copied as they are.

    Args:
        target: File to write, which may exist.
        extension: Of the file's final name; chooses the container.
        sampling_rate, num_channels: Of the sound.
        source: The file whose first sound track it replaces.
    """

    def __init__(self, target: str, extension: str, sampling_rate: int, num_channels: int, source: Path | None):
        container, encoder = CONTAINERS[extension]
        bit_rate = _BIT_RATE_PER_CHANNEL * num_channels
        command = ["ffmpeg", *_QUIET[:2], "-y", "-f", "f32le", "-ar", str(sampling_rate), "-ac", str(num_channels)]
        command += ["-i", "pipe:0"]
        sound = probe(source) if source else None
        if sound:
            command += _input(source, sound)
            keeps_codec = extension == source.suffix.lower() and _can_encode(sound.codec)
            encoder = _ENCODERS.get(sound.codec, sound.codec) if keeps_codec else encoder
            bit_rate = sound.bit_rate or bit_rate
        if sound and extension not in _SOUND_ONLY:
            command += ["-map", "1:v?", "-map", "0:a:0", "-map", "1:a?", "-map", "-1:a:0", "-map", "1:s?"]
        else:
            command += ["-map", "0:a:0"]
        if sound:
            command += ["-map_metadata", "1", "-map_chapters", "1", "-map_metadata:s:a:0", "1:s:a:0"]
            command += _without_garbled(sound.tags)
        command += ["-c", "copy", "-c:a:0", encoder, "-b:a:0", str(bit_rate), "-f", container, target]
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the encoder
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=self._messages, stdout=subprocess.DEVNULL
        )

    def write(self, samples: np.ndarray) -> None:
        """Add float32 `(samples, channels)`.

        Raises:
            FfmpegError: if ffmpeg has given up.
        """
        try:
            self._process.stdin.write(np.ascontiguousarray(samples, dtype="<f4").tobytes())
        except BrokenPipeError:
            self._process.wait()
            _check(self._process, self._messages, None)

    def close(self) -> None:
        """Finish the file.

        Raises:
            FfmpegError: if it could not be written.
        """
        with self._messages:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process.wait()
            _check(self._process, self._messages, None)

    def abort(self) -> None:
        """Stop at once."""
        self._process.kill()
        with self._messages, contextlib.suppress(BrokenPipeError):
            self._process.communicate()


def _without_garbled(tags: dict[str, str]) -> list[str]:
    """Options that leave out tags that are not in Unicode: formats disagree about what becomes of their bytes."""
    names = [f"{name}=" for name, value in tags.items() if "\N{REPLACEMENT CHARACTER}" in value]
    return [option for name in names for option in ("-metadata", name, "-metadata:s:a:0", name)]


def _can_encode(codec: str) -> bool:
    command = ["ffmpeg", *_QUIET, "-h", f"encoder={_ENCODERS.get(codec, codec)}"]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return result.stdout.startswith("Encoder ")


def _input(path: Path, sound: Sound) -> list[str]:
    """Options that open `path` with time 0 where the file has it: ffmpeg would move its beginning there, so that the
    delay of an encoder before 0 (Opus in Matroska: 7 ms) would be added to the sound each time."""
    return [*_LOCAL, "-itsoffset", str(sound.start), "-i", _url(path)]


def _url(path: Path) -> str:
    return f"file:{path}"


def _check(process: subprocess.Popen, messages: IO[bytes], path: Path | None) -> None:
    if process.returncode != 0:
        messages.seek(0)
        raise FfmpegError(_last_line(messages.read().decode(errors="replace"), path))


def _last_line(message: str, path: Path | None) -> str:
    """What ffmpeg said last, without the part of it that spoke and the file's name, which our messages begin with."""
    line = re.sub(r"^\[[^]]*\] ", "", (message.strip().splitlines() or ["ffmpeg failed"])[-1])
    return line.removeprefix(f"{_url(path)}: ") if path else line
