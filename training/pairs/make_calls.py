"""A validation set of calls and meetings, made from recordings of speech and noise.

    python -m training.pairs.make_calls --output data/pairs-calls.parquet

The conditions are telephone, gsm, opus, far-field, two-talkers and typing; `call_conditions.py` says what each does and
what its clean reference is. Sources are Parquet patterns, folders or names of datasets on the Hub. The output is one
Parquet file with columns `id, clean, noisy, condition, snr_db, noise, speaker_id, duration, licence`. The same sources
and seed give the same bytes. A pair does not depend on the other conditions or on the number of pairs.
"""

import argparse
import zlib
from collections.abc import Iterator

import numpy as np
import soundfile
from datasets.exceptions import DatasetsError

from training.corpora.shards import flac
from training.mixtures.sources import AudioSource
from training.pairs.call_conditions import CONDITIONS, turns
from training.pairs.making import Talkers, joined, pair_features, recorded_noise
from training.pairs.scripts import SAMPLING_RATE, add_arguments, check_output, open_noise, open_speech, write_set

SNR_DB = (0.0, 5.0, 10.0, 15.0)
SECONDS = (4.0, 8.0)


def call(condition: str, index: int, talkers: Talkers, noise: AudioSource, seed: int) -> dict:
    """Row `index` of a condition. It depends on the arguments and the recordings alone."""
    rng = np.random.default_rng((seed, zlib.crc32(condition.encode()), index))
    num_samples = round(rng.uniform(*SECONDS) * SAMPLING_RATE)
    speakers = [str(name) for name in rng.permutation(talkers.names)[: 2 if condition == "two-talkers" else 1]]
    clean = talkers.passage(speakers[0], num_samples, rng)
    if condition == "two-talkers":
        clean = turns(clean, talkers.passage(speakers[1], num_samples, rng), rng, SAMPLING_RATE)
    background, label, licence = recorded_noise(noise, num_samples, rng)
    if condition == "typing":
        label, licence = "keyboard (computed)", None
    snr_db = SNR_DB[index % len(SNR_DB)]
    reference, noisy = CONDITIONS[condition](clean, background, snr_db, rng, SAMPLING_RATE)
    name = f"{condition}_{index:03d}"
    return {
        "id": name,
        "clean": flac(reference, SAMPLING_RATE, f"{name}_clean"),
        "noisy": flac(noisy, SAMPLING_RATE, f"{name}_noisy"),
        "condition": condition,
        "snr_db": snr_db,
        "noise": label,
        "speaker_id": "+".join(speakers),
        "duration": num_samples / SAMPLING_RATE,
        "licence": joined(*map(talkers.licence, speakers), licence),
    }


def calls(conditions: list[str], number: int, talkers: Talkers, noise: AudioSource, seed: int) -> Iterator[dict]:
    """`number` rows of each condition.

    Raises:
        ValueError: if two talkers are needed and there is one.
    """
    if "two-talkers" in conditions and len(talkers.names) < 2:
        raise ValueError(f"{talkers.source.config.path}: two-talkers needs two talkers, found {len(talkers.names)}")
    for condition in conditions:
        for index in range(number):
            yield call(condition, index, talkers, noise, seed)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--number", type=int, default=8, help="pairs of each condition (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.number < 1:
        parser.error(f"--number must be at least 1, got {options.number}")
    check_output(parser, options)
    try:
        rows = calls(options.conditions, options.number, open_speech(options), open_noise(options), options.seed)
        count = write_set(options, rows, pair_features(SAMPLING_RATE, "condition"))
    except (ValueError, OSError, DatasetsError, soundfile.SoundFileError) as error:
        parser.error(" ".join(str(error).split()))
    print(f"{options.output}: {count} pairs, {options.number} of each of {', '.join(options.conditions)}")


if __name__ == "__main__":
    main()
