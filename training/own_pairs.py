"""The pairs that a run is scored on: those that its config names, or pairs of its own data that it keeps apart."""

import sys
from dataclasses import replace
from pathlib import Path

from speech_enhance.audio.parquet import write_parquet

from .config import TrainingConfig
from .mixtures.sources import AudioSource, SourceConfig
from .pairs.making import PairsConfig, Talkers, pair_features, pair_rows
from .validation import Pair, load_pairs


def scored_pairs(config: TrainingConfig, sampling_rate: int) -> list[Pair]:
    """The validation pairs of a run, at `sampling_rate`. There are none if its config asks for none, or if nothing
    could be kept apart."""
    path = config.pairs_path
    if path is None or (config.own_pairs and not Path(path).exists()):
        return []
    return load_pairs(path, config.validation_limit, sampling_rate, config.validation_split)


def make_own_pairs(config: TrainingConfig, sampling_rate: int) -> None:
    """Mix `config.own_pairs` pairs into `config.pairs_path`, unless an earlier part of the run has done so.

    The pairs are made of the recordings that the first source of speech and the first source of noise keep apart. If a
    source has only one recording, no pairs are made, and a line on stderr says so.

    Raises:
        ValueError: if a recording cannot be read, or all are silent.
    """
    path = config.pairs_path
    if not config.own_pairs or path is None or Path(path).exists():
        return
    speech, noise = (_kept_apart(sources) for sources in (config.speech, config.noise))
    for source in (speech, noise):
        everything = AudioSource(replace(source, valid_share=0.0, side="train"), sampling_rate, cache=False)
        if len(everything) < 2:
            print(
                f"{source.path} has one recording, which trains: no pairs are kept apart, so the result will "
                "not be scored",
                file=sys.stderr,
            )
            return
    rows = pair_rows(
        Talkers(speech, sampling_rate),
        AudioSource(noise, sampling_rate, cache=False),
        PairsConfig(number=config.own_pairs, babble=0),
        config.seed,
        "own",
    )
    write_parquet(Path(path), rows, pair_features(sampling_rate))


def _kept_apart(sources: list[SourceConfig]) -> SourceConfig:
    return replace(next(source for source in sources if source.valid_share > 0), side="valid")
