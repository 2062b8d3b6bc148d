"""Audio out of Hugging Face datasets: Parquet files, an audio folder, or a dataset on the Hub by name."""

import glob
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from datasets import Audio, Dataset, IterableDataset, load_dataset


@dataclass(frozen=True)
class SourceConfig:
    """Where recordings come from and how often each is drawn.

    Args:
        path: Parquet file or pattern, a folder of audio files, or the name of a dataset on the Hub.
        name: Configuration of a Hub dataset.
        split: Split to load.
        column: Audio column.
        balance_by: Column whose values (corpus, talker) are drawn by hours to the power of `balance_power`, so that
            no single one dominates. Without it every row is equally likely.
        minimum: Lower bounds by column; rows below are left out.
        weight: How often this source is drawn, relative to the others of its list.
    """

    path: str
    name: str | None = None
    split: str = "train"
    column: str = "audio"
    balance_by: str | None = None
    balance_power: float = 0.5
    minimum: dict[str, float] | None = None
    weight: float = 1.0


class AudioSource:
    """Random access to decoded mono recordings at one sampling rate, drawn by weight.

    Recordings are decoded on first use and kept as 16-bit integers when `cache` is on (115 MB an hour at 16 kHz).
    """

    def __init__(self, config: SourceConfig, sampling_rate: int, cache: bool = True):
        self.config = config
        self.sampling_rate = sampling_rate
        self._decoded: dict[int, np.ndarray] | None = {} if cache else None
        dataset = load_audio_dataset(config.path, config.split, [config.column], config.name)
        for column, bound in (config.minimum or {}).items():
            values = np.asarray(dataset.with_format("numpy")[column], dtype=float)
            dataset = dataset.select(np.flatnonzero(values >= bound))
        if len(dataset) == 0:
            raise ValueError(f"{config.path}: no recordings left (minimum: {config.minimum})")
        self.info = dataset.remove_columns([config.column])  # the other columns, row by row
        self._audio = dataset.select_columns([config.column])
        self._cumulative = np.cumsum(_row_weights(dataset, config))

    def __len__(self) -> int:
        return len(self._audio)

    def __getitem__(self, index: int) -> np.ndarray:
        """Recording `index` as float32 mono samples in [-1, 1]."""
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index].astype(np.float32) / 32768
        audio = decode(self._audio[index][self.config.column], self.sampling_rate)
        if self._decoded is not None:
            self._decoded[index] = np.round(audio.clip(-1, 32767 / 32768) * 32768).astype(np.int16)
        return audio

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A recording at random, by the weights of the configuration."""
        index = np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right")
        return self[int(min(index, len(self) - 1))]


class SourceMix:
    """Several sources as one: `draw` picks a source by its weight, then a recording."""

    def __init__(self, configs: list[SourceConfig], sampling_rate: int):
        if not configs:
            raise ValueError("at least one source of recordings is needed")
        self.sampling_rate = sampling_rate
        self.sources = [AudioSource(config, sampling_rate) for config in configs]
        weights = np.asarray([config.weight for config in configs], dtype=float)
        self._probabilities = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A recording at random, float32 mono."""
        return self.sources[rng.choice(len(self.sources), p=self._probabilities)].draw(rng)


def load_audio_dataset(
    path: str, split: str, columns: list[str], name: str | None = None, streaming: bool = False
) -> Dataset | IterableDataset:
    """Load a dataset from Parquet files, a folder or the Hub, with `columns` left undecoded.

    With `streaming` Parquet files and the Hub are read row by row, so that only what is used is downloaded.

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
    else:
        dataset = load_dataset(path, name, split=split, streaming=streaming)
    missing = sorted(set(columns) - set(dataset.column_names))
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(dataset.column_names)}")
    for column, feature in dataset.features.items():
        if isinstance(feature, Audio) or column in columns:
            dataset = dataset.cast_column(column, Audio(decode=False))
    return dataset


def _load_folder(folder: Path, split: str) -> Dataset:
    """A folder in the layout of Datasets' `audiofolder`, whose own loader decodes with torchcodec only.

    Files below `folder` (or below its subfolder `split`, where there is one): those that `metadata.jsonl` or
    `metadata.csv` names in its columns `file_name` (→ `audio`) and `*_file_name` (→ `*`), else all that libsndfile
    reads by extension, in order of name.
    """
    folder = folder / split if (folder / split).is_dir() else folder
    for name in ("metadata.jsonl", "metadata.csv"):
        if (folder / name).is_file():
            return _load_metadata(folder / name)
    extensions = {f".{name.lower()}" for name in soundfile.available_formats()} | {".opus", ".aif"}
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in extensions)
    if not files:
        raise FileNotFoundError(f"{folder}: no audio files in this folder")
    return Dataset.from_dict({"audio": [{"bytes": None, "path": str(file)} for file in files]})


def _load_metadata(metadata: Path) -> Dataset:
    dataset = Dataset.from_json(str(metadata)) if metadata.suffix == ".jsonl" else Dataset.from_csv(str(metadata))
    for name in dataset.column_names:
        if name == "file_name" or name.endswith("_file_name"):
            files = [metadata.parent / file for file in dataset[name]]
            missing = [file for file in files if not file.is_file()]
            if missing:
                raise FileNotFoundError(f"{metadata}: names {len(missing)} files that do not exist, e.g. {missing[0]}")
            column = [{"bytes": None, "path": str(file)} for file in files]
            target = "audio" if name == "file_name" else name.removesuffix("_file_name")
            dataset = dataset.remove_columns(name).add_column(target, column)
    return dataset


def decode(entry: dict, sampling_rate: int) -> np.ndarray:
    """Undecoded audio (`{"bytes": …, "path": …}`) to float32 mono samples at `sampling_rate`."""
    source = io.BytesIO(entry["bytes"]) if entry.get("bytes") else entry["path"]
    audio, original_rate = soundfile.read(source, dtype="float32", always_2d=True)
    audio = audio.mean(axis=1)
    if original_rate != sampling_rate:
        audio = soxr.resample(audio, original_rate, sampling_rate)
    return audio


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
