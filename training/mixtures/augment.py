"""Augmentations of a track: pure functions on float32 mono `(samples,)` that keep its length unless they say otherwise.
All that is drawn comes from `rng`. `mixing.py` applies them; `mixing_config.py` holds their shares."""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import soxr

from .channels import gsm, mp3, opus, telephone
from .filters import inverse_real_fft, real_fft


def chance(rng: np.random.Generator, share: float) -> bool:
    """True with probability `share`. A share of 0 draws nothing, so what is switched off changes no other draw."""
    return share > 0 and rng.random() < share


def add_at(track: np.ndarray, part: np.ndarray, position: int) -> None:
    """Add `part` to `track` in place from sample `position` on, which may be negative; what sticks out is cut off."""
    part = part[max(0, -position) :][: max(0, len(track) - max(0, position))]
    track[max(0, position) :][: len(part)] += part


def fade_ends(part: np.ndarray, length: int) -> None:
    """Fade `part` in and out, in place, over `length` samples or half of its own."""
    length = min(length, len(part) // 2)
    if length:
        ramp = np.linspace(0, 1, length, dtype=part.dtype)
        part[:length] *= ramp
        part[-length:] *= ramp[::-1]


def rms(audio: np.ndarray) -> float:
    """Root of the mean square of `(samples,)`."""
    return float(np.sqrt(np.dot(audio, audio) / len(audio)))


def active_rms(audio: np.ndarray) -> float:
    """RMS of the frames of 320 samples at or above the mean power; 0 for less than a frame."""
    frames = audio[: len(audio) // 320 * 320].reshape(-1, 320)
    power = np.einsum("fs,fs->f", frames, frames) / 320  # without an array of all squares
    if not len(power):
        return 0.0
    threshold = min(power.mean(), power.max())  # the mean of equal frames may be rounded up past all of them
    return float(np.sqrt(power[power >= threshold].mean()))


def change_speed(audio: np.ndarray, speed: float) -> np.ndarray:
    """Play faster or slower, which changes the pitch too, and the length by 1 / `speed`. Only the ratio of the two
    rates counts."""
    return soxr.resample(audio, 16000 * speed, 16000, quality="QQ") if abs(speed - 1) > 0.01 else audio


def shift_pitch(audio: np.ndarray, sampling_rate: int, semitones: float) -> np.ndarray:
    """Move pitch and formants and keep the duration, by Signalsmith Stretch (a phase vocoder; `python-stretch`)."""
    from python_stretch.Signalsmith import Stretch

    stretch = Stretch(0)  # its random phases need a seed
    stretch.preset(1, float(sampling_rate), cheaper=True)
    stretch.setTransposeSemitones(semitones)
    return np.asarray(stretch.process(audio[None]))[0]


def equalize(audio: np.ndarray, rng: np.random.Generator, deviation_db: float) -> np.ndarray:
    """A random smooth spectral shape, such as that of a microphone, a distance or a room. It is drawn at seven
    frequencies and linear in decibels between them, over the root of the frequency."""
    spectrum = real_fft(audio)
    shares = _shares_of_knots(len(spectrum), 7)
    nepers = (rng.normal(0, deviation_db, shares.shape[1]) * (np.log(10) / 20)).astype(np.float32)
    spectrum *= np.exp(shares @ nepers)
    return inverse_real_fft(spectrum, len(audio))


@lru_cache(maxsize=2)  # tracks of a run have one length
def _shares_of_knots(length: int, number: int) -> np.ndarray:
    """Share of each of `number` even knots in the line between them, over the root of the frequency:
    `(length, number)`, float32."""
    position = np.sqrt(np.linspace(0, 1, length)) * (number - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(number))).astype(np.float32)


def synthetic_tail(sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a direct path and an exponentially decaying tail: RT60 0.1-0.5 s, direct-to-reverberant
    3-15 dB."""
    decay = rng.uniform(0.1, 0.5)
    time = np.arange(int(decay * sampling_rate)) / sampling_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail[: int(0.002 * sampling_rate)] = 0
    tail *= 10 ** (-rng.uniform(3, 15) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail.astype(np.float32)


def direct_path_first(response: np.ndarray) -> np.ndarray:
    """An impulse response at peak 1 without the time of flight before its first strong peak, so that it hardly delays.

    A reflection may be higher than the direct path, so the first sample of half the peak's height counts.
    """
    magnitude = np.abs(response)
    peak = magnitude.max() or 1
    return response[(magnitude >= 0.5 * peak).argmax() :] / peak


def slow_gain(num_samples: int, sampling_rate: int, rng: np.random.Generator, deviation_db: float = 5.0) -> np.ndarray:
    """A gain that wanders between independent values every 0.3 to 2 s, within two deviations around 0 dB."""
    positions = np.cumsum(rng.uniform(0.3, 2, 2 + int(num_samples / sampling_rate / 0.3))) * sampling_rate
    values = rng.normal(0, deviation_db, len(positions)).clip(-2 * deviation_db, 2 * deviation_db)
    nepers = np.interp(np.arange(num_samples), positions, values * (np.log(10) / 20))
    return np.exp(nepers.astype(np.float32))


def presence(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A gate of 0 and 1 with slopes of 5 to 300 ms. It opens at a random place, closes at one, or does both."""
    first, last = np.sort(rng.uniform(0.1, 0.9, 2)) * num_samples
    kind = rng.integers(3)
    first, last = (first, np.inf) if kind == 0 else (-np.inf, last) if kind == 1 else (first, last)
    slope = rng.uniform(0.005, 0.3) * sampling_rate
    time = np.arange(num_samples)
    return np.minimum((time - first) / slope, (last - time) / slope).clip(0, 1).astype(np.float32)


def clip(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Overdrive: 0.03 to 3 % of the samples are cut off at one limit, as converters do."""
    limit = np.quantile(np.abs(audio), 1 - 10 ** rng.uniform(-3.5, -1.5))
    return audio.clip(-limit, limit)


def random_channel(sampling_rate: int, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A telephone line, GSM, Opus at 10 to 24 kbit/s or MP3 at 16 to 80 kbit/s, each equally likely; see `channels`.

    Below 10 kbit/s Opus may move the waveform by a sample.
    """
    kind = rng.integers(4)
    if kind < 2:
        return partial((telephone, gsm)[kind], sampling_rate=sampling_rate)
    if kind == 2:
        return partial(opus, sampling_rate=sampling_rate, bitrate=int(10000 * 2.4 ** rng.random()))
    return partial(mp3, sampling_rate=sampling_rate, compression_level=rng.uniform(0.5, 0.95))
