"""Pairs of two or three talkers who speak at once in a part of the track, with noise and without."""

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


def talker_rows(talkers: Talkers, noise: AudioSource, number: int, seed: int, at_once: int = 2) -> Iterator[dict]:
    """Rows of pairs of `at_once` talkers, 2 or 3; row `i` depends on `(seed, i)` and the recordings alone. Every second
    one has noise."""
    if len(talkers.names) < at_once:
        raise ValueError(
            f"{talkers.source.config.path}: these pairs need {at_once} talkers, found {len(talkers.names)}"
        )
    for index in range(number):
        yield talker_row(index, talkers, noise, seed, at_once)


def talker_row(index: int, talkers: Talkers, noise: AudioSource, seed: int, at_once: int = 2) -> dict:
    """One talker speaks from the start, another up to the end, and both speak in 30 to 70 % of the track. A third one
    speaks where both do, at the mean of their levels.

    `clean` is the sum of `talker_1`, `talker_2` and `talker_3`. `talker_ratio_db` is the level of active speech of the
    first talker over that of the second. All speak from `overlap_start` to `overlap_end` (seconds). `snr_db` is the
    ratio of active speech of all to the noise; it is missing where there is no noise.
    """
    rng = np.random.default_rng((seed, zlib.crc32(b"talkers"), index))
    rate = talkers.source.sampling_rate
    num_samples = round(rng.uniform(*SECONDS) * rate)
    speakers = [str(name) for name in rng.choice(talkers.names, at_once, replace=False)]
    overlap = round(rng.uniform(*OVERLAP) * num_samples)
    start = int(rng.integers(0, num_samples - overlap + 1))
    end = start + overlap
    ratio_db = RATIO_DB[index // 2 % len(RATIO_DB)]
    tracks = [np.zeros(num_samples, np.float32) for _ in speakers]
    parts = slice(0, end), slice(start, num_samples), slice(start, end)
    for track, part, speaker, level_db in zip(tracks, parts, speakers, (ratio_db / 2, -ratio_db / 2, 0), strict=False):
        passage = talkers.passage(speaker, part.stop - part.start, rng)
        track[part] = passage * np.float32(0.1 / max(active_rms(passage), 1e-4) * 10 ** (level_db / 20))
        fade_ends(track[part], rate // 100)
    background, label, licence, snr_db = np.zeros(num_samples, np.float32), "none", None, None
    if index % 2:
        background, label, licence = recorded_noise(noise, num_samples, rng)
        snr_db = SNR_DB[index // (2 * len(RATIO_DB)) % len(SNR_DB)]
        background = at_ratio(np.sum(tracks, axis=0), background, snr_db)
    # Tracks are as loud as recordings are: all get one factor, by which the peak lies between -12 and 0 dB.
    tracks.append(np.sum(tracks, axis=0) + background)
    peak = float(np.abs(tracks[-1]).max()) / 10 ** (rng.uniform(-12, 0) / 20)
    *tracks, noisy = peak_at_most(0.99, *(track / peak for track in tracks))
    name = f"{'talkers' if at_once == 2 else 'three'}_{index:03d}"
    return {
        "id": name,
        "clean": flac(np.sum(tracks, axis=0), rate, f"{name}_clean"),
        "noisy": flac(noisy, rate, f"{name}_noisy"),
        **{f"talker_{one}": flac(track, rate, f"{name}_talker_{one}") for one, track in enumerate(tracks, start=1)},
        "talker_ratio_db": ratio_db,
        "overlap_start": start / rate,
        "overlap_end": end / rate,
        "snr_db": snr_db,
        "noise": label,
        "speaker_id": "+".join(speakers),
        "duration": num_samples / rate,
        "licence": joined(*map(talkers.licence, speakers), licence),
    }
