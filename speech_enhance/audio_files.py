"""Audio files in, block by block and checked: libsndfile reads what it knows, ffmpeg the rest where it is installed."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import ffmpeg
from .channel_layouts import in_wav_order

BLOCK_SAMPLES = 65536
_PCM_CODECS = {"pcm_s16le": "PCM_16", "pcm_s24le": "PCM_24", "pcm_s32le": "PCM_32", "pcm_f32le": "FLOAT"}


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


@dataclass(frozen=True)
class AudioReader:
    """A recording in a file that can be read again and again, made by [`open_audio`].

    Args:
        path: Of the file.
        sampling_rate: Samples per second.
        num_channels: Channels.
        duration: Seconds, as far as the header tells; what is read decides.
        format, subtype: libsndfile's names of container and sample encoding; for a file that only ffmpeg reads `"ffmpeg"`
            and the codec.
        tags: Title, artist, comment and so on.
    """

    path: Path
    sampling_rate: int
    num_channels: int
    duration: float
    format: str
    subtype: str
    tags: dict[str, str] = field(default_factory=dict)

    def blocks(self) -> Iterator[np.ndarray]:
        """The recording from its beginning, in float32 blocks `(channels, samples)`.

        Raises:
            AudioFileError: if it cannot be decoded, or has NaN or infinite samples.
        """
        for block in self._decoded():
            if not np.isfinite(block).all():
                raise AudioFileError(f"{self.path}: contains NaN or infinite samples")
            yield block

    def _decoded(self) -> Iterator[np.ndarray]:
        import soundfile

        try:
            if self.format == "ffmpeg":
                yield from ffmpeg.decode(self.path, self.num_channels, BLOCK_SAMPLES)
                return
            with soundfile.SoundFile(os.fsencode(self.path)) as file:
                while len(block := file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                    yield np.ascontiguousarray(in_wav_order(block, self.subtype).T)
        except (soundfile.SoundFileError, ffmpeg.FfmpegError, OSError) as error:
            raise AudioFileError(f"{self.path}: cannot be read as audio ({reason(error)})") from error


def open_audio(path: str | os.PathLike) -> AudioReader:
    """Look into an audio file, or a video file with sound; nothing is decoded yet.

    Raises:
        AudioFileError: if it is missing, no regular file, or nothing that libsndfile, or ffmpeg if it is installed, can
            read; or if it is empty.
    """
    import soundfile

    path = check_input(path)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            reader = AudioReader(
                path, file.samplerate, file.channels, file.frames / file.samplerate, file.format, file.subtype,
                {name: value for name, value in file.copy_metadata().items() if value},
            )  # fmt: skip
    except (soundfile.SoundFileError, OSError) as error:
        reader = _open_with_ffmpeg(path, reason(error))
    if reader.duration == 0:
        raise AudioFileError(f"{path}: holds no audio samples")
    return reader


def _open_with_ffmpeg(path: Path, why: str) -> AudioReader:
    """`path` as ffmpeg sees it; `why` libsndfile cannot read it."""
    if not ffmpeg.installed():
        raise AudioFileError(
            f"{path}: cannot be read as audio ({why}); with ffmpeg installed, more formats and the sound of videos can"
        )
    try:
        sound = ffmpeg.probe(path)
    except ffmpeg.FfmpegError as error:
        raise AudioFileError(f"{path}: cannot be read as audio ({error})") from error
    subtype = _PCM_CODECS.get(sound.codec, sound.codec)
    return AudioReader(path, sound.sampling_rate, sound.num_channels, sound.duration, "ffmpeg", subtype, sound.tags)


def read_audio(path: str | os.PathLike, on_block: Callable[[], None] | None = None) -> AudioFile:
    """Decode a whole audio file.

    Args:
        path: Of the file.
        on_block: Called after every block that was read; what it raises ends the reading.

    Raises:
        AudioFileError: as [`open_audio`] and [`AudioReader.blocks`].
    """
    reader = open_audio(path)
    blocks = []
    for block in reader.blocks():
        blocks.append(block)
        if on_block:
            on_block()
    if not blocks:
        raise AudioFileError(f"{path}: holds no audio samples")
    return AudioFile(np.concatenate(blocks, axis=1), reader.sampling_rate, reader.subtype)


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
        raise AudioFileError(f"{path}: cannot be read ({reason(error)})") from error
    if not os.access(path, os.R_OK):
        raise AudioFileError(f"{path}: no permission to read it")
    return path


def reason(error: BaseException) -> str:
    return (
        getattr(error, "strerror", None) or str(error).splitlines()[0] if str(error) else type(error).__name__
    ).rstrip(".")
