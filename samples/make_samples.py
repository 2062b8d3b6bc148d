"""Make the sample recordings of this folder: everything in them is synthetic, so nobody else has rights in them.

The voice is espeak-ng's, the noise is computed here: a fan (coloured noise that swells), mains hum and a keyboard.
Needs the program `espeak-ng`. Usage: `python samples/make_samples.py`.
"""

import io
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLING_RATE = 16000
TEXT = "Good morning. Can you hear me over the fan? The new parts arrive on Thursday at nine."
SNR_DB = 8.0


def speak(text: str) -> np.ndarray:
    """Synthetic speech, float64 mono at `SAMPLING_RATE`, with half a second of silence around it."""
    command = ["espeak-ng", "-v", "en-us+m3", "-s", "165", "-g", "4", "--stdout", text]
    audio, rate = soundfile.read(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout))
    audio = soxr.resample(audio, rate, SAMPLING_RATE)
    return np.pad(audio / np.abs(audio).max() * 0.5, SAMPLING_RATE // 2)


def workshop_noise(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A fan, mains hum and a keyboard, RMS 1."""
    time = np.arange(num_samples) / SAMPLING_RATE
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / SAMPLING_RATE), 60)
    fan = np.fft.irfft(spectrum * frequency**-0.9, num_samples)
    fan *= (1 + 0.25 * np.sin(2 * np.pi * 0.7 * time)) / fan.std()
    hum = sum(np.sin(2 * np.pi * 100 * k * time + k) / k for k in range(1, 6))
    keys = np.zeros(num_samples)
    for start in rng.integers(0, num_samples - 1600, round(time[-1] * 4)):
        length = int(rng.integers(300, 900))
        keys[start : start + length] += rng.standard_normal(length) * np.exp(-np.arange(length) / 120)
    noise = fan + 0.3 * hum + 1.2 * keys
    return noise / noise.std()


def main() -> None:
    folder = Path(__file__).parent
    clean = speak(TEXT)
    noise = workshop_noise(len(clean), np.random.default_rng(0))
    active = np.abs(clean) > 0.01
    noisy = clean + noise * np.sqrt(np.mean(clean[active] ** 2)) * 10 ** (-SNR_DB / 20)
    peak = np.abs(noisy).max() / 0.9
    for name, audio in {"clean": clean, "noisy": noisy}.items():
        soundfile.write(folder / f"{name}.wav", audio / peak, SAMPLING_RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
