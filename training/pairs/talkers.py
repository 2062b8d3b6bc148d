"""Pairs of two talkers who speak at once in a part of the track, with noise and without."""

import zlib
from collections.abc import Iterator

import numpy as np

from ..corpora.shards import flac
from ..mixtures.augment import active_rms, fade_ends
from ..mixtures.sources import AudioSource
from .making import Talkers, at_ratio, joined, peak_at_most, recorded_noise

RATIO_DB = (-8.0, -4.0, 0.0, 4.0, 8.0)
SNR_DB = (0.0, 5.0, 10.0, 15.0)
SECONDS = (5.0, 8.0)
OVERLAP = (0.3, 0.7)


def talker_rows(talkers: Talkers, noise: AudioSource, number: int, seed: int) -> Iterator[dict]:
    """Rows of pairs; row `i` depends on `(seed, i)` and the recordings alone. Every second one has noise."""
    if len(talkers.names) < 2:
        raise ValueError(f"{talkers.source.config.path}: pairs of talkers need two talkers, found {len(talkers.names)}")
    for index in range(number):
        yield talker_row(index, talkers, noise, seed)


def talker_row(index: int, talkers: Talkers, noise: AudioSource, seed: int) -> dict:
    """One talker speaks from the start, another up to the end, and both speak in 30 to 70 % of the track.

    `clean` is the sum of `talker_1` and `talker_2`. `talker_ratio_db` is the level of active speech of the first talker
    over that of the second. Both speak from `overlap_start` to `overlap_end` (seconds). `snr_db` is the ratio of active
    speech of both to the noise; it is missing where there is no noise.
    """
    rng = np.random.default_rng((seed, zlib.crc32(b"talkers"), index))
    rate = talkers.source.sampling_rate
    num_samples = round(rng.uniform(*SECONDS) * rate)
    speakers = [str(name) for name in rng.choice(talkers.names, 2, replace=False)]
    overlap = round(rng.uniform(*OVERLAP) * num_samples)
    start = int(rng.integers(0, num_samples - overlap + 1))
    end = start + overlap
    ratio_db = RATIO_DB[index // 2 % len(RATIO_DB)]
    first, second = (np.zeros(num_samples, np.float32) for _ in range(2))
    for track, part, speaker, level_db in (
        (first, slice(0, end), speakers[0], ratio_db / 2),
        (second, slice(start, num_samples), speakers[1], -ratio_db / 2),
    ):
        passage = talkers.passage(speaker, part.stop - part.start, rng)
        track[part] = passage * np.float32(0.1 / max(active_rms(passage), 1e-4) * 10 ** (level_db / 20))
        fade_ends(track[part], rate // 100)
    background, label, licence, snr_db = np.zeros(num_samples, np.float32), "none", None, None
    if index % 2:
        background, label, licence = recorded_noise(noise, num_samples, rng)
        snr_db = SNR_DB[index // (2 * len(RATIO_DB)) % len(SNR_DB)]
        background = at_ratio(first + second, background, snr_db)
    # Tracks are as loud as recordings are: all get one factor, by which the peak lies between -12 and 0 dB.
    peak = float(np.abs(first + second + background).max()) / 10 ** (rng.uniform(-12, 0) / 20)
    first, second, noisy = peak_at_most(0.99, *(track / peak for track in (first, second, first + second + background)))
    name = f"talkers_{index:03d}"
    return {
        "id": name,
        "clean": flac(first + second, rate, f"{name}_clean"),
        "noisy": flac(noisy, rate, f"{name}_noisy"),
        "talker_1": flac(first, rate, f"{name}_talker_1"),
        "talker_2": flac(second, rate, f"{name}_talker_2"),
        "talker_ratio_db": ratio_db,
        "overlap_start": start / rate,
        "overlap_end": end / rate,
        "snr_db": snr_db,
        "noise": label,
        "speaker_id": "+".join(speakers),
        "duration": num_samples / rate,
        "licence": joined(*map(talkers.licence, speakers), licence),
    }
