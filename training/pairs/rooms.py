"""Pairs of a talker and a noise in one simulated room, by reverberation time."""

import zlib
from collections.abc import Iterator

import numpy as np

from ..corpora.shards import flac
from ..mixtures.channels import dereverberated, reverberate
from ..mixtures.rooms import simulate_room
from ..mixtures.sources import AudioSource
from .making import Talkers, at_ratio, joined, peak_at_most, recorded_noise

REVERBERATION_TIMES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
DISTANCE = (0.5, 6.0)
SNR_DB = (0.0, 5.0, 10.0, 15.0, 20.0)
SECONDS = (4.0, 7.0)


def room_rows(talkers: Talkers, noise: AudioSource, number: int, seed: int) -> Iterator[dict]:
    """Rows of pairs; row `i` depends on `(seed, i)` and the recordings alone."""
    for index in range(number):
        yield room_row(index, talkers, noise, seed)


def room_row(index: int, talkers: Talkers, noise: AudioSource, seed: int) -> dict:
    """A talker 0.5 to 6 m from the microphone, a recorded noise elsewhere in the room.

    `clean` is the direct sound and the first 50 ms. `reverberant` is the speech with its whole room. `noisy` is
    `reverberant` with the noise, at a ratio of `snr_db`. All are aligned with the direct sound; its flight is cut off.
    """
    rng = np.random.default_rng((seed, zlib.crc32(b"rooms"), index))
    rate = talkers.source.sampling_rate
    speaker = str(rng.choice(talkers.names))
    num_samples = round(rng.uniform(*SECONDS) * rate)
    dry = talkers.passage(speaker, num_samples, rng)
    background, label, licence = recorded_noise(noise, num_samples, rng)
    rt60 = REVERBERATION_TIMES[index % len(REVERBERATION_TIMES)]
    snr_db = SNR_DB[index // len(REVERBERATION_TIMES) % len(SNR_DB)]
    distance = float(rng.uniform(*DISTANCE))
    _, response, noise_response = simulate_room(rng, rate, rt60, distance)
    reverberant = reverberate(dry, response)
    background = at_ratio(reverberant, reverberate(background, noise_response), snr_db)
    clean = reverberate(dry, dereverberated(response, rate, 1.0))
    clean, reverberant, noisy = peak_at_most(0.99, clean, reverberant, reverberant + background)
    name = f"rooms_{index:03d}"
    return {
        "id": name,
        "clean": flac(clean, rate, f"{name}_clean"),
        "noisy": flac(noisy, rate, f"{name}_noisy"),
        "reverberant": flac(reverberant, rate, f"{name}_reverberant"),
        "reverberation_time": rt60,
        "distance": distance,
        "snr_db": snr_db,
        "noise": label,
        "speaker_id": speaker,
        "duration": num_samples / rate,
        "licence": joined(talkers.licence(speaker), licence),
    }
