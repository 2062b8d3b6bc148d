"""Reads and writes formats that libsndfile does not know, and the sound of videos, with the program ffmpeg.

[`probe`] and [`decode`] read, [`Encoder`] writes. Only local files of known formats are opened. Files that a playlist
names are not opened.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from .encoders import CONTAINERS, choose_encoding, raw_input
from .process import FfmpegError, Watchdog, url
from .reading import Sound, decode, probe, source_options
from .tracks import SOUND_ONLY, choose_tracks, compare_tracks, name_lost, track_options

__all__ = ["CONTAINERS", "Encoder", "FfmpegError", "Sound", "decode", "installed", "probe", "tracks_beside"]


def installed() -> bool:
    """Whether the programs ffmpeg and ffprobe are installed."""
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


def tracks_beside(path: Path, extension: str) -> list[str]:
    """A list with a sentence about tracks and covers of a file that a format for sound alone cannot hold. The list is
    empty if there are none."""
    with contextlib.suppress(FfmpegError):
        others = list(probe(path).others)
        return [name_lost(others, extension)] if others else []
    return []


class Encoder:
    """Writes a file block by block: the sound, and all other tracks of `source`, which are copied as they are.

    Args:
        target: File to write, which may exist.
        extension: Extension of the file's final name; it chooses the container.
        sampling_rate, num_channels: Sampling rate and number of channels of the sound.
        source: File whose first sound track the new sound replaces.

    Raises:
        FfmpegError: if the container has no encoder that keeps sampling rate and channels.
    """

    def __init__(self, target: str, extension: str, sampling_rate: int, num_channels: int, source: Path | None):
        self.notes: list[str] = []
        """Sentences about what is not as it was in `source`."""
        sound = probe(source) if source else None
        same_format = source is not None and extension == source.suffix.lower()
        encoding = choose_encoding(extension, sampling_rate, num_channels, sound, same_format)
        self.notes += encoding.notes
        container, _ = CONTAINERS[extension]
        command = ["ffmpeg", "-v", "error", "-y", *raw_input(sampling_rate, num_channels, encoding.layout)]
        self._compare = list
        self._folder = tempfile.TemporaryDirectory()
        if source and sound:
            kept, lost = choose_tracks(source, sound, container, extension not in SOUND_ONLY, Path(self._folder.name))
            if lost:
                self.notes.append(name_lost(lost, extension))
            command += [*source_options(source, sound), "-map_metadata", "1", "-map_chapters", "1"]
            command += track_options(sound, kept, container)
            command += _without_garbled(sound.tags)
            self._compare = lambda: compare_tracks(sound, kept, Path(target), extension)
        command += [*encoding.options, "-f", container, url(target)]
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the encoder
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=self._messages, stdout=subprocess.DEVNULL
        )
        self._num_written = 0
        self._watchdog = Watchdog(self._process, lambda: (self._num_written, _size(target)))

    def write(self, samples: np.ndarray) -> None:
        """Add float32 `(samples, channels)`.

        Raises:
            FfmpegError: if ffmpeg has failed.
        """
        try:
            assert self._process.stdin is not None  # it is a pipe
            with self._watchdog.waiting():
                self._process.stdin.write(np.ascontiguousarray(samples, dtype="<f4").tobytes())
            self._num_written += len(samples)
        except BrokenPipeError:
            self._check()

    def close(self) -> None:
        """Finish the file.

        Raises:
            FfmpegError: if it could not be written.
        """
        with self._messages, self._folder:
            with contextlib.suppress(BrokenPipeError), self._watchdog.waiting():
                self._process.communicate()
            self._check()
        self.notes += self._compare()

    def abort(self) -> None:
        """Stop at once."""
        self._process.kill()
        self._watchdog.end()
        with self._messages, self._folder, contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _check(self) -> None:
        with self._watchdog.waiting():
            self._process.wait()
        self._watchdog.end()
        self._messages.seek(0)
        self._watchdog.check(self._messages.read(), None)


def _size(path: str) -> int:
    """Present size of a file in bytes."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_size
    return 0


def _without_garbled(tags: dict[str, str]) -> list[str]:
    """Options that leave out tags that are not in Unicode, since formats treat their bytes in different ways."""
    names = [f"{name}=" for name, value in tags.items() if "\N{REPLACEMENT CHARACTER}" in value]
    return [option for name in names for option in ("-metadata", name, "-metadata:s:a:0", name)]
