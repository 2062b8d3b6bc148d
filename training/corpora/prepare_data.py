"""Make training and validation sets from public corpora that a YAML file names: Parquet shards and a table of licences.

    python -m training.corpora.prepare_data --config training/configs/data.yaml --output data

Writes `speech-train-*`, `speech-valid-*`, `noise-train-*`, `noise-valid-*`, `pairs-valid-*` (mixtures of the validation
recordings) and README.md. The same config, corpora and seed give the same bytes. A talker or recording is on one side
only.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Audio, Features, Value
from datasets.exceptions import DatasetsError

from training.bounds import POSITIVE, check_numbers
from training.config import read_config
from training.corpora.cleaning import dynamic_range_db, pieces, trim_gated_silence
from training.corpora.recordings import CorpusConfig, Recording, recordings, sides
from training.corpora.shards import ShardWriter, flac
from training.evaluation.reports import table
from training.mixtures.sources import AudioSource, SourceConfig
from training.pairs.making import PairsConfig, Talkers, pair_features, pair_rows

SAMPLING_RATE = 16000
NOISE_PEAK = 10 ** (-6 / 20)
PATTERNS = (
    "speech-train-*.parquet",
    "speech-valid-*.parquet",
    "noise-train-*.parquet",
    "noise-valid-*.parquet",
    "pairs-valid-*.parquet",
    "README.md",
)


@dataclass(frozen=True)
class DataConfig:
    """Description of what `prepare_data.py` writes.

    Args:
        corpora: Corpora that speech and noise come from.
        pairs: Validation pairs, `None` for none.
        min_seconds: Length below which recordings are left out.
        max_seconds: Length above which recordings are cut into equal pieces.
    """

    corpora: list[CorpusConfig]
    pairs: PairsConfig | None = None
    min_seconds: float = 0.5
    max_seconds: float = 30.0

    def __post_init__(self):
        check_numbers(self, min_seconds=POSITIVE, max_seconds=POSITIVE)
        if 2 * self.min_seconds > self.max_seconds:
            raise ValueError(
                f"max_seconds must be at least twice min_seconds ({self.min_seconds}), got {self.max_seconds}"
            )


def features(kind: str) -> Features:
    """Columns of a file of `speech` or `noise`."""
    text, number = Value("string"), Value("float64")
    middle = {"speaker_id": text} if kind == "speech" else {"label": text}
    last = {"duration": number, "dynamic_range_db": number} if kind == "speech" else {"duration": number}
    head = {"audio": Audio(sampling_rate=SAMPLING_RATE), "id": text, "corpus": text}
    return Features({**head, **middle, "split": text, "licence": text, **last})


def rows(corpus: CorpusConfig, recording: Recording, config: DataConfig, skipped: Counter) -> Iterator[dict]:
    """Rows of a recording, which is trimmed, cut, levelled and measured. `skipped` counts what is left out."""
    audio = trim_gated_silence(recording.audio, SAMPLING_RATE) if corpus.gated else recording.audio
    parts = pieces(audio, round(config.max_seconds * SAMPLING_RATE))
    for index, part in enumerate(parts):
        peak = np.abs(part).max(initial=0.0)
        if len(part) < config.min_seconds * SAMPLING_RATE:
            skipped["too short"] += 1
        elif peak < 1e-3:
            skipped["silent"] += 1
        else:
            name = f"{corpus.corpus}/{recording.name}" + (f"#{index}" if len(parts) > 1 else "")
            part = part * np.float32(NOISE_PEAK / peak if corpus.kind == "noise" else min(1.0, 1 / peak))
            row = {"audio": flac(part, SAMPLING_RATE, name), "id": name, "corpus": corpus.corpus}
            row |= {"split": recording.split, "licence": recording.licence, "duration": len(part) / SAMPLING_RATE}
            if corpus.kind == "speech":
                row["speaker_id"] = f"{corpus.corpus}-{recording.speaker or 'unknown'}"
                row["dynamic_range_db"] = round(dynamic_range_db(part, SAMPLING_RATE, corpus.gated), 1)
            else:
                row["label"] = recording.label
            yield row


def build(config: DataConfig, folder: Path, seed: int, max_bytes: int) -> str:
    """Write all shards into an empty `folder`; returns the text of README.md.

    Raises:
        ValueError: if a corpus gives nothing or has a talker on both sides.
    """
    writers = {
        (kind, split): ShardWriter(folder, f"{kind}-{split}", features(kind), max_bytes)
        for kind in ("speech", "noise")
        for split in ("train", "valid")
    }
    summary: dict[tuple, dict] = {}
    side_of_unit: dict[tuple, str] = {}
    skipped_by_corpus: dict[str, Counter] = {}
    for corpus, is_valid in zip(config.corpora, sides(config.corpora, seed, config.min_seconds), strict=True):
        print(f"… {corpus.corpus}: {corpus.path}", file=sys.stderr)
        skipped, written = skipped_by_corpus.setdefault(corpus.corpus, Counter()), 0
        for recording in recordings(corpus, SAMPLING_RATE, seed, skipped, is_valid):
            side = side_of_unit.setdefault((corpus.kind, corpus.corpus, recording.unit), recording.split)
            if side != recording.split:
                raise ValueError(
                    f"{corpus.path}: {recording.unit} of {corpus.corpus} would be in train and valid; entries that "
                    "share talkers or recordings need the same valid_share"
                )
            for row in rows(corpus, recording, config, skipped):
                writers[corpus.kind, recording.split].write(row)
                entry = summary.setdefault(
                    (corpus.kind, recording.split, corpus.corpus, recording.licence),
                    {"rows": 0, "seconds": 0.0, "speakers": set()},
                )
                entry["rows"], entry["seconds"] = entry["rows"] + 1, entry["seconds"] + row["duration"]
                entry["speakers"] |= {recording.speaker} - {None}
                written += 1
        if not written:
            raise ValueError(f"{corpus.path}: none of its recordings can be used ({dict(skipped)})")
    for writer in writers.values():
        writer.close()
    num_pairs = write_pairs(config.pairs, folder, seed, max_bytes) if config.pairs else 0
    return describe(summary, skipped_by_corpus, num_pairs, seed)


def write_pairs(config: PairsConfig, folder: Path, seed: int, max_bytes: int) -> int:
    """Mix the shards of validation speech and noise in `folder` into `pairs-valid-*`; returns the number of pairs."""
    for kind in ("speech", "noise"):
        if not list(folder.glob(f"{kind}-valid-*.parquet")):
            raise ValueError(
                f"pairs: no {kind} went to validation; set valid_share of a corpus of {kind} that has two recordings "
                "(or talkers) or more, or leave out `pairs`"
            )
    clean_enough = {"dynamic_range_db": config.minimum_dynamic_range_db}
    talkers = Talkers(SourceConfig(str(folder / "speech-valid-*.parquet"), minimum=clean_enough), SAMPLING_RATE)
    noise = AudioSource(SourceConfig(str(folder / "noise-valid-*.parquet")), SAMPLING_RATE, cache=False)
    writer = ShardWriter(folder, "pairs-valid", pair_features(SAMPLING_RATE), max_bytes)
    for row in pair_rows(talkers, noise, config, seed):
        writer.write(row)
    writer.close()
    return config.number


def describe(summary: dict, skipped: dict[str, Counter], num_pairs: int, seed: int) -> str:
    """Text of README.md: a table of the recordings and their licences, and a list of what was left out."""
    lines = [
        "# Speech and noise for training and validation",
        "",
        f"Made by `training/corpora/prepare_data.py` with seed {seed}: {SAMPLING_RATE} Hz mono, FLAC in Parquet.",
        "",
    ]
    cells = []
    for key, entry in sorted(summary.items(), key=lambda item: (item[0][0] != "speech", item[0])):
        talkers = len(entry["speakers"]) or "–"
        cells.append([*key, entry["rows"], f"{entry['seconds'] / 3600:.2f}", talkers])
    lines += table(["kind", "split", "corpus", "licence", "rows", "hours", "talkers"], cells)
    lines += ["", f"`pairs-valid`: {num_pairs} mixtures of the valid speech and noise, under the licences of both."]
    left_out = [f"{corpus}: {count} {reason}" for corpus, counts in skipped.items() for reason, count in counts.items()]
    return "\n".join([*lines, "", f"Left out: {'; '.join(left_out) or 'nothing'}.", ""])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file with corpora and pairs")
    parser.add_argument("--output", required=True, type=Path, help="folder for the shards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-mb", type=float, default=256.0, help="sound per file (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier run wrote")
    options = parser.parse_args(arguments)
    if options.shard_mb <= 0:
        parser.error(f"--shard-mb must be above 0, got {options.shard_mb}")
    try:
        config = read_config(DataConfig, options.config)
        options.output.mkdir(parents=True, exist_ok=True)
        old = sorted(file for pattern in PATTERNS for file in options.output.glob(pattern))
        if old and not options.overwrite:
            raise ValueError(f"{options.output} holds {old[0].name} already; replace it with --overwrite")
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=options.output) as folder:
            text = build(config, Path(folder), options.seed, round(options.shard_mb * 2**20))
            (Path(folder) / "README.md").write_text(text, encoding="utf-8")
            for file in old:
                file.unlink()
            for file in sorted(Path(folder).iterdir()):
                os.replace(file, options.output / file.name)
    except (ValueError, OSError, DatasetsError) as error:
        parser.error(" ".join(str(error).split()))
    print(text)


if __name__ == "__main__":
    main()
