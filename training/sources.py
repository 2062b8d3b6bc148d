"""Audio out of Hugging Face datasets: Parquet files, an audio folder, or a dataset on the Hub by name."""

import glob
import io
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from datasets import Audio, Dataset, load_dataset


@dataclass(frozen=True)
class SourceConfig:
    """Where recordings come from and how often each is drawn.

    Args:
        path: Parquet file or pattern, a folder of audio files, or the name of a dataset on the Hub.
        name: Configuration of a Hub dataset.
        split: Split to load.
        column: Audio column (of a source of pairs: not used, they are `clean` and `noisy`).
        balance_by: Column whose values (corpus, talker) are drawn by hours to the power of `balance_power`, so that
            no single one dominates. Without it every row is equally likely.
        minimum: Lower bounds by column; rows below, or without a value there, are left out.
        weight: How often this source is drawn, relative to the others of its list.
        streaming: Read a corpus too large to download as it goes by: draws come from `buffer_size` rows that move on
            by `refresh` rows with every training example.
        buffer_size, refresh: See `streaming`.
    """

    path: str
    name: str | None = None
    split: str = "train"
    column: str = "audio"
    balance_by: str | None = None
    balance_power: float = 0.5
    minimum: dict[str, float] | None = None
    weight: float = 1.0
    streaming: bool = False
    buffer_size: int = 500
    refresh: float = 0.1

    def __post_init__(self):
        if self.streaming and self.balance_by:
            raise ValueError(f"{self.path}: `balance_by` needs the whole dataset, `streaming` sees a part of it")
        if not self.weight > 0 or self.buffer_size < 1 or not self.refresh >= 0:
            raise ValueError(f"{self.path}: `weight` and `buffer_size` must be above 0, `refresh` at least 0")


class AudioSource:
    """Random access to decoded mono recordings at one sampling rate, drawn by weight.

    A recording is float32 in [-1, 1], `(samples,)`, or `(len(columns), samples)` if there are several columns.
    Recordings are decoded on first use and kept as 16-bit integers when `cache` is on (115 MB an hour at 16 kHz).
    """

    def __init__(
        self, config: SourceConfig, sampling_rate: int, columns: tuple[str, ...] | None = None, cache: bool = True
    ):
        self.config, self.sampling_rate = config, sampling_rate
        self.columns = columns or (config.column,)
        self._decoded: dict[int, np.ndarray] | None = {} if cache else None
        dataset = load_audio_dataset(config.path, config.split, list(self.columns), config.name)
        for column, bound in (config.minimum or {}).items():
            values = np.asarray(dataset.with_format("numpy")[_known(column, dataset, config.path)], dtype=float)
            dataset = dataset.select(np.flatnonzero(values >= bound))
        if len(dataset) == 0:
            raise ValueError(f"{config.path}: no recordings left (minimum: {config.minimum})")
        self.info = dataset.remove_columns(list(self.columns))  # the other columns, row by row
        self._audio = dataset.select_columns(list(self.columns))
        self._cumulative = np.cumsum(_row_weights(dataset, config))

    def __len__(self) -> int:
        return len(self._audio)

    def __getitem__(self, index: int) -> np.ndarray:
        """Recording `index`."""
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index].astype(np.float32) / 32768
        audio = decode_row(self._audio[index], self.columns, self.sampling_rate, f"{self.config.path}, row {index}")
        if self._decoded is not None:
            self._decoded[index] = np.round(audio.clip(-1, 32767 / 32768) * 32768).astype(np.int16)
        return audio

    def seek(self, index: int) -> None:
        """All recordings are at hand for every training example."""

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A recording at random, by the weights of the configuration."""
        index = np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right")
        return self[int(min(index, len(self) - 1))]


class StreamingSource:
    """Recordings of a dataset that is read as it goes by, e.g. from the Hub, and never held whole.

    Training example `i` draws from the rows `i · refresh` to `i · refresh + buffer_size` of the dataset repeated
    endlessly. So what it draws does not depend on the process or worker, nor on what was drawn before; a resumed run
    reads up to where it was.
    """

    def __init__(self, config: SourceConfig, sampling_rate: int, columns: tuple[str, ...] | None = None):
        self.config, self.sampling_rate = config, sampling_rate
        self.columns = columns or (config.column,)
        self._dataset = load_audio_dataset(config.path, config.split, list(self.columns), config.name, streaming=True)
        self._rows = None  # opened on first use: a file opened before workers fork would be shared by them

    def seek(self, index: int) -> None:
        """Move the buffer to where training example `index` draws from."""
        first = int(index * self.config.refresh)
        if self._rows is None or first < self._end - self.config.buffer_size:
            self._rows, self._end = self._endless_rows(), 0
            self._buffer = deque(maxlen=self.config.buffer_size)
        while self._end < first + self.config.buffer_size:
            self._buffer.append(next(self._rows))
            self._end += 1

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A recording at random out of the buffer."""
        row = self._buffer[int(rng.integers(len(self._buffer)))]
        return decode_row(row, self.columns, self.sampling_rate, self.config.path)

    def _endless_rows(self):
        minimum = self.config.minimum or {}
        for column in minimum:
            _known(column, self._dataset, self.config.path)
        while True:
            empty = True
            # plain iteration would deal the rows out to the workers of a DataLoader
            for batch in self._dataset.iter(batch_size=1):
                row = {column: values[0] for column, values in batch.items()}
                if all(row[column] is not None and row[column] >= bound for column, bound in minimum.items()):
                    empty = False
                    yield {column: row[column] for column in self.columns}
            if empty:
                raise ValueError(f"{self.config.path}: no recordings left (minimum: {minimum})")


class SourceMix:
    """Several sources as one: `draw` picks a source by its weight, then a recording."""

    def __init__(self, configs: list[SourceConfig], sampling_rate: int, columns: tuple[str, ...] | None = None):
        if not configs:
            raise ValueError("at least one source of recordings is needed")
        self.sampling_rate = sampling_rate
        self.sources = [
            (StreamingSource if config.streaming else AudioSource)(config, sampling_rate, columns) for config in configs
        ]
        weights = np.asarray([config.weight for config in configs], dtype=float)
        self._probabilities = weights / weights.sum()

    def seek(self, index: int) -> None:
        """Tell streaming sources which training example draws next."""
        for source in self.sources:
            source.seek(index)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A recording at random."""
        return self.sources[rng.choice(len(self.sources), p=self._probabilities)].draw(rng)


def load_audio_dataset(path: str, split: str, columns: list[str], name: str | None = None, streaming: bool = False):
    """Load a dataset from Parquet files, a folder or the Hub, with `columns` left undecoded.

    Returns:
        A `datasets.Dataset`, or with `streaming` an `IterableDataset` (a folder is opened file by file either way).

    Raises:
        FileNotFoundError: if a Parquet pattern matches nothing.
        ValueError: if the dataset lacks one of the columns.
    """
    if path.endswith(".parquet"):
        files = sorted(glob.glob(path))
        if not files:
            raise FileNotFoundError(f"no file matches {path!r}")
        dataset = load_dataset("parquet", data_files=files, split="train", streaming=streaming)
    elif Path(path).is_dir():
        dataset = _load_folder(Path(path), split)
        dataset = dataset.to_iterable_dataset() if streaming else dataset
    else:
        dataset = load_dataset(path, name, split=split, streaming=streaming)
    for column in columns:
        _known(column, dataset, path)
    for column, feature in dataset.features.items():
        if isinstance(feature, Audio) or column in columns:
            dataset = dataset.cast_column(column, Audio(decode=False))
    return dataset


def _known(column: str, dataset, path: str) -> str:
    """`column`, if the dataset has it."""
    if column not in dataset.column_names:
        raise ValueError(f"{path}: no column {column}; it has {', '.join(dataset.column_names)}")
    return column


def _load_folder(folder: Path, split: str) -> Dataset:
    """A folder in the layout of Datasets' `audiofolder`, whose own loader decodes with torchcodec only.

    Files below `folder` (or below its subfolder `split`, where there is one): those that `metadata.jsonl` or
    `metadata.csv` names in its columns `file_name` (→ `audio`) and `*_file_name` (→ `*`); else, where there are
    subfolders `clean` and `noisy`, the pairs of files of the same name in them; else all that libsndfile reads by
    extension, in order of name.
    """
    folder = folder / split if (folder / split).is_dir() else folder
    for name in ("metadata.jsonl", "metadata.csv"):
        if (folder / name).is_file():
            return _load_metadata(folder / name)
    if (folder / "clean").is_dir() and (folder / "noisy").is_dir():
        return _load_paired_folders(folder / "clean", folder / "noisy")
    files = _audio_files(folder)
    return Dataset.from_dict({"audio": _undecoded(files)})


def _load_paired_folders(clean: Path, noisy: Path) -> Dataset:
    names = [file.relative_to(noisy) for file in _audio_files(noisy)]
    if missing := [name for name in names if not (clean / name).is_file()]:
        raise FileNotFoundError(f"{clean}: lacks {len(missing)} of the files in {noisy}, e.g. {missing[0]}")
    ids = [str(name.with_suffix("")).replace("/", "_") for name in names]
    columns = {column.name: _undecoded([column / name for name in names]) for column in (clean, noisy)}
    return Dataset.from_dict({"id": ids, **columns})


def _audio_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in audio_extensions())
    if not files:
        raise FileNotFoundError(f"{folder}: no audio files in this folder")
    return files


def _undecoded(files: list[Path]) -> list[dict]:
    return [{"bytes": None, "path": str(file)} for file in files]


def audio_extensions() -> set[str]:
    """Extensions, with their dot and in lower case, of what libsndfile reads."""
    return {f".{name.lower()}" for name in soundfile.available_formats()} | {".opus", ".aif"}


def _load_metadata(metadata: Path) -> Dataset:
    dataset = Dataset.from_json(str(metadata)) if metadata.suffix == ".jsonl" else Dataset.from_csv(str(metadata))
    for name in dataset.column_names:
        if name == "file_name" or name.endswith("_file_name"):
            files = [metadata.parent / file for file in dataset[name]]
            missing = [file for file in files if not file.is_file()]
            if missing:
                raise FileNotFoundError(f"{metadata}: names {len(missing)} files that do not exist, e.g. {missing[0]}")
            target = "audio" if name == "file_name" else name.removesuffix("_file_name")
            dataset = dataset.remove_columns(name).add_column(target, _undecoded(files))
    return dataset


def decode(entry: dict, sampling_rate: int) -> np.ndarray:
    """Undecoded audio (`{"bytes": …, "path": …}`) to float32 mono samples at `sampling_rate`."""
    source = io.BytesIO(entry["bytes"]) if entry.get("bytes") else entry["path"]
    audio, original_rate = soundfile.read(source, dtype="float32", always_2d=True)
    audio = audio.mean(axis=1)
    if original_rate != sampling_rate:
        audio = soxr.resample(audio, original_rate, sampling_rate)
    return audio


def decode_row(row: dict, columns: tuple[str, ...], sampling_rate: int, where: str) -> np.ndarray:
    """The recordings in `columns` of a row: `(samples,)`, or `(len(columns), samples)` if there are several.

    Raises:
        ValueError: if several differ in length, or one is empty or not finite.
    """
    recordings = [decode(row[column], sampling_rate) for column in columns]
    lengths = [len(audio) for audio in recordings]
    if len(set(lengths)) > 1:
        raise ValueError(f"{where}: {' and '.join(columns)} differ in length: {lengths} samples")
    if lengths[0] == 0 or not all(np.isfinite(audio).all() for audio in recordings):
        raise ValueError(f"{where}: the recording is empty or holds values that are not finite")
    return recordings[0] if len(columns) == 1 else np.stack(recordings)


def _row_weights(dataset: Dataset, config: SourceConfig) -> np.ndarray:
    if config.balance_by is None:
        return np.ones(len(dataset))
    groups = np.asarray(dataset[config.balance_by])
    hours = np.asarray(dataset["duration"], float) if "duration" in dataset.column_names else np.ones(len(dataset))
    weights = np.zeros(len(dataset))
    for group in np.unique(groups):
        members = groups == group
        weights[members] = hours[members].sum() ** config.balance_power * hours[members] / hours[members].sum()
    return weights
