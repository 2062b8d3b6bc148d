"""Noisy/clean pairs mixed on the fly: every example is a function of (seed, index) alone."""

from dataclasses import dataclass

import numpy as np
import soxr
from scipy.signal import fftconvolve
from torch.utils.data import Dataset

from .sources import SourceMix


@dataclass(frozen=True)
class MixingConfig:
    """How mixtures are made; each `*_share` is a probability.

    Args:
        seconds: Length of a mixture, of which the training step crops a window.
        snr_db: Range of the ratio of active speech to noise.
        clean_share: Mixtures without noise, so that clean speech learns to pass.
        noise_only_share: Mixtures without speech.
        second_noise_share: Mixtures with two recorded noises.
        synthetic_share: Noise made here (coloured, hum, clicks) in place of a recorded one.
        babble_share: Noise made of other talkers in place of a recorded one.
        reverb_share: Speech put into a small room (it stays in the target: this is a denoiser).
        equalize_share: Speech and noise each with a random spectral shape.
        band_limit_share: The whole mixture low-passed between 3.4 and 7.5 kHz.
        speed_range: Playback speed of speech (other talkers) and, twice as far from 1, of noise.
    """

    seconds: float = 5.0
    snr_db: tuple[float, float] = (-5.0, 20.0)
    clean_share: float = 0.04
    noise_only_share: float = 0.03
    second_noise_share: float = 0.25
    synthetic_share: float = 0.15
    babble_share: float = 0.1
    reverb_share: float = 0.2
    equalize_share: float = 0.5
    band_limit_share: float = 0.08
    speed_range: tuple[float, float] = (0.88, 1.14)


class MixtureDataset(Dataset):
    """`length` mixtures `{"clean", "noisy"}` of float32 samples; item `i` depends on `(seed, i)` only."""

    def __init__(self, speech: SourceMix, noise: SourceMix, config: MixingConfig, seed: int, length: int):
        self.speech, self.noise, self.config, self.seed, self.length = speech, noise, config, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        clean, noisy = mix(self.speech, self.noise, self.config, rng)
        return {"clean": clean, "noisy": noisy}


def mix(
    speech: SourceMix, noise: SourceMix, config: MixingConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One `(clean, noisy)` pair of `config.seconds`, sample-aligned, peak at most 1."""
    rate = speech.sampling_rate
    num_samples = round(config.seconds * rate)
    kind = rng.random()
    clean = np.zeros(num_samples, np.float32)
    if kind >= config.noise_only_share:
        clean = speech_track(speech, config, num_samples, rng)
    background = np.zeros(num_samples, np.float32)
    if kind < 1 - config.clean_share:
        background = noise_track(speech, noise, config, num_samples, rng)
        background *= noise_scale(clean, background, rng.uniform(*config.snr_db))
    if rng.random() < config.band_limit_share:
        clean, background = _band_limit(np.stack([clean, background]), rate, rng.uniform(3400, 7500))
    noisy = clean + background
    peak = max(np.abs(noisy).max(), np.abs(clean).max(), 1e-3)
    return clean / peak, noisy / peak


def speech_track(speech: SourceMix, config: MixingConfig, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Utterances at equal level with pauses between them, one voice treatment for all."""
    speed = rng.uniform(*config.speed_range)
    track = np.zeros(num_samples, np.float32)
    position = (
        -int(rng.integers(0, num_samples // 4))
        if rng.random() < 0.5
        else int(rng.exponential(0.3) * speech.sampling_rate)
    )
    while position < num_samples:
        utterance = speech.draw(rng)
        if len(utterance) > num_samples and position <= 0:
            utterance = utterance[rng.integers(0, len(utterance) - num_samples // 2) :]
        utterance = _change_speed(utterance[: 2 * num_samples], speed)
        utterance = utterance / max(active_rms(utterance), 1e-4)
        _add_at(track, utterance, position)
        position += len(utterance) + int(rng.exponential(0.35) * speech.sampling_rate)
        if rng.random() < 0.15:
            break
    if rng.random() < config.equalize_share:
        track = _equalize(track, rng, deviation_db=3.0)
    if rng.random() < config.reverb_share:
        track = _reverberate(track, speech.sampling_rate, rng)
    return track


def noise_track(
    speech: SourceMix, noise: SourceMix, config: MixingConfig, num_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """One or two noises, each recorded, synthetic or babble, at unequal level."""
    track = np.zeros(num_samples, np.float32)
    for level in (1.0, rng.uniform(0.2, 1.0))[: 2 if rng.random() < config.second_noise_share else 1]:
        kind = rng.random()
        if kind < config.babble_share:
            part = _babble(speech, num_samples, rng)
        elif kind < config.babble_share + config.synthetic_share:
            part = _synthetic_noise(num_samples, speech.sampling_rate, rng)
        else:
            part = _recorded_noise(noise, config, num_samples, rng)
        if rng.random() < config.equalize_share:
            part = _equalize(part, rng, deviation_db=5.0)
        track += level * part / max(np.sqrt(np.mean(part**2)), 1e-5)
    return track


def _recorded_noise(noise: SourceMix, config: MixingConfig, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    speed = rng.uniform(*(2 * (np.asarray(config.speed_range) - 1) + 1))
    recording = noise.draw(rng)
    needed = int(num_samples * speed) + 1
    start = int(rng.integers(0, max(1, len(recording) - needed + 1)))
    part = _change_speed(recording[start : start + needed], speed)
    if len(part) < num_samples:  # a short recording repeats from a random point on
        part = np.resize(np.roll(part, int(rng.integers(0, len(part)))), num_samples)
    return part[:num_samples]


def _babble(speech: SourceMix, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    track = np.zeros(num_samples, np.float32)
    for _ in range(rng.integers(3, 9)):
        talker = speech.draw(rng)
        talker = np.roll(np.resize(talker, num_samples), int(rng.integers(0, num_samples)))
        track += rng.uniform(0.4, 1.0) * talker / max(active_rms(talker), 1e-4)
    return track


def _synthetic_noise(num_samples: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Coloured noise that may swell, hum with harmonics, or clicks."""
    kind = rng.random()
    time = np.arange(num_samples, dtype=np.float32) / rate
    if kind < 0.7:
        spectrum = np.fft.rfft(rng.standard_normal(num_samples, dtype=np.float32))
        frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / rate), 30)
        track = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1.2), num_samples).astype(np.float32)
        if rng.random() < 0.4:
            depth, speed, phase = rng.uniform(0.2, 0.9), rng.uniform(0.2, 4), rng.uniform(0, 2 * np.pi)
            track *= 1 + depth * np.sin(2 * np.pi * speed * time + phase)
    elif kind < 0.85:
        base = rng.choice([50.0, 60.0, rng.uniform(80, 1500)])
        harmonics = np.arange(1, rng.integers(2, 20))
        harmonics = harmonics[harmonics * base < rate / 2]
        phases = rng.uniform(0, 2 * np.pi, len(harmonics))
        slope = rng.uniform(0.3, 1.5)
        track = 0.01 * rng.standard_normal(num_samples, dtype=np.float32)
        for harmonic, phase in zip(harmonics, phases, strict=True):
            track += np.sin(2 * np.pi * base * harmonic * time + phase, dtype=np.float32) / harmonic**slope
    else:
        track = 1e-3 * rng.standard_normal(num_samples, dtype=np.float32)
        for start in rng.integers(0, num_samples, rng.integers(4, 40)):
            length = min(int(rng.integers(40, 1200)), num_samples - start)
            burst = rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 5))
            track[start : start + length] += rng.uniform(0.2, 1) * burst
    return track


def _change_speed(audio: np.ndarray, speed: float) -> np.ndarray:
    """Play faster or slower, pitch and all; only the ratio of the two rates counts."""
    return soxr.resample(audio, 16000 * speed, 16000, quality="QQ") if abs(speed - 1) > 0.01 else audio


def active_rms(audio: np.ndarray) -> float:
    """Root mean square of the 20 ms frames that are louder than the mean one: the level of speech without its pauses."""
    power = np.square(audio[: len(audio) // 320 * 320].reshape(-1, 320)).mean(axis=1)
    return float(np.sqrt(power[power >= power.mean()].mean())) if len(power) else 0.0


def noise_scale(clean: np.ndarray, background: np.ndarray, snr_db: float) -> float:
    """Factor that puts `background` `snr_db` below the active level of `clean`."""
    speech_rms = active_rms(clean) or 1.0
    return speech_rms / max(float(np.sqrt(np.mean(background**2))), 1e-6) * 10 ** (-snr_db / 20)


def _add_at(track: np.ndarray, part: np.ndarray, position: int) -> None:
    part = part[max(0, -position) :][: len(track) - max(0, position)]
    track[max(0, position) :][: len(part)] += part


def _equalize(audio: np.ndarray, rng: np.random.Generator, deviation_db: float) -> np.ndarray:
    """A random smooth spectral shape: microphones, distances, rooms."""
    spectrum = np.fft.rfft(audio)
    knots = np.linspace(0, 1, 7)
    shape_db = np.interp(np.sqrt(np.linspace(0, 1, len(spectrum))), knots, rng.normal(0, deviation_db, len(knots)))
    return np.fft.irfft(spectrum * 10 ** (shape_db / 20), len(audio)).astype(np.float32)


def _band_limit(tracks: np.ndarray, rate: int, cutoff: float) -> np.ndarray:
    frequency = np.fft.rfftfreq(tracks.shape[-1], 1 / rate)
    response = 1 / (1 + (frequency / cutoff) ** 24)
    return np.fft.irfft(np.fft.rfft(tracks) * response, tracks.shape[-1]).astype(np.float32)


def _reverberate(audio: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A direct path and an exponentially decaying tail: RT60 0.1-0.5 s, direct-to-reverberant 3-15 dB."""
    decay = rng.uniform(0.1, 0.5)
    time = np.arange(int(decay * rate)) / rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail[: int(0.002 * rate)] = 0
    tail *= 10 ** (-rng.uniform(3, 15) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return fftconvolve(audio, tail)[: len(audio)].astype(np.float32)
