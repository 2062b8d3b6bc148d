"""Chooses an encoder of ffmpeg that keeps a sound as it is. Each is tried with a short piece before it is used.

If an encoder or container cannot hold a sound, ffmpeg converts it without a message: to another sampling rate, to fewer
channels, or to another order of channels. Only the output shows this.
"""

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .process import FfmpegError, run, url
from .reading import Sound, decode, layout_options, probe

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
"""ffmpeg's names of the container and of the usual encoder for its sound, by extension."""

_FURTHER = {
    "avi": ("pcm_s16le",),
    "ipod": ("alac",),
    "matroska": ("libvorbis", "flac"),
    "mov": ("alac",),
    "mp4": ("alac",),
    "vob": ("ac3",),
    "webm": ("libvorbis",),
}
"""Encoders for sound that the usual one cannot hold, by container. The best comes first; lossless ones stand at the
end."""

_ENCODERS = {"vorbis": "libvorbis", "opus": "libopus", "mp3": "libmp3lame"}  # the others have the name of their codec
_LOSSLESS = {"alac": "p", "flac": "", "tta": "", "wavpack": "p"}  # values: endings of the sample formats
_BIT_RATE_PER_CHANNEL = 96000
_TRIAL_SECONDS = 0.4
_TONES = 32.0, 16.0  # Hz of the first tone, and from each to the next; low, since the fourth channel may be an LFE


@dataclass(frozen=True)
class Encoding:
    """The way to encode sound.

    Args:
        layout: ffmpeg's name of the layout that the encoder is given; empty if it guesses.
        options: Arguments for ffmpeg, for the first sound track of the output.
        notes: Sentences about what is not as it was in the recording.
    """

    layout: str
    options: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trial:
    """The result of encoding a tone in each channel: the sound and whether each channel has its own tone, or why the
    encoder failed."""

    sound: Sound | None
    in_order: bool = False
    why: str = ""


def choose_encoding(
    extension: str, sampling_rate: int, num_channels: int, source: Sound | None, same_format: bool
) -> Encoding:
    """Choose the first encoder of a container that keeps sampling rate, channels and layout. If there is none, choose
    the first that keeps all except the layout's name.

    Args:
        extension: Extension of the file.
        sampling_rate: Samples per second.
        num_channels: Number of channels.
        source: Sound of the recording that was enhanced.
        same_format: Whether the recording is a file of the same format. Its codec is then kept if possible.

    Raises:
        FfmpegError: if no encoder can hold the sound.
    """
    encoders = _candidates(extension, source if same_format else None)
    kept_layout = source.layout if source else ""
    reasons, second_best = [], None
    for encoder in encoders:
        encoding, why = _try_encoder(extension, encoder, sampling_rate, num_channels, source, kept_layout)
        if encoding and encoder != encoders[0]:
            notes = (f"the sound is {_codec(encoder)} ({reasons[0]})", *encoding.notes)
            encoding = Encoding(encoding.layout, encoding.options, notes)
        if encoding and not why:
            return encoding
        second_best = second_best or encoding
        reasons.append(why)
    if second_best is None:
        raise FfmpegError("; ".join(reasons))
    return second_best


def _candidates(extension: str, source: Sound | None) -> list[str]:
    container, encoder = CONTAINERS[extension]
    usual = [encoder, *_FURTHER.get(container, ())]
    if source is None:
        return usual
    if source.lossless:
        usual = usual[::-1]
    return list(dict.fromkeys([_ENCODERS.get(source.codec, source.codec), *usual]))


def _try_encoder(
    extension: str, encoder: str, sampling_rate: int, num_channels: int, source: Sound | None, layout: str
) -> tuple[Encoding | None, str]:
    """An encoding with `encoder` if it can hold the sound, and a text about what it does not keep."""
    name, label, labels = _codec(encoder), layout, None
    choices = _options(encoder, num_channels, source)
    first = None
    while True:
        trial, options = _first_that_works(extension, sampling_rate, num_channels, label, choices)
        first = first or trial
        if labels is None:  # another name for the same channels may work, or ffmpeg's guess
            known = trial.sound.layout if trial.sound else ""
            labels = [other for other in dict.fromkeys([known, ""]) if other != layout]
        if _holds(trial, sampling_rate, num_channels, layout) or not labels:
            break
        label = labels.pop(0)
    sound = trial.sound
    if sound is None or not _holds(trial, sampling_rate, num_channels, layout):
        return None, _why_not(name, first, sampling_rate, num_channels)
    notes = []
    changed = layout and num_channels > 2 and sound.layout != layout
    if changed:
        notes.append(f"the channel layout {layout} became {sound.layout or 'one without a name'}")
    before, after = source.sample_bits if source else None, sound.sample_bits
    if before and after and before != after:
        notes.append(f"the samples of {before} bits became ones of {after}")
    return Encoding(label, options, tuple(notes)), f"{name} has no layout {layout}" if changed else ""


def _options(encoder: str, num_channels: int, source: Sound | None) -> list[tuple[str, ...]]:
    """Choices of options for an encoder. The wanted ones come first, then those that leave more to the encoder."""
    plain = ("-c:a:0", encoder)
    if encoder == "aac" and num_channels > 2:
        plain += ("-aac_ms:a:0", "0")  # mid/side coding would bring low tones of one channel into another
    if encoder in _LOSSLESS:
        kind = source.sample_format.rstrip("p") if source and source.sample_bits else "s32"
        return [(*plain, "-sample_fmt:a:0", item + _LOSSLESS[encoder]) for item in (kind, "s32")] + [plain]
    if encoder.startswith("pcm_"):
        return [plain]
    bit_rate = source.bit_rate if source and _ENCODERS.get(source.codec, source.codec) == encoder else None
    return [(*plain, "-b:a:0", str(bit_rate or _BIT_RATE_PER_CHANNEL * num_channels)), plain]


def _holds(trial: _Trial, sampling_rate: int, num_channels: int, layout: str) -> bool:
    sound = trial.sound
    if sound is None or (sound.sampling_rate, sound.num_channels) != (sampling_rate, num_channels):
        return False
    unnamed = sound.layout or num_channels <= 2 or not layout or sound.codec.startswith("pcm_")
    return trial.in_order and bool(unnamed)


def _why_not(name: str, trial: _Trial, sampling_rate: int, num_channels: int) -> str:
    if "is experimental" in trial.why:
        return f"ffmpeg's encoder of {name} is experimental"
    if trial.sound is None:
        return f"ffmpeg cannot encode this as {name}: {trial.why}"
    if trial.sound.sampling_rate != sampling_rate:
        return f"{name} has no {sampling_rate} Hz"
    return f"{name} cannot keep these {num_channels} channels apart"


def _first_that_works(
    extension: str, sampling_rate: int, num_channels: int, layout: str, choices: list[tuple[str, ...]]
) -> tuple[_Trial, tuple[str, ...]]:
    """The trial with the first options that the encoder accepts, and these options. If it refuses all, they are the
    last ones."""
    for options in choices:
        trial = _try(extension, sampling_rate, num_channels, layout, options)
        if trial.sound:
            break
    return trial, options


def _try(extension: str, sampling_rate: int, num_channels: int, layout: str, options: tuple[str, ...]) -> _Trial:
    """Encode a different tone in each channel, and look at the result."""
    try:
        return _encode_tones(extension, sampling_rate, num_channels, layout, options)
    except FfmpegError as error:
        return _Trial(None, why=str(error))


@lru_cache(maxsize=256)  # a failure may be temporary; it raises an error, and errors are not cached
def _encode_tones(
    extension: str, sampling_rate: int, num_channels: int, layout: str, options: tuple[str, ...]
) -> _Trial:
    first, step = _TONES
    frequencies = first + step * np.arange(num_channels)
    time = np.arange(round(_TRIAL_SECONDS * sampling_rate)) / sampling_rate
    tones = 0.1 * np.sin(2 * np.pi * frequencies * time[:, None])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"trial{extension}"
        command = ["ffmpeg", "-v", "error", *raw_input(sampling_rate, num_channels, layout), *options]
        run([*command, "-f", CONTAINERS[extension][0], url(path)], data=tones.astype("<f4").tobytes())
        sound = probe(path)
        audible = num_channels > 2 and frequencies[-1] < sampling_rate / 2
        return _Trial(sound, not audible or _in_order(path, sound.num_channels, frequencies, sampling_rate))


def _in_order(path: Path, num_channels: int, frequencies: np.ndarray, sampling_rate: int) -> bool:
    """Whether each channel k of a file holds only tone k."""
    if num_channels != len(frequencies):
        return False
    audio = np.concatenate(list(decode(path, num_channels, 65536)), axis=1)
    window = np.hanning(audio.shape[1])
    time = np.arange(audio.shape[1]) / sampling_rate
    waves = np.exp(-2j * np.pi * frequencies[:, None] * time)
    heard = np.abs((audio * window) @ waves.T)  # (channels, tones)
    own = heard.diagonal()
    return bool((heard - np.diag(own) < 0.3 * own[:, None]).all() and (own > 0.3 * own.max()).all())


def raw_input(sampling_rate: int, num_channels: int, layout: str) -> list[str]:
    """Options that open stdin as raw float32 samples."""
    return ["-f", "f32le", "-ar", str(sampling_rate), *layout_options(layout, num_channels), "-i", "pipe:0"]


def _codec(encoder: str) -> str:
    return {"libmp3lame": "mp3"}.get(encoder, encoder).removeprefix("lib")
