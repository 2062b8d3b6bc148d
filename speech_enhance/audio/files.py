"""Reads and checks audio files, block by block. libsndfile reads the formats that it knows; ffmpeg reads the others if
it is installed."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..wording import counted
from . import ffmpeg
from .channel_layouts import in_wav_order
from .file_parts import Layout, Piece, find_layout
from .input_files import AudioFileError, check_input, reason, regular_file

BLOCK_SAMPLES = 65536
_PCM_SUBTYPES = {
    "s8": "PCM_S8",
    "u8": "PCM_U8",
    "s16": "PCM_16",
    "s24": "PCM_24",
    "s32": "PCM_32",
    "f32": "FLOAT",
    "f64": "DOUBLE",
}
_SUBTYPES = {f"pcm_{name}{order}": subtype for name, subtype in _PCM_SUBTYPES.items() for order in ("", "le", "be")}
_SUBTYPES |= {"mp3": "MPEG_LAYER_III", "opus": "OPUS", "vorbis": "VORBIS"}
_NO_UNICODE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class AudioFile:
    """A decoded recording.

    Args:
        audio: Audio, float32 `(channels, samples)`, full scale ±1.
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
        path: Path of the file.
        sampling_rate: Samples per second.
        num_channels: Number of channels.
        duration: Duration in seconds that the header gives; `nan` if it gives none. The samples that are read may give
            another one.
        format, subtype: libsndfile's names of container and sample encoding. For a file that only ffmpeg reads, they
            are `"ffmpeg"` and, if libsndfile has no name, ffmpeg's name of the codec.
        tags: Title, artist, comment and so on.
        notes: Sentences about what could not be read from the file. Reading adds to them.
        parts: Parts that libsndfile reads instead of the file, see [`Layout`].
        may_use_ffmpeg: Whether ffmpeg may read on where libsndfile gives up.
        lossless_subtype: libsndfile's name of an encoding that holds all of the samples, for a lossless codec that only
            ffmpeg reads; empty for others.
    """

    path: Path
    sampling_rate: int
    num_channels: int
    duration: float
    format: str
    subtype: str
    tags: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    parts: list[list[Piece]] = field(default_factory=list, repr=False)
    may_use_ffmpeg: bool = True
    lossless_subtype: str = ""

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the recording from its beginning, in float32 blocks `(channels, samples)`.

        Raises:
            AudioFileError: if it cannot be decoded, or has NaN or infinite samples.
        """
        for block in self._decoded():
            if not np.isfinite(block).all():
                raise AudioFileError(f"{self.path}: contains NaN or infinite samples")
            yield block

    def _decoded(self) -> Iterator[np.ndarray]:
        import soundfile

        done, gave_up = 0, ""
        try:
            if self.format == "ffmpeg":
                with regular_file(self.path):
                    yield from ffmpeg.decode(self.path, self.num_channels, BLOCK_SAMPLES)
                return
            try:
                for block in self._by_libsndfile():
                    done += block.shape[1]
                    yield block
            except soundfile.SoundFileError:
                if not self._can_go_on_with_ffmpeg():
                    raise
                gave_up = "; ffmpeg read on where libsndfile gave up"
                for block in _without(done, ffmpeg.decode(self.path, self.num_channels, BLOCK_SAMPLES)):
                    done += block.shape[1]
                    yield block
        except (soundfile.SoundFileError, ffmpeg.FfmpegError, OSError) as error:
            raise AudioFileError(f"{self.path}: cannot be read as audio ({reason(error)})") from error
        missing = ""
        if self.format != "MP3" and done < self.duration * self.sampling_rate - 0.5:  # MP3: most lengths are estimates
            missing = f"; {done / self.sampling_rate:.1f} of {self.duration:.1f} s can be read"
        if gave_up or missing:
            self._note(f"the recording is damaged{gave_up}{missing}")

    def _by_libsndfile(self) -> Iterator[np.ndarray]:
        from .sndfile import open_part

        with regular_file(self.path) as descriptor:
            for pieces in self.parts or [[]]:
                with open_part(self.path, descriptor, pieces, self.format == "MP3") as file:
                    yield from self._blocks_of(file)

    def _blocks_of(self, file) -> Iterator[np.ndarray]:
        from .sndfile import quiet_mpg123

        while True:
            with quiet_mpg123() if self.format == "MP3" else contextlib.nullcontext() as errors:
                block = file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
            if errors:
                self._note("the recording is damaged; some of it could not be decoded")
            if not len(block):
                return
            yield np.ascontiguousarray(in_wav_order(block, self.subtype).T)

    def _can_go_on_with_ffmpeg(self) -> bool:
        """Whether ffmpeg would read the same sound. It decodes Opus at 48 kHz, and reads only the first of most joined
        files."""
        if not self.may_use_ffmpeg or not ffmpeg.installed() or (len(self.parts) > 1 and self.format != "MP3"):
            return False
        try:
            sound = ffmpeg.probe(self.path)
        except ffmpeg.FfmpegError:
            return False
        return (sound.sampling_rate, sound.num_channels) == (self.sampling_rate, self.num_channels)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def open_audio(path: str | os.PathLike, may_use_ffmpeg: bool = True) -> AudioReader:
    """Look into an audio file, or a video file with sound; nothing is decoded yet.

    Args:
        path: Path of the file.
        may_use_ffmpeg: Whether ffmpeg may read what libsndfile cannot.

    Raises:
        AudioFileError: if it is missing or no regular file; if neither libsndfile nor ffmpeg, if installed, can read
            it; if it is empty; or if it joins recordings of different kinds.
    """
    import soundfile

    path = check_input(path)
    try:
        with regular_file(path) as descriptor:
            layout = find_layout(descriptor)
            if layout.needs_ffmpeg:
                reader = _open_with_ffmpeg(path, layout.needs_ffmpeg, may_use_ffmpeg)
            else:
                reader = _open_with_libsndfile(path, descriptor, layout, may_use_ffmpeg)
    except soundfile.SoundFileError as error:
        if len(layout.parts) > 1:
            raise AudioFileError(f"{path}: joins several recordings, and not all can be read; split it") from error
        reader = _open_with_ffmpeg(path, reason(error), may_use_ffmpeg)
    except (OSError, ValueError) as error:  # ValueError: it has just become empty
        if isinstance(error, AudioFileError):
            raise
        raise AudioFileError(f"{path}: cannot be read as audio ({reason(error)})") from error
    if reader.duration == 0:
        raise AudioFileError(f"{path}: holds no audio samples")
    if layout.damage:
        reader.notes.append(f"the recording is damaged; {layout.damage}")
    if layout.extras:
        reader.notes.append(f"what is not copied: chunks {', '.join(layout.extras)}")
    return reader


def _open_with_libsndfile(path: Path, descriptor: int, layout: Layout, may_use_ffmpeg: bool) -> AudioReader:
    import soundfile

    from .sndfile import UNKNOWN_FRAMES, open_part

    facts, parts, num_frames, notes = [], [], 0, []
    for number, pieces in enumerate(layout.parts or [[]], 1):
        try:
            with open_part(path, descriptor, pieces, layout.may_be_mpeg) as file:
                tags = {name: value for name, value in file.copy_metadata().items() if value}
                facts.append((file.samplerate, file.channels, file.format, file.subtype, tags))
                num_frames += file.frames if file.frames < UNKNOWN_FRAMES else math.nan
                parts.append(pieces)
        except soundfile.SoundFileError:
            if number == 1 or number < len(layout.parts):
                raise
            notes.append(f"the recording is damaged; the last of the {number} that it joins cannot be read")
    kinds = list(dict.fromkeys((rate, channels) for rate, channels, *_ in facts))
    if len(kinds) > 1:
        several = " and ".join(f"{rate} Hz with {counted(channels, 'channel')}" for rate, channels in kinds)
        raise AudioFileError(f"{path}: joins recordings of {several}; split it")
    rate, channels, format_name, subtype, tags = facts[0]
    tags, lost = _readable_tags(tags)
    duration, notes = num_frames / rate, lost + notes
    return AudioReader(path, rate, channels, duration, format_name, subtype, tags, notes, parts, may_use_ffmpeg)


def _open_with_ffmpeg(path: Path, why: str, may_use_ffmpeg: bool) -> AudioReader:
    """Open `path` with ffmpeg. `why` says why libsndfile cannot read it."""
    if not may_use_ffmpeg:
        raise AudioFileError(f"{path}: cannot be read as audio ({why})")
    if not ffmpeg.installed():
        raise AudioFileError(
            f"{path}: cannot be read as audio ({why}); with ffmpeg installed, more formats and the sound of videos can"
        )
    try:
        sound = ffmpeg.probe(path)
    except ffmpeg.FfmpegError as error:
        raise AudioFileError(f"{path}: cannot be read as audio ({error})") from error
    tags, notes = _readable_tags(sound.tags)
    return AudioReader(
        path,
        sound.sampling_rate,
        sound.num_channels,
        sound.duration,
        "ffmpeg",
        _SUBTYPES.get(sound.codec, sound.codec),
        tags,
        notes,
        lossless_subtype=_lossless_subtype(sound),
    )


def _lossless_subtype(sound: ffmpeg.Sound) -> str:
    """The `lossless_subtype` of an [`AudioReader`]."""
    if not sound.lossless or sound.codec in _SUBTYPES:
        return ""
    kind = sound.sample_format.rstrip("p")
    if kind in ("flt", "dbl"):
        return {"flt": "FLOAT", "dbl": "DOUBLE"}[kind]
    bits = 16 if kind in ("u8", "s16") else sound.sample_bits or 32
    return "PCM_16" if bits <= 16 else "PCM_24" if bits <= 24 else "PCM_32"


def _readable_tags(tags: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Tags that can be read, and notes about the others: tags that are not in Unicode, of which only replacement
    characters are left."""
    lost = [name for name, value in tags.items() if _NO_UNICODE in value]
    notes = [f"tags that are not in Unicode were left out: {', '.join(lost)}"] if lost else []
    return {name: value for name, value in tags.items() if name not in lost}, notes


def _without(num_samples: int, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks `(channels, samples)` without the first `num_samples` samples of the recording."""
    for block in blocks:
        if num_samples < block.shape[1]:
            yield block[:, num_samples:]
        num_samples = max(num_samples - block.shape[1], 0)


def read_audio(
    path: str | os.PathLike, on_block: Callable[[int], None] | None = None, may_use_ffmpeg: bool = True
) -> AudioFile:
    """Decode a whole audio file.

    Args:
        path: Path of the file.
        on_block: Function that is called after every block with the number of samples read so far. If it raises an
            error, reading ends.
        may_use_ffmpeg: Whether ffmpeg may read what libsndfile cannot.

    Raises:
        AudioFileError: as [`open_audio`] and [`AudioReader.blocks`].
    """
    reader = open_audio(path, may_use_ffmpeg)
    blocks, num_samples = [], 0
    for block in reader.blocks():
        blocks.append(block)
        num_samples += block.shape[1]
        if on_block:
            on_block(num_samples)
    if not blocks:
        raise AudioFileError(f"{path}: holds no audio samples")
    return AudioFile(np.concatenate(blocks, axis=1), reader.sampling_rate, reader.lossless_subtype or reader.subtype)
