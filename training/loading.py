"""Rows of audio datasets as samples."""

import io

import numpy as np
import soundfile
import soxr


def decode(entry: dict, sampling_rate: int) -> np.ndarray:
    """Undecoded audio (`{"bytes": …, "path": …}`) to float32 mono samples at `sampling_rate`."""
    source = io.BytesIO(entry["bytes"]) if entry.get("bytes") else entry["path"]
    audio, original_rate = soundfile.read(source, dtype="float32", always_2d=True)
    audio = audio.mean(axis=1)
    if original_rate != sampling_rate:
        audio = soxr.resample(audio, original_rate, sampling_rate)
    return audio


def decode_row(row: dict, columns: tuple[str, ...], sampling_rate: int, where: str) -> np.ndarray:
    """The recordings in `columns` of a row: `(samples,)`, or `(len(columns), samples)` if there are several.

    Raises:
        ValueError: if several differ in length, or one is missing, empty or not finite.
    """
    if missing := [column for column in columns if row[column] is None]:
        raise ValueError(f"{where}: the column {missing[0]} holds no sound")
    recordings = [decode(row[column], sampling_rate) for column in columns]
    lengths = [len(audio) for audio in recordings]
    if len(set(lengths)) > 1:
        raise ValueError(f"{where}: {' and '.join(columns)} differ in length: {lengths} samples")
    if lengths[0] == 0 or not all(np.isfinite(audio).all() for audio in recordings):
        raise ValueError(f"{where}: the recording is empty or holds values that are not finite")
    return recordings[0] if len(columns) == 1 else np.stack(recordings)
