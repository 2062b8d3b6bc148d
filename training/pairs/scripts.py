"""What the scripts that make sets of pairs have in common: their options, sources and output."""

import argparse
from collections.abc import Collection, Iterable
from pathlib import Path

from datasets import Features

from speech_enhance.audio.parquet import write_parquet

from ..mixtures.sources import AudioSource, SourceConfig
from .making import Talkers

SAMPLING_RATE = 16000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of sources and output."""
    parser.add_argument("--output", required=True, type=Path, help="Parquet file")
    parser.add_argument("--speech", default="data/speech-valid-*.parquet", help="clean speech (default: %(default)s)")
    parser.add_argument("--noise", default="data/noise-valid-*.parquet", help="noise (default: %(default)s)")
    for kind in ("speech", "noise"):
        parser.add_argument(f"--{kind}-name", help="configuration of a dataset on the Hub")
        parser.add_argument(f"--{kind}-split", default="train", help="split to load (default: %(default)s)")
        parser.add_argument(f"--{kind}-column", default="audio", help="audio column (default: %(default)s)")
    parser.add_argument(
        "--minimum-dynamic-range",
        type=float,
        default=25.0,
        metavar="DB",
        help="leave out speech whose column dynamic_range_db is lower (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def check_output(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the script if `--output` is no new Parquet file."""
    if options.output.suffix != ".parquet":
        parser.error(f"--output must end in .parquet, got {options.output}")
    if options.output.exists() and not options.overwrite:
        parser.error(f"{options.output} exists already; replace it with --overwrite")


def open_speech(
    options: argparse.Namespace, sampling_rate: int = SAMPLING_RATE, without: Collection[int] = ()
) -> Talkers:
    """Talkers of the source that the options name. Speech is left out if the column `dynamic_range_db` says that it is
    not quite clean. Of the remaining rows, those in `without` are left out too."""
    source = options.speech, options.speech_name, options.speech_split, options.speech_column
    talkers = Talkers(SourceConfig(*source), sampling_rate, without)
    if "dynamic_range_db" in talkers.source.info.column_names:
        minimum = {"dynamic_range_db": options.minimum_dynamic_range}
        talkers = Talkers(SourceConfig(*source, minimum=minimum), sampling_rate, without)
    return talkers


def open_noise(options: argparse.Namespace, sampling_rate: int = SAMPLING_RATE) -> AudioSource:
    """Noise of the source that the options name."""
    config = SourceConfig(options.noise, options.noise_name, options.noise_split, options.noise_column)
    return AudioSource(config, sampling_rate, cache=False)


def write_set(options: argparse.Namespace, rows: Iterable[dict], features: Features) -> int:
    """Write all rows to `--output`, whose folder is made; returns their number."""
    options.output.parent.mkdir(parents=True, exist_ok=True)
    return write_parquet(options.output, rows, features)
