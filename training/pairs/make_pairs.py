"""Validation sets beside `pairs-valid`, mixed from the same recordings of speech and noise, none of which trains.

    python -m training.pairs.make_pairs second --output runs/pairs-second.parquet
    python -m training.pairs.make_pairs talkers --output runs/pairs-talkers.parquet
    python -m training.pairs.make_pairs three --output runs/pairs-three.parquet
    python -m training.pairs.make_pairs rooms --output runs/pairs-rooms.parquet
    python -m training.pairs.make_pairs words --output runs/pairs-words.parquet

second: 100 pairs like those of `pairs-valid`, with the same columns, ratios and share of babble, but other utterances
and other recordings of noise. Correlation finds the recordings that `--exclude` holds, since names and ids differ
between sets. The sets still share the talkers, the kinds of noise, and the voices of babble: an utterance that
`pairs-valid` has only as one of several voices of a babble may occur.
talkers: 40 pairs of two talkers who overlap, every second one with noise (see `talkers.py`).
three: 40 pairs like those of `talkers`, but a third talker speaks where both do.
rooms: 60 pairs in simulated rooms of 0.2 to 1.2 s (see `rooms.py`).
words: every clean utterance whole, in a recorded noise, at each of the ratios of `pairs-valid` (see `words.py`).

Each writes one Parquet file; the same sources and seed give the same bytes, and a pair does not depend on how many are
made.
"""

import argparse
import sys
from collections.abc import Iterator

import soundfile
from datasets import Features
from datasets.exceptions import DatasetsError

from training.pairs.making import PairsConfig, pair_features, pair_rows
from training.pairs.recurrence import recurring_rows
from training.pairs.rooms import room_rows
from training.pairs.scripts import SAMPLING_RATE, add_arguments, check_output, open_noise, open_speech, write_set
from training.pairs.talkers import talker_rows
from training.pairs.words import word_rows
from training.validation import load_pairs

NUMBERS = {"second": 100, "talkers": 40, "three": 40, "rooms": 60, "words": None}
SEEDS = {
    "second": 1,
    "talkers": 0,
    "three": 0,
    "rooms": 0,
    "words": 0,
}  # `pairs-valid` has 0, whose draws `second` must not repeat
BABBLE_SHARE = 1 / 6
COMPARED_RATE = 4000  # rate at which recordings are compared, for speed


def second(options: argparse.Namespace) -> tuple[Iterator[dict], Features]:
    """Rows and columns of the set `second`.

    Raises:
        ValueError: if `--exclude` leaves no speech or no noise.
    """
    excluded = load_pairs(options.exclude, sampling_rate=COMPARED_RATE)
    speech, noise = open_speech(options, COMPARED_RATE).source, open_noise(options, COMPARED_RATE)
    heard = recurring_rows(speech, (pair.clean for pair in excluded))
    noises = recurring_rows(noise, (pair.noisy - pair.clean for pair in excluded))
    print(f"excluded: {len(heard)} of {len(speech)} utterances, {len(noises)} of {len(noise)} noises", file=sys.stderr)
    if len(heard) == len(speech) or len(noises) == len(noise):
        raise ValueError(f"{options.exclude} leaves no {'speech' if len(heard) == len(speech) else 'noise'}")
    config = PairsConfig(number=options.number, babble=round(BABBLE_SHARE * options.number))
    talkers = open_speech(options, without=heard)
    rows = pair_rows(talkers, open_noise(options), config, options.seed, "second", noises)
    return rows, pair_features(SAMPLING_RATE)


def talkers(options: argparse.Namespace) -> tuple[Iterator[dict], Features]:
    """Rows and columns of the set `talkers`."""
    return _overlapping(options, at_once=2)


def three(options: argparse.Namespace) -> tuple[Iterator[dict], Features]:
    """Rows and columns of the set `three`."""
    return _overlapping(options, at_once=3)


def _overlapping(options: argparse.Namespace, at_once: int) -> tuple[Iterator[dict], Features]:
    numbers = ("talker_ratio_db", "overlap_start", "overlap_end")
    audio = tuple(f"talker_{one}" for one in range(1, at_once + 1))
    features = pair_features(SAMPLING_RATE, audio=audio, numbers=numbers)
    return talker_rows(open_speech(options), open_noise(options), options.number, options.seed, at_once), features


def rooms(options: argparse.Namespace) -> tuple[Iterator[dict], Features]:
    """Rows and columns of the set `rooms`."""
    features = pair_features(SAMPLING_RATE, audio=("reverberant",), numbers=("reverberation_time", "distance"))
    return room_rows(open_speech(options), open_noise(options), options.number, options.seed), features


def words(options: argparse.Namespace) -> tuple[Iterator[dict], Features]:
    """Rows and columns of the set `words`."""
    return word_rows(open_speech(options), open_noise(options), options.number, options.seed), pair_features(
        SAMPLING_RATE, "utterance"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=NUMBERS)
    add_arguments(parser)
    parser.add_argument(
        "--number",
        type=int,
        help="pairs (default: 100 of second, 40 of talkers and of three, 60 of rooms, of words all that there are)",
    )
    parser.add_argument("--seed", type=int, help="of all draws (default: 1 for second, else 0)")
    parser.add_argument(
        "--exclude",
        default="data/pairs-valid-*.parquet",
        help="pairs whose recordings second must not hold (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    options.number = NUMBERS[options.set] if options.number is None else options.number
    options.seed = SEEDS[options.set] if options.seed is None else options.seed
    if (options.number is not None and options.number < 1) or options.seed < 0:
        parser.error(f"--number must be at least 1 and --seed at least 0, got {options.number} and {options.seed}")
    check_output(parser, options)
    try:
        rows, features = {"second": second, "talkers": talkers, "three": three, "rooms": rooms, "words": words}[
            options.set
        ](options)
        count = write_set(options, rows, features)
    except (ValueError, OSError, DatasetsError, soundfile.SoundFileError) as error:
        parser.error(" ".join(str(error).split()))
    print(f"{options.output}: {count} pairs")


if __name__ == "__main__":
    main()
