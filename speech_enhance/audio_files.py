"""Audio files in and out, through libsndfile: what is read is checked, what is written appears whole or not at all."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FORMATS = {
    ".aif": ("AIFF", None),
    ".aiff": ("AIFF", None),
    ".au": ("AU", None),
    ".caf": ("CAF", None),
    ".flac": ("FLAC", None),
    ".mp3": ("MP3", None),
    ".ogg": ("OGG", None),
    ".opus": ("OGG", "OPUS"),
    ".rf64": ("RF64", None),
    ".w64": ("W64", None),
    ".wav": ("WAV", None),
}
_PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


class AudioFileError(ValueError):
    """A file that cannot be read or written as audio; the message names it and says why."""


@dataclass(frozen=True)
class AudioFile:
    """A decoded recording.

    Args:
        audio: float32 `(channels, samples)`, full scale ±1.
        sampling_rate: Samples per second.
        subtype: libsndfile's name of the sample encoding, such as `PCM_16`.
    """

    audio: np.ndarray
    sampling_rate: int
    subtype: str


def read_audio(path: str | os.PathLike) -> AudioFile:
    """Decode a whole audio file.

    Raises:
        AudioFileError: if it is missing, no regular file, no audio libsndfile knows, empty, or has NaN or infinite
            samples.
    """
    import soundfile

    path = check_input(path)
    try:
        with soundfile.SoundFile(path) as file:
            audio = file.read(dtype="float32", always_2d=True).T
            sampling_rate, subtype = file.samplerate, file.subtype
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"{path}: cannot be read as audio ({_reason(error)})") from error
    if audio.shape[1] == 0:
        raise AudioFileError(f"{path}: holds no audio samples")
    if not np.isfinite(audio).all():
        raise AudioFileError(f"{path}: contains NaN or infinite samples")
    return AudioFile(np.ascontiguousarray(audio), sampling_rate, subtype)


def write_audio(path: str | os.PathLike, audio: np.ndarray, sampling_rate: int, subtype: str | None = None) -> int:
    """Encode `(channels, samples)` into the format of the path's extension, written beside and renamed.

    Args:
        path: Where to; a file there before is replaced only by a complete one.
        audio: float32 `(channels, samples)`.
        sampling_rate: Samples per second.
        subtype: Sample encoding, kept where the format has it, else the format's default.

    Returns:
        Number of samples beyond full scale that an encoding without headroom had to limit.

    Raises:
        AudioFileError: if the format is unknown, cannot hold this audio, or the place cannot be written.
    """
    import soundfile

    path = check_output(path)
    format_name, fixed_subtype = _FORMATS[path.suffix.lower()]
    subtype = fixed_subtype or (subtype if soundfile.check_format(format_name, subtype) else None)
    subtype = subtype or soundfile.default_subtype(format_name)
    bits = _PCM_BITS.get(subtype)
    num_limited = 0 if subtype in ("FLOAT", "DOUBLE") else int((np.abs(audio) > 1).sum())
    data = audio if num_limited == 0 else audio.clip(-1, 1)
    data = data.T if bits is None else _to_integers(data.T, bits)
    partial = None
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{path.stem[:80]}.", suffix=".partial", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            soundfile.write(file, data, sampling_rate, subtype=subtype, format=format_name)
        os.chmod(partial, _default_mode(path))
        os.replace(partial, path)
        partial = None
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"{path}: cannot be written ({_reason(error)})") from error
    finally:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
    return num_limited


def check_input(path: str | os.PathLike) -> Path:
    """The path of a readable regular file, or [`AudioFileError`]."""
    path = Path(path)
    try:
        if not path.exists():
            raise AudioFileError(f"{path}: no such file")
        if path.is_dir():
            raise AudioFileError(f"{path}: is a folder, expected an audio file")
        if not path.is_file():
            raise AudioFileError(f"{path}: is not a regular file")
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path}: is empty")
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be read ({_reason(error)})") from error
    if not os.access(path, os.R_OK):
        raise AudioFileError(f"{path}: no permission to read it")
    return path


def check_output(path: str | os.PathLike) -> Path:
    """The path of a file that can be written and whose extension names a known format, or [`AudioFileError`]."""
    path = Path(path)
    if path.is_dir():
        raise AudioFileError(f"{path}: is a folder, expected a file name for the output")
    if path.suffix.lower() not in _FORMATS:
        raise AudioFileError(f"{path}: unknown output format {path.suffix!r}; known are {', '.join(_FORMATS)}")
    if not path.parent.is_dir():
        raise AudioFileError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise AudioFileError(f"{path}: no permission to write it")
    return path


def _to_integers(audio: np.ndarray, bits: int) -> np.ndarray:
    """int32 whose upper `bits` hold the samples, on the scale libsndfile reads with: what was read is written back
    bit by bit, which its own conversion of floats (by 2^(bits-1) - 1) does not do."""
    full_scale = 2.0 ** (bits - 1)
    samples = np.round(audio.astype(np.float64) * full_scale).clip(-full_scale, full_scale - 1)
    return samples.astype(np.int32) << (32 - bits)


def _default_mode(path: Path) -> int:
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _reason(error: Exception) -> str:
    return (
        getattr(error, "strerror", None) or str(error).splitlines()[0] if str(error) else type(error).__name__
    ).rstrip(".")
