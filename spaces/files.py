"""Recordings of visitors: the part for a preview, and the file with the result."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from levels import busiest_part
from serving import RequestError, Run, checked_blocks

from speech_enhance.audio.files import AudioFile, AudioFileError
from speech_enhance.audio.writer import AudioWriter

PREVIEW_SECONDS = 10
VIDEOS = (".mp4", ".m4v", ".mov", ".3gp", ".3g2")


def preview_of(recording: AudioFile, check: Callable[[], None]) -> tuple[AudioFile, float]:
    """Return the part of `recording` with most speech, and the second at which it begins."""
    part = busiest_part(recording.audio, recording.sampling_rate, PREVIEW_SECONDS, check)
    audio = np.ascontiguousarray(recording.audio[:, part])
    if not audio.any():
        raise RequestError("The preview holds nothing but digital silence; enhance the whole recording.")
    return replace(recording, audio=audio), part.start / recording.sampling_rate


def save(source: Path, recording: AudioFile, run: Run, folder: Path, check: Callable[[], None]) -> Path:
    """Write the result in the format of the upload; the sound of a video becomes M4A. If that format cannot be written,
    the result becomes WAV."""
    rate, (num_channels, num_samples) = recording.sampling_rate, run.audio.shape
    ending = source.suffix.lower()
    for suffix in (".m4a" if ending in VIDEOS else ending, ".wav"):
        target = folder / f"{source.stem[:80]}-enhanced{suffix}"
        subtype = recording.subtype if recording.subtype in soundfile.available_subtypes() else None
        encoding = {"subtype": subtype, "num_samples": num_samples}
        with suppress(AudioFileError), AudioWriter(target, rate, num_channels, **encoding) as writer:
            for block in checked_blocks(run.audio, rate, check):
                writer.write(block)
            break
    return target
