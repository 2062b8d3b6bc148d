"""Looks at the tracks of a file with ffprobe, and decodes its first sound track with ffmpeg."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .process import FfmpegError, Watchdog, input_options, run

_LOSSLESS = ("alac", "ape", "flac", "mlp", "mp4als", "shorten", "tak", "truehd", "tta", "wavpack", "wmalossless")
_KINDS = {"audio": "sound", "video": "picture"}


@dataclass(frozen=True)
class Track:
    """A track of a file.

    Args:
        index: Place among all tracks.
        kind: Kind of track: `"audio"`, `"video"`, `"subtitle"`, `"attachment"` or `"data"`.
        codec: ffmpeg's name of the codec; empty if it knows none.
        tags: Language, title and so on; names in lower case.
        dispositions: ffmpeg's names of the track's flags, such as `"default"`.
    """

    index: int
    kind: str
    codec: str
    tags: dict[str, str] = field(default_factory=dict)
    dispositions: tuple[str, ...] = ()

    @property
    def is_cover(self) -> bool:
        """Whether it is a still picture that belongs to the whole file."""
        return "attached_pic" in self.dispositions

    def __str__(self) -> str:
        kind = "cover" if self.is_cover else _KINDS.get(self.kind, self.kind)
        about = [self.tags[name] for name in ("language", "title", "filename") if self.tags.get(name, "und") != "und"]
        return " ".join([kind, *([self.codec] if self.codec else []), *([f"({', '.join(about)})"] if about else [])])


@dataclass(frozen=True)
class Sound:
    """The first sound track of a file, as ffmpeg describes it.

    Args:
        sampling_rate, num_channels: Sampling rate and number of channels of the track.
        duration: Duration in seconds that the header gives; `nan` if it gives none.
        codec: ffmpeg's name of the codec.
        bit_rate: Bits per second, if known.
        tags: Tags of the file and the track; names in lower case.
        start: Start in seconds; below 0 if the file begins with the delay of its encoder.
        layout: ffmpeg's name of the channel layout; empty if unknown.
        sample_format: ffmpeg's name of the decoded samples' type, such as `"s16p"`.
        sample_bits: Bits of a sample; `None` for a codec without them.
        lossless: Whether decoding gives exactly the samples that were encoded.
        track: Track itself.
        others: All other tracks, except the one that QuickTime uses for chapters.
    """

    sampling_rate: int
    num_channels: int
    duration: float
    codec: str
    bit_rate: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    start: float = 0.0
    layout: str = ""
    sample_format: str = ""
    sample_bits: int | None = None
    lossless: bool = False
    track: Track = Track(0, "audio", "")
    others: tuple[Track, ...] = ()


def probe(path: Path) -> Sound:
    """Look at the first sound track of a file.

    Raises:
        FfmpegError: if there is none, or if ffmpeg cannot read the file.
    """
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", *input_options(path)]
    found = json.loads(run(command, path).decode(errors="replace"))
    streams = found.get("streams", [])
    stream = next((item for item in streams if item.get("codec_type") == "audio"), None)
    if stream is None or "codec_name" not in stream or not int(stream.get("sample_rate", 0)):
        raise FfmpegError("it has no sound track" if stream is None else "its sound is of no known kind")
    about, codec = found.get("format", {}), stream["codec_name"]
    return Sound(
        sampling_rate=int(stream["sample_rate"]),
        num_channels=stream["channels"],
        duration=float(stream.get("duration") or about.get("duration") or "nan"),
        codec=codec,
        bit_rate=int(stream.get("bit_rate", 0)) or None,
        tags=_lower(about.get("tags", {}) | stream.get("tags", {})),
        start=min(float(about.get("start_time", 0)), 0.0),
        layout=_layout(stream.get("channel_layout", "")),
        sample_format=stream.get("sample_fmt", ""),
        sample_bits=int(stream.get("bits_per_raw_sample", 0)) or int(stream.get("bits_per_sample", 0)) or None,
        lossless=codec in _LOSSLESS or codec.startswith("pcm_") or stream.get("profile") == "DTS-HD MA",
        track=_track(stream),
        others=tuple(_track(item) for item in streams if item is not stream and not _tells_chapters(item)),
    )


def decode(path: Path, num_channels: int, block_samples: int) -> Iterator[np.ndarray]:
    """Yield the first sound track in float32 blocks `(channels, samples)`, without mixing channels. Sample 0 is time 0
    of the file. If the track begins later or has gaps, there is silence instead.

    Raises:
        FfmpegError: if it cannot be decoded to its end.
    """
    sound = probe(path)
    if sound.num_channels != num_channels:
        raise FfmpegError(f"it has {sound.num_channels} channels now, and had {num_channels}")
    command = ["ffmpeg", "-v", "error", "-nostdin", *source_options(path, sound), "-map", "0:a:0"]
    command += ["-af", "aresample=async=1:first_pts=0", *layout_options(sound.layout, num_channels)]
    command += ["-f", "f32le", "pipe:1"]
    size = 4 * num_channels
    with (
        tempfile.TemporaryFile() as messages,  # a pipe could fill up while nobody reads it
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=messages, stdin=subprocess.DEVNULL, bufsize=0
        ) as process,
    ):
        assert process.stdout is not None  # it is a pipe
        num_read = 0
        watchdog = Watchdog(process, lambda: num_read)
        try:
            data, at_end = bytearray(), False
            while not at_end:
                with watchdog.waiting():
                    piece = process.stdout.read(size * block_samples - len(data))
                num_read += len(piece)
                data += piece
                at_end = not piece
                if len(data) == size * block_samples or (at_end and len(data) >= size):
                    samples = np.frombuffer(bytes(data[: len(data) // size * size]), "<f4").reshape(-1, num_channels)
                    data.clear()
                    yield np.array(samples.T, np.float32, order="C")  # writable, unlike the bytes
            with watchdog.waiting():
                process.wait()
        finally:
            watchdog.end()
            process.kill()
        messages.seek(0)
        watchdog.check(messages.read(), path)


def source_options(path: Path, sound: Sound) -> list[str]:
    """Options that open `path` and keep its time 0. Without them, ffmpeg would move the beginning of the file to time
    0. The delay of an encoder before 0 (Opus in Matroska: 7 ms) would then be added to the sound each time."""
    return input_options(path, "-itsoffset", str(sound.start))


def layout_options(layout: str, num_channels: int) -> list[str]:
    """Options that give the number of channels of raw samples, and their layout if known. ffmpeg guesses what is not
    given, and converts to it."""
    return ["-channel_layout", layout] if layout else ["-ac", str(num_channels)]


def _layout(name: str) -> str:
    """A layout's name in a form that ffmpeg accepts as an option. `"3 channels (FL+FR+LFE)"` has only the names of its
    channels."""
    if name == "unknown" or name.endswith(" channels"):
        return ""
    return name.partition("(")[2].rstrip(")") if " channels (" in name else name


def _track(stream: dict) -> Track:
    dispositions = tuple(name for name, value in stream.get("disposition", {}).items() if value)
    kind, tag = stream.get("codec_type", "data"), stream.get("codec_tag_string", "")
    codec = stream.get("codec_name", tag if tag.isalnum() else "")
    return Track(stream["index"], kind, codec, _lower(stream.get("tags", {})), dispositions)


def _tells_chapters(stream: dict) -> bool:
    return stream.get("codec_type") == "data" and stream.get("codec_tag_string") == "text"


def _lower(tags: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in tags.items()}
