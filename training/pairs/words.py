"""Pairs for counting words: every utterance whole, in one noise, at every ratio of `pairs-valid`."""

import zlib
from collections.abc import Iterator

import numpy as np

from ..corpora.shards import flac
from ..mixtures.sources import AudioSource
from .making import PairsConfig, Talkers, at_ratio, column, joined, peak_at_most, recorded_noise

SNR_DB = PairsConfig().snr_db


def word_rows(talkers: Talkers, noise: AudioSource, number: int | None, seed: int) -> Iterator[dict]:
    """Rows of the first `number` pairs, by default of all utterances; the pairs of an utterance follow each other.

    Row `i` depends on `(seed, i)` and the recordings alone.

    Raises:
        ValueError: if there are fewer pairs than `number`.
    """
    pairs = len(talkers.source) * len(SNR_DB)
    if number is not None and number > pairs:
        raise ValueError(
            f"{talkers.source.config.path}: {len(talkers.source)} clean utterances give {pairs} pairs, got "
            f"--number {number}"
        )
    for index in range(-(-(pairs if number is None else number) // len(SNR_DB))):
        left = pairs if number is None else number - index * len(SNR_DB)
        yield from utterance_rows(index, talkers, noise, seed)[:left]


def utterance_rows(index: int, talkers: Talkers, noise: AudioSource, seed: int) -> list[dict]:
    """Utterance `index` in one part of one noise recording, once for each ratio.

    All rows share one clean reference, so a recogniser hears it once. It is as loud as the loudest mixture allows.
    `utterance` names it, since counts in the pairs of one utterance are not independent.
    """
    rng = np.random.default_rng((seed, zlib.crc32(b"words"), index))
    source = talkers.source
    clean = source[index]
    speaker = column(source, "speaker_id", index) or f"recording-{index}"
    background, label, licence = recorded_noise(noise, len(clean), rng)
    mixtures = [clean + at_ratio(clean, background, snr_db) for snr_db in SNR_DB]
    clean, *mixtures = peak_at_most(0.99, clean, *mixtures)
    utterance = f"words_{index:03d}"
    return [
        {
            "id": f"{utterance}_{snr_db:g}dB",
            "clean": flac(clean, source.sampling_rate, f"{utterance}_clean"),
            "noisy": flac(noisy, source.sampling_rate, f"{utterance}_{snr_db:g}dB_noisy"),
            "utterance": utterance,
            "snr_db": snr_db,
            "noise": label,
            "speaker_id": speaker,
            "duration": len(clean) / source.sampling_rate,
            "licence": joined(column(source, "licence", index), licence),
        }
        for snr_db, noisy in zip(SNR_DB, mixtures, strict=True)
    ]
