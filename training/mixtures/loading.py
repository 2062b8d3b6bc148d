"""Rows of audio datasets as samples."""

import contextlib
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speech_enhance import AudioFileError, read_audio
from speech_enhance.audio.file_parts import Layout, layout_of


def decode(entry: dict, sampling_rate: int) -> np.ndarray:
    """Undecoded audio (`{"bytes": …, "path": …}`) to float32 mono samples at `sampling_rate`.

    Raises:
        OSError: if there is no such file.
        ValueError: if it cannot be read.
    """
    content = entry["bytes"] if entry.get("bytes") else Path(entry["path"]).read_bytes()
    audio, original_rate = _read(content)
    audio = audio.mean(axis=1)
    if original_rate != sampling_rate:
        audio = soxr.resample(audio, original_rate, sampling_rate)
    return audio


def _read(content: bytes) -> tuple[np.ndarray, int]:
    """The samples `(samples, channels)` of a file's content, and their rate. If libsndfile would read only a part of
    the content, it goes through a temporary file."""
    if replace(layout_of(content), extras=[]) == Layout():
        with contextlib.suppress(soundfile.SoundFileError):
            return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recording"
        file.write_bytes(content)
        try:
            recording = read_audio(file)
        except AudioFileError as error:
            raise ValueError(str(error).removeprefix(f"{file}: ")) from error
    return recording.audio.T, recording.sampling_rate


def decode_row(row: dict, columns: tuple[str, ...], sampling_rate: int, where: str) -> np.ndarray:
    """The recordings in `columns` of a row: `(samples,)`, or `(len(columns), samples)` if there are several.

    Raises:
        ValueError: if several differ in length, or one is missing, cannot be read, or is empty or not finite.
    """
    if missing := [column for column in columns if row[column] is None]:
        raise ValueError(f"{where}: the column {missing[0]} holds no sound")
    recordings = []
    for column in columns:
        try:
            recordings.append(decode(row[column], sampling_rate))
        except (OSError, ValueError) as error:
            raise ValueError(f"{where} ({row[column].get('path') or column}): {error}") from error
    lengths = [len(audio) for audio in recordings]
    if len(set(lengths)) > 1:
        raise ValueError(f"{where}: {' and '.join(columns)} differ in length: {lengths} samples")
    if lengths[0] == 0 or not all(np.isfinite(audio).all() for audio in recordings):
        raise ValueError(f"{where}: the recording is empty or holds values that are not finite")
    return recordings[0] if len(columns) == 1 else np.stack(recordings)
