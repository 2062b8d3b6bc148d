"""Writes audio files, block by block. A file appears complete or not at all."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

import numpy as np

from ..pending_files import PendingFile
from . import ffmpeg
from .block_encodings import comes_back, unit_samples
from .channel_layouts import in_vorbis_order, layouts_of_format, mask_of, name_of, read_wav_mask, write_wav_mask
from .files import AudioFileError, AudioReader, reason

FORMATS = {
    ".aif": ("AIFF", None),
    ".aifc": ("AIFF", None),
    ".aiff": ("AIFF", None),
    ".au": ("AU", None),
    ".caf": ("CAF", None),
    ".flac": ("FLAC", None),
    ".mp3": ("MP3", None),
    ".nist": ("NIST", None),
    ".oga": ("OGG", None),
    ".ogg": ("OGG", None),
    ".opus": ("OGG", "OPUS"),
    ".rf64": ("RF64", None),
    ".snd": ("AU", None),
    ".sph": ("NIST", None),
    ".voc": ("VOC", None),
    ".w64": ("W64", None),
    ".wav": ("WAV", None),
    ".wave": ("WAV", None),
}
_TAGS = ("title", "copyright", "software", "artist", "comment", "date", "album", "license", "tracknumber", "genre")
_WAV_KINDS = ("WAV", "WAVEX", "RF64")
_PEAK_BYTE_ORDERS: dict[str, Literal["little", "big"]] = {
    "WAV": "little",
    "WAVEX": "little",
    "RF64": "little",
    "AIFF": "big",
}
_SMALL_FORMATS = ("WAV", "WAVEX", "AIFF", "AU")
_SMALL_BYTES = 2**32 - 2**20  # of samples in these; beyond, a WAV file must be an RF64
_SPACE_LEFT = 2**17  # a block of samples that does not fit
_COVER_REACH = 2**18  # bytes at the beginning of a file, where pictures are
_VORBIS_RATE = 192000  # above 200,000 Hz libsndfile 1.2.2 crashes
_MOST_CHANNELS = {"FLAC": 8, "MP3": 2, "VOC": 2}
_PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_SAMPLE_BYTES = {"FLOAT": 4, "DOUBLE": 8} | {name: bits // 8 for name, bits in _PCM_BITS.items()}


class AudioWriter:
    """Writes a recording block by block in a `with` statement. The file appears when the statement ends without error.

    Args:
        path: Path of the new file; its extension chooses the format. Only a complete file replaces an earlier one.
        sampling_rate: Samples per second.
        num_channels: Number of channels.
        like: Recording whose sample encoding and tags are kept if the format has them, and whose picture is copied if
            `path` is a video.
        subtype: Sample encoding that replaces the recording's, as libsndfile calls it.
        num_samples: Number of samples that will be written; 0 if unknown. Above 4 GB a WAV file becomes an RF64. An
            encoding in blocks, such as ADPCM, is used only if this many samples fill the blocks: the rest would become
            silence.

    Raises:
        AudioFileError: if the format is unknown or cannot hold this audio, or if the path cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        sampling_rate: int,
        num_channels: int,
        like: AudioReader | None = None,
        subtype: str | None = None,
        num_samples: int = 0,
    ):
        self.path = check_output(path)
        self.num_limited = 0
        """Number of samples beyond full scale that an encoding without headroom had to limit so far."""
        self.lost_tags: list[str] = []
        """Names of tags that the format does not have or cannot spell."""
        self.notes: list[str] = []
        """Sentences about other things of the recording that are not kept."""
        self._like, self._audio = like, (sampling_rate, num_channels)
        self._exact_length: int | None = None
        self._format, self._subtype, self._mask = "ffmpeg", "lossy", None
        if not self._by_ffmpeg:
            self._format, self._subtype = _encoding(self.path, like, subtype, num_samples * num_channels)
            self._keep_length(num_samples)
            self._note_encoding()
            self._keep_layout()
        if num_channels > _MOST_CHANNELS.get(self._format, num_channels):
            most = _MOST_CHANNELS[self._format]
            raise AudioFileError(f"{self.path}: {self._format} has {most} channels at most, not {num_channels}")
        if self._subtype == "VORBIS" and sampling_rate > _VORBIS_RATE:
            raise AudioFileError(f"{self.path}: Ogg Vorbis has no {sampling_rate} Hz (at most {_VORBIS_RATE})")
        self._num_written = 0
        self._check_size(num_samples)
        self._pending = PendingFile(self.path)

    def _keep_length(self, num_samples: int) -> None:
        """Use plain samples instead of an encoding in blocks that would add samples."""
        encoding = (self._format, self._subtype, *self._audio)
        if unit_samples(*encoding) == 1:
            return
        if num_samples and comes_back(*encoding, num_samples):
            self._exact_length = num_samples
            return
        plain = "PCM_16"  # every format with such an encoding has it
        self.notes.append(f"written as {plain} instead of {self._subtype}, which would change the number of samples")
        self._subtype = plain

    def _note_encoding(self) -> None:
        """Add a note if samples have fewer bits than the recording's, or if a file of the same format has another
        codec."""
        if self._like is None or self.notes:
            return
        before, after = self._like.lossless_subtype or self._like.subtype, self._subtype
        if before in _SAMPLE_BYTES and after in _SAMPLE_BYTES:
            changed = _SAMPLE_BYTES[after] < _SAMPLE_BYTES[before]
        else:
            same_format = FORMATS.get(self._like.path.suffix.lower()) == FORMATS[self.path.suffix.lower()]
            changed = same_format and after != before
        if changed:
            named = before if after in _SAMPLE_BYTES else self._like.subtype
            self.notes.append(f"written as {after} instead of {named}")

    def _check_size(self, num_samples: int) -> None:
        size = num_samples * self._audio[1] * _SAMPLE_BYTES.get(self._subtype, 0)
        if self._format in _SMALL_FORMATS and size > _SMALL_BYTES:
            raise AudioFileError(f"{self.path}: {self._format} holds 4 GB at most; write .rf64, .w64, .caf or .flac")

    @property
    def _by_ffmpeg(self) -> bool:
        return self.path.suffix.lower() in ffmpeg.CONTAINERS

    def _keep_layout(self) -> None:
        """Choose a WAV file with a channel mask for a recording whose layout is known. Add a note if the layout cannot
        be kept."""
        num_channels = self._audio[1]
        mask = _channel_mask(self._like) if self._like else None
        if self._format in _WAV_KINDS:
            if mask is not None and num_channels > 2 and self._format == "WAV":
                self._format = "WAVEX"
            self._mask = 0 if mask is None and num_channels > 2 else mask
        elif mask and num_channels > 2 and name_of(mask) not in layouts_of_format(self._format, num_channels):
            becomes = " or ".join(layouts_of_format(self._format, num_channels)) or "one without a name"
            self.notes.append(f"the channel layout {name_of(mask)} became {becomes}")

    def __enter__(self) -> "AudioWriter":
        with self._errors_named():
            self._pending.__enter__()
        try:
            with self._errors_named():
                self._open()
        except BaseException as error:
            self._pending.__exit__(type(error), error, None)
            raise
        return self

    def write(self, block: np.ndarray) -> None:
        """Add float32 `(channels, samples)`.

        Raises:
            AudioFileError: if the block cannot be written, or the format can hold no more.
        """
        if self._subtype not in ("FLOAT", "DOUBLE"):
            self.num_limited += int((np.abs(block) > 1).sum())
            block = block.clip(-1, 1)
        self._num_written += block.shape[1]
        self._check_size(self._num_written)
        bits = _PCM_BITS.get(self._subtype)
        data = block.T if bits is None else _to_integers(block.T, bits)
        with self._errors_named():
            self._sink.write(in_vorbis_order(data, self._subtype))

    def __exit__(self, kind, error, traceback) -> None:
        try:
            with self._errors_named():
                if kind is not None and self._by_ffmpeg:
                    self._sink.abort()
                else:
                    self._sink.close()
                    if kind is None and self._exact_length not in (None, self._num_written):
                        raise AudioFileError(f"{self.path}: {self._subtype} would change the number of samples")
                    self.notes += self._sink.notes if self._by_ffmpeg else []
                    if self._format in _PEAK_BYTE_ORDERS:
                        _forget_time(self._pending.descriptor, _PEAK_BYTE_ORDERS[self._format])
                    if self._mask is not None and self._format in _WAV_KINDS:
                        write_wav_mask(self._pending.descriptor, self._mask)
        except BaseException as failure:
            self._pending.__exit__(type(failure), failure, None)
            raise
        with self._errors_named():
            self._pending.__exit__(kind, error, traceback)

    def _open(self) -> None:
        import soundfile

        if self._by_ffmpeg:
            source, extension = self._like.path if self._like else None, self.path.suffix.lower()
            self._sink = ffmpeg.Encoder(self._pending.open_path, extension, *self._audio, source)
            return
        if self._like and (self._like.format == "ffmpeg" or (_has_cover(self._like) and ffmpeg.installed())):
            self.notes += ffmpeg.tracks_beside(self._like.path, self.path.suffix)
        self._sink = soundfile.SoundFile(
            self._pending.descriptor, "w", *self._audio, self._subtype, format=self._format, closefd=False
        )
        for name, value in (self._like.tags if self._like else {}).items():
            if name not in _TAGS:
                continue
            try:
                if self._format == "MP3" and not value.isascii():
                    raise ValueError("libsndfile would write mojibake")
                setattr(self._sink, name, value)
            except (soundfile.SoundFileError, ValueError):
                self.lost_tags.append(name)

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        import soundfile

        try:
            yield
        except (soundfile.SoundFileError, ffmpeg.FfmpegError, OSError) as error:
            why = re.sub(r"^Error opening [^:]*: (Error : )?", "", reason(error))
            if "Format not recognised" in why:
                why = f"{self._format} has no {self._subtype} with {self._audio[1]} channels at {self._audio[0]} Hz"
            if "System error" in why and shutil.disk_usage(self.path.parent).free < _SPACE_LEFT:
                why = "no space left"  # libsndfile does not pass on the system's message
            raise AudioFileError(f"{self.path}: cannot be written ({why})") from error


def write_audio(path: str | os.PathLike, audio: np.ndarray, sampling_rate: int, subtype: str | None = None) -> int:
    """Encode float32 `(channels, samples)` into the format of the path's extension; see [`AudioWriter`].

    Args:
        path: Path of the new file.
        audio: Audio, float32 `(channels, samples)`.
        sampling_rate: Samples per second.
        subtype: Sample encoding, used if the format has it.

    Returns:
        Number of samples beyond full scale that an encoding without headroom had to limit.

    Raises:
        AudioFileError: as [`AudioWriter`].
    """
    with AudioWriter(path, sampling_rate, len(audio), subtype=subtype, num_samples=audio.shape[1]) as writer:
        writer.write(audio)
    return writer.num_limited


def check_output(path: str | os.PathLike) -> Path:
    """Return the path if a file can be written there and its extension names a known format; otherwise raise
    [`AudioFileError`]."""
    path = Path(path)
    if os.path.isdir(path):  # unlike the methods of a path, these raise no error in a folder that may not be read
        raise AudioFileError(f"{path}: is a folder, expected a file name for the output")
    if os.path.exists(path) and not os.path.isfile(path):  # for example a FIFO, which a file must not replace
        raise AudioFileError(f"{path}: is not a regular file; - writes to stdout")
    if path.suffix.lower() not in (*FORMATS, *ffmpeg.CONTAINERS):
        known = ", ".join([*FORMATS, *ffmpeg.CONTAINERS])
        raise AudioFileError(f"{path}: unknown output format {path.suffix!r}; known are {known}")
    if path.suffix.lower() not in FORMATS and not ffmpeg.installed():
        raise AudioFileError(f"{path}: writing {path.suffix} needs ffmpeg and ffprobe, which are not installed")
    if not os.path.isdir(path.parent):
        raise AudioFileError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK) or (os.path.exists(path) and not os.access(path, os.W_OK)):
        raise AudioFileError(f"{path}: no permission to write it")
    return path


def _encoding(path: Path, like: AudioReader | None, subtype: str | None, num_values: int) -> tuple[str, str]:
    """libsndfile's names of format and subtype for a new file at `path`."""
    format_name, fixed = FORMATS[path.suffix.lower()]
    if like:
        format_name = like.format if format_name == "WAV" and like.format in _WAV_KINDS else format_name
        if like.format == format_name or like.subtype in _SAMPLE_BYTES:  # a WAV file could hold MP3 data
            subtype = subtype or like.subtype
        subtype = subtype or like.lossless_subtype or None
    subtype = fixed or _nearest_subtype(format_name, subtype)
    if format_name in ("WAV", "WAVEX") and num_values * _SAMPLE_BYTES.get(subtype, 1) > _SMALL_BYTES:
        format_name = "RF64"
    return format_name, subtype


def _has_cover(reader: AudioReader) -> bool:
    """Whether a file that libsndfile reads seems to hold a picture."""
    if reader.format not in ("FLAC", "MP3", "OGG"):
        return False
    with open(reader.path, "rb") as file:
        beginning = file.read(_COVER_REACH).lower()
    return b"image/" in beginning or b"metadata_block_picture" in beginning


def _channel_mask(reader: AudioReader) -> int | None:
    """Mask of the speakers that the channels of a recording are for; `None` if unknown."""
    if reader.format in _WAV_KINDS:
        return read_wav_mask(reader.path)
    layouts = layouts_of_format(reader.format, reader.num_channels)
    if reader.num_channels > 2 and reader.format != "OGG" and ffmpeg.installed():
        with contextlib.suppress(ffmpeg.FfmpegError):
            return mask_of(ffmpeg.probe(reader.path).layout)
    return mask_of(layouts[0]) if layouts else None


def _nearest_subtype(format_name: str, subtype: str | None) -> str:
    """`subtype`, or the nearest one that the format has. Without `subtype`, the usual one of the format."""
    import soundfile

    eight, deep = ("PCM_U8", "PCM_S8"), ("FLOAT", "DOUBLE", "PCM_32", "PCM_24")
    alike = eight if subtype in eight else deep if subtype in deep else ()
    for name in (subtype, *alike) if subtype else ():
        if soundfile.check_format(format_name, name):
            return name
    return cast(str, soundfile.default_subtype(format_name))  # it is `None` only for unknown formats


def _to_integers(audio: np.ndarray, bits: int) -> np.ndarray:
    """Convert samples into int32 whose upper `bits` hold them, on the scale that libsndfile reads with. So samples that
    were read are written back bit by bit. libsndfile's own conversion of floats (by 2^(bits-1) - 1) does not do so."""
    full_scale = 2.0 ** (bits - 1)
    samples = np.round(audio.astype(np.float64) * full_scale).clip(-full_scale, full_scale - 1)
    return samples.astype(np.int32) << (32 - bits)


def _forget_time(descriptor: int, byte_order: Literal["little", "big"]) -> None:
    """Set the time of writing, which libsndfile puts before floating-point samples, to 0. So the same audio gives the
    same bytes."""
    position = 12
    while (chunk := os.pread(descriptor, 8, position))[:4] not in (b"data", b"SSND", b""):
        if chunk[:4] == b"PEAK":
            os.pwrite(descriptor, bytes(4), position + 12)  # after name, size and version
            return
        size = int.from_bytes(chunk[4:], byte_order)
        position += 8 + size + size % 2
