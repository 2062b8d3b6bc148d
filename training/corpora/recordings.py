"""Recordings of public corpora, one by one: which rows are taken, which side they belong to, what they become."""

import contextlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from datasets import Dataset

from speech_enhance.audio.datasets import known_column, load_audio_dataset

from ..bounds import POSITIVE, check_numbers
from ..mixtures.loading import decode
from .sides import name_hash, valid_units

_RATE = 16000


@dataclass(frozen=True)
class CorpusConfig:
    """A corpus and what is taken of it.

    Args:
        corpus: Name in the column `corpus` of the output; entries may share one.
        kind: Kind of sound, `speech` or `noise`.
        path: Parquet file or pattern, a folder of audio files, or the name of a dataset on the Hub.
        licence: Licence of every row, in place of `licence_column`.
        licence_column: Column that holds the licence.
        name: Configuration of a Hub dataset.
        split: Split to load.
        column: Audio column.
        id_column: Column that names the recording; without it its path does.
        speaker_column: Column with the talker, in place of `speaker_pattern`.
        speaker_pattern: Regular expression whose first group, found in the recording's name, is the talker.
        group_column: Column whose equal values stay on one side, such as the recording that a clip of noise comes from.
        label_column: Column that says what a noise is; without it the recording's name does.
        where: Value, or list of values, that a column must have; other rows are left out.
        hours: Most hours to take, in an order that depends on the seed and each row's position only.
        hours_per_speaker: Most hours to take of one talker.
        valid_share: Share of the talkers for validation, or of the groups or recordings where no talker is known. It
            goes from 0 (none) to 1 (all); between the two, each side has one at least. With `stream`, the number of
            talkers is not known in advance, so this is the chance of each.
        gated: Whether the recordings' pauses were muted. They are then shortened and left out of `dynamic_range_db`.
        stream: Whether rows are read in the corpus' order until `hours` are reached. A large Hub dataset is then not
            downloaded whole.

    Raises:
        ValueError: for values that do not go together.
    """

    corpus: str
    kind: str
    path: str
    licence: str | None = None
    licence_column: str | None = None
    name: str | None = None
    split: str = "train"
    column: str = "audio"
    id_column: str | None = None
    speaker_column: str | None = None
    speaker_pattern: str | None = None
    group_column: str | None = None
    label_column: str | None = None
    where: dict[str, Any] = field(default_factory=dict)
    hours: float | None = None
    hours_per_speaker: float | None = None
    valid_share: float = 0.1
    gated: bool = False
    stream: bool = False

    def __post_init__(self):
        if self.kind not in ("speech", "noise"):
            raise ValueError(f"kind must be speech or noise, got {self.kind!r}")
        if (self.licence is None) == (self.licence_column is None):
            raise ValueError("give either licence or licence_column")
        if self.speaker_column and self.speaker_pattern:
            raise ValueError("give either speaker_column or speaker_pattern")
        check_numbers(self, hours=POSITIVE, hours_per_speaker=POSITIVE)
        if self.speaker_pattern and not re.compile(self.speaker_pattern).groups:
            raise ValueError(f"speaker_pattern needs a group in parentheses, got {self.speaker_pattern!r}")


@dataclass(frozen=True)
class Recording:
    """A recording as it came, mono at the output's rate.

    Args:
        audio: Samples, float32 `(samples,)`.
        name: Name in the corpus.
        speaker: Talker, `None` where unknown.
        unit: Name of what stays on one side: the talker, the group or the recording itself.
        label: Kind of a noise.
        licence: Licence of this recording.
        split: Side of the recording, `train` or `valid`.
    """

    audio: np.ndarray
    name: str
    speaker: str | None
    unit: str
    label: str
    licence: str
    split: str


def sides(corpora: list[CorpusConfig], seed: int, min_seconds: float) -> list[Callable[[str], bool]]:
    """For each of `corpora`, the function that says whether a talker, group or recording is for validation.
    Entries that share corpus, kind and share are split as one; recordings below `min_seconds` do not count."""
    units: dict[tuple, set[str]] = defaultdict(set)
    for corpus in corpora:
        if 0 < corpus.valid_share < 1 and not corpus.stream:
            units[_split_key(corpus)] |= {
                _identity(corpus, row, position)[2]
                for position, row in _rows(corpus, seed)
                if _seconds(row[corpus.column]) >= min_seconds
            }
    valid = {key: valid_units(found, key[2], f"{seed}/{key[1]}") for key, found in units.items()}
    return [
        valid[_split_key(corpus)].__contains__
        if _split_key(corpus) in valid and not corpus.stream
        else partial(_by_chance, corpus, seed)
        for corpus in corpora
    ]


def _seconds(audio: dict | None) -> float:
    """Seconds of a recording, by its header if libsndfile knows the format; 0 if it cannot be read."""
    audio = audio or {}
    try:
        info = soundfile.info(io.BytesIO(audio["bytes"]) if audio.get("bytes") else audio["path"])
        return info.frames / info.samplerate
    except (KeyError, TypeError, soundfile.SoundFileError):
        with contextlib.suppress(KeyError, TypeError, OSError, ValueError):
            return len(decode(audio, _RATE)) / _RATE
        return 0.0


def _split_key(corpus: CorpusConfig) -> tuple[str, str, float]:
    return corpus.kind, corpus.corpus, corpus.valid_share


def _by_chance(corpus: CorpusConfig, seed: int, unit: str) -> bool:
    return name_hash(str(seed), corpus.corpus, unit) < corpus.valid_share


def recordings(
    corpus: CorpusConfig, sampling_rate: int, seed: int, skipped: Counter, is_valid: Callable[[str], bool]
) -> Iterator[Recording]:
    """The recordings that are taken from a corpus. `skipped` counts those that cannot be read. `is_valid` is a function
    from [`sides`].

    Raises:
        FileNotFoundError: if a path leads nowhere.
        ValueError: if a column is missing or no row is left.
    """
    seconds, seconds_by_unit = 0.0, defaultdict(float)
    taken = False
    for position, row in _rows(corpus, seed):
        if corpus.hours is not None and seconds >= 3600 * corpus.hours:
            break
        name, speaker, unit = _identity(corpus, row, position)
        if corpus.hours_per_speaker is not None and seconds_by_unit[unit] >= 3600 * corpus.hours_per_speaker:
            continue
        try:
            audio = decode(row[corpus.column], sampling_rate)
        except (ValueError, OSError, TypeError):  # TypeError: neither bytes nor a path
            audio = np.full(1, np.nan)
        taken = True
        if not np.isfinite(audio).all():
            skipped["unreadable"] += 1
            continue
        seconds += len(audio) / sampling_rate
        seconds_by_unit[unit] += len(audio) / sampling_rate
        label = str(row[corpus.label_column]) if corpus.label_column else name
        licence = str(corpus.licence or row[corpus.licence_column])
        split = "valid" if is_valid(unit) else "train"
        yield Recording(audio, name, speaker, unit, label, licence, split)
    if not taken:
        raise ValueError(f"{corpus.path}: no rows (split: {corpus.split}, where: {corpus.where})")


def _rows(corpus: CorpusConfig, seed: int) -> Iterator[tuple[int, dict]]:
    """Rows that `where` allows, with their positions and the needed columns alone; shuffled unless streamed."""
    dataset = load_audio_dataset(corpus.path, corpus.split, [corpus.column], corpus.name, corpus.stream)
    named = (corpus.licence_column, corpus.id_column, corpus.speaker_column, corpus.group_column, corpus.label_column)
    columns = list(dict.fromkeys([corpus.column, *filter(None, named), *corpus.where]))
    for column in columns:
        known_column(column, dataset, corpus.path)
    dataset = dataset.select_columns(columns)
    if not isinstance(dataset, Dataset):
        yield from ((position, row) for position, row in enumerate(dataset) if _matches(row, corpus.where))
        return
    positions = range(len(dataset))
    for column, wanted in corpus.where.items():
        values = dataset[column][:]
        positions = [position for position in positions if _matches({column: values[position]}, {column: wanted})]
    for position in sorted(positions, key=lambda position: name_hash(str(seed), corpus.corpus, f"row {position}")):
        yield position, dataset[position]


def _matches(row: dict, where: dict) -> bool:
    return all(row[column] in (wanted if isinstance(wanted, list) else [wanted]) for column, wanted in where.items())


def _name(corpus: CorpusConfig, row: dict, position: int) -> str:
    """Name of a recording. It holds no place on a disk, so it is the same everywhere."""
    if corpus.id_column:
        return str(row[corpus.id_column])
    path = Path((row[corpus.column] or {}).get("path") or f"row-{position}")
    if path.is_absolute():
        folder = Path(corpus.path).absolute()
        path = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    elif path.is_relative_to(corpus.path):
        path = path.relative_to(corpus.path)
    return path.with_suffix("").as_posix()


def _identity(corpus: CorpusConfig, row: dict, position: int) -> tuple[str, str | None, str]:
    """`(name, speaker, unit)` of a row; the unit is what stays on one side."""
    name = _name(corpus, row, position)
    speaker = _speaker(corpus, row, name)
    return name, speaker, speaker or (str(row[corpus.group_column]) if corpus.group_column else name)


def _speaker(corpus: CorpusConfig, row: dict, name: str) -> str | None:
    if corpus.speaker_column:
        return str(row[corpus.speaker_column])
    if corpus.speaker_pattern and (match := re.search(corpus.speaker_pattern, name)):
        return match.group(1)
    return None
