"""Noises that are computed. Every function returns float32 `(samples,)` at any level, drawn from `rng` alone."""

import numpy as np

from .augment import add_at, rms
from .filters import butterworth_loss, inverse_real_fft, real_fft

WAVETABLE = 2048  # a power of two


def coloured_hum_or_clicks(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Coloured noise that may swell (70 %), hum with harmonics (15 %), or clicks (15 %)."""
    kind = rng.random()
    time = np.arange(num_samples, dtype=np.float32) / sampling_rate
    if kind < 0.7:
        spectrum = real_fft(rng.standard_normal(num_samples, dtype=np.float32))
        frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / sampling_rate), 30).astype(np.float32)
        spectrum *= frequency ** np.float32(-rng.uniform(0, 1.2))
        track = inverse_real_fft(spectrum, num_samples)
        if rng.random() < 0.4:
            depth, speed, phase = rng.uniform(0.2, 0.9), rng.uniform(0.2, 4), rng.uniform(0, 2 * np.pi)
            track *= 1 + depth * np.sin(2 * np.pi * speed * time + phase)
    elif kind < 0.85:
        base = rng.choice([50.0, 60.0, rng.uniform(80, 1500)])
        harmonics = np.arange(1, rng.integers(2, 20))
        harmonics = harmonics[harmonics * base < sampling_rate / 2]
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


def effect(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """One of siren, beeps, rumble, band noise, typing, crackle and gusts."""
    kinds = (siren, beeps, rumble, band_noise, typing, crackle, gusts)
    return kinds[rng.integers(len(kinds))](num_samples, sampling_rate, rng)


def music(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Chords or an arpeggio of one instrument on a five-note scale, half of the time with drums."""
    beat = int(rng.uniform(0.15, 0.6) * sampling_rate)
    scale = np.array([0, 2, 4, 7, 9]) if rng.random() < 0.5 else np.array([0, 3, 5, 7, 10])
    pitches = 65.4 * 2 ** ((rng.integers(0, 24) + np.concatenate([scale, scale + 12])) / 12)
    partials = rng.uniform(0, 1, 24) * np.arange(1, 25.0) ** -rng.uniform(0.5, 2)
    partials[0] = 1
    chords, decay, vibrato = rng.random() < 0.5, rng.uniform(0.1, 1.5), rng.choice([0, rng.uniform(0.003, 0.015)])
    track = np.zeros(num_samples, np.float32)
    beats_per_chord = rng.integers(1, 5) if chords else 1
    for start in range(0, num_samples, beat * beats_per_chord):
        length = min(int(beat * beats_per_chord * rng.uniform(0.7, 2)), num_samples - start)
        for pitch in rng.choice(pitches, rng.integers(2, 5) if chords else 1, replace=False):
            time = np.arange(length, dtype=np.float32) / sampling_rate
            frequency = pitch * (1 + vibrato * np.sin(2 * np.pi * 5.5 * time, dtype=np.float32))
            envelope = np.minimum(time / 0.01, 1) * np.exp(-time / decay) * np.minimum(1, (time[-1] - time) / 0.03)
            track[start : start + length] += rng.uniform(0.5, 1) * envelope * _tone(frequency, sampling_rate, partials)
    if rng.random() < 0.5:
        track += rng.uniform(0.5, 3) * _drums(num_samples, sampling_rate, beat, rng)
    return track


def siren(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A tone with harmonics that rises and falls, smoothly or between two pitches."""
    low, ratio, speed = rng.uniform(300, 1200), rng.uniform(1.2, 3), rng.uniform(0.2, 4)
    position = np.sin(2 * np.pi * (speed * np.arange(num_samples) / sampling_rate + rng.random()))
    if rng.random() < 0.4:
        position = np.sign(position)
    return _tone(low * ratio ** ((position + 1) / 2), sampling_rate, np.array([1, *rng.random(3) ** 2]))


def beeps(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """An alarm clock: groups of short tones of one pitch."""
    time = np.arange(num_samples) / sampling_rate + rng.uniform(0, 2)
    interval, per_group, group = rng.uniform(0.1, 0.5), rng.integers(1, 5), rng.uniform(1.0, 1.5)
    in_group = time % (per_group * interval * group)
    on = (in_group < per_group * interval) & (in_group % interval < rng.uniform(0.3, 0.7) * interval)
    gate = np.convolve(on, np.hanning(82)[1:-1] / np.hanning(82).sum(), mode="same")  # 5 ms slopes, not clicks
    frequency = np.full(num_samples, rng.uniform(500, 3500))
    return (gate * _tone(frequency, sampling_rate, np.array([1, rng.random(), rng.random()]))).astype(np.float32)


def rumble(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """An engine or a lorry that passes: noise below 80 to 300 Hz, its level modulated fast and slowly."""
    track = _filtered_noise(num_samples, sampling_rate, rng, 20, rng.uniform(80, 300), 2)
    time = np.arange(num_samples, dtype=np.float32) / sampling_rate
    fast = 1 + rng.uniform(0.2, 1) * np.sin(2 * np.pi * rng.uniform(5, 30) * time, dtype=np.float32)
    return track * fast * _swell(num_samples, sampling_rate, rng, seconds=1.5, deviation=0.4)


def band_noise(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Steam, water, a fan: noise of one third to three octaves around 200 to 5000 Hz."""
    centre, width = 200 * 25 ** rng.random(), 2 ** rng.uniform(1 / 6, 1.5)
    return _filtered_noise(num_samples, sampling_rate, rng, centre / width, centre * width, int(rng.integers(1, 6)))


def typing(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A keyboard: for every key a click down and a softer one up, ringing at the resonance of the case."""
    track = 1e-3 * rng.standard_normal(num_samples, dtype=np.float32)
    time = np.arange(int(0.03 * sampling_rate)) / sampling_rate
    resonance, interval = rng.uniform(300, 2500), rng.uniform(0.08, 0.3)
    for start in np.cumsum(rng.gamma(2, interval / 2, int(2 * num_samples / sampling_rate / interval))):
        for moment, level in ((start, 1.0), (start + rng.uniform(0.05, 0.12), rng.uniform(0.2, 0.6))):
            ring = np.sin(2 * np.pi * resonance * rng.uniform(0.9, 1.1) * time) * np.exp(-time / 0.006)
            strike = rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(0.001, 0.004))
            add_at(
                track, (level * rng.uniform(0.4, 1) * (ring + strike)).astype(np.float32), int(moment * sampling_rate)
            )
    return track


def crackle(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """An old record, rain on a window, fire: 10 to 1000 impulses a second of very unequal height."""
    impulses = np.zeros(num_samples, np.float32)
    count = 1 + int(num_samples / sampling_rate * 10 ** rng.uniform(1, 3))
    impulses[rng.integers(0, num_samples, count)] = rng.standard_normal(count) * rng.lognormal(0, 1, count)
    length = int(rng.integers(2, 40))
    ring = rng.standard_normal(length) * np.exp(-4 * np.arange(length) / length)
    track = np.convolve(impulses, ring.astype(np.float32))[:num_samples]
    return track + 1e-3 * rng.standard_normal(num_samples, dtype=np.float32)


def gusts(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Wind: a deep part and a whistling part, each of which swells at its own times."""
    deep = _filtered_noise(num_samples, sampling_rate, rng, 10, rng.uniform(100, 400), 1)
    centre = rng.uniform(400, 1500)
    whistle = _filtered_noise(num_samples, sampling_rate, rng, centre / 1.3, centre * 1.3, 2)
    deep *= _swell(num_samples, sampling_rate, rng, seconds=0.6, deviation=1.0)
    whistle *= _swell(num_samples, sampling_rate, rng, seconds=1.0, deviation=1.0)
    return deep + np.float32(rng.uniform(0, 0.4)) * whistle


def _tone(frequency: np.ndarray, sampling_rate: int, partials: np.ndarray) -> np.ndarray:
    """A harmonic tone of changing frequency `(samples,)` in Hz. It is read from one period, which costs the same for
    any number of partials. Partials that would pass half the sampling rate are left out."""
    partials = partials[: max(1, int(0.45 * sampling_rate / frequency.max()))]
    spectrum = np.zeros(WAVETABLE // 2 + 1)
    spectrum[1 : len(partials) + 1] = partials
    period = np.fft.irfft(-1j * spectrum, WAVETABLE).astype(np.float32) * WAVETABLE / 2
    phase = np.cumsum(frequency / sampling_rate, dtype=np.float64)
    return period[(phase * WAVETABLE).astype(np.int64) & (WAVETABLE - 1)]


def _drums(num_samples: int, sampling_rate: int, beat: int, rng: np.random.Generator) -> np.ndarray:
    """A low drum with falling pitch and a burst of noise in turn, on the beat."""
    time = np.arange(int(0.25 * sampling_rate)) / sampling_rate
    low = np.sin(2 * np.pi * (50 * time - 5 * np.exp(-time / 0.04))) * np.exp(-time / 0.08)
    high = rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(0.01, 0.06))
    track = np.zeros(num_samples, np.float32)
    for number, start in enumerate(range(0, num_samples, beat)):
        add_at(track, (rng.uniform(0.3, 1) * (high if number % 2 else low)).astype(np.float32), start)
    return track


def _filtered_noise(
    num_samples: int, sampling_rate: int, rng: np.random.Generator, low: float, high: float, order: int
) -> np.ndarray:
    """White noise between `low` and `high` Hz, with slopes of 12 × `order` dB an octave, at RMS 1."""
    frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / sampling_rate), 1)
    response = 1 / butterworth_loss(frequency, low, high, order)
    spectrum = real_fft(rng.standard_normal(num_samples, dtype=np.float32))
    spectrum *= response.astype(np.float32)
    track = inverse_real_fft(spectrum, num_samples)
    return track / rms(track)


def _swell(
    num_samples: int, sampling_rate: int, rng: np.random.Generator, seconds: float, deviation: float
) -> np.ndarray:
    """A gain that moves between log-normal values every `seconds`."""
    knots = np.arange(int(num_samples / sampling_rate / seconds) + 3) * seconds * sampling_rate
    values = rng.lognormal(0, deviation, len(knots))
    return np.interp(np.arange(num_samples) + rng.uniform(0, knots[1]), knots, values).astype(np.float32)
