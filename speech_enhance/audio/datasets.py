"""Loads audio datasets by Parquet pattern, folder or name on the Hub, and leaves their sound undecoded. This needs
Hugging Face Datasets."""

import glob
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, overload

import pyarrow
import pyarrow.parquet
import soundfile
from datasets import Audio, Dataset, IterableDataset, concatenate_datasets, load_dataset

from .ffmpeg import CONTAINERS
from .writer import FORMATS

METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


@overload
def load_audio_dataset(
    path: str, split: str, columns: list[str], name: str | None = None, streaming: Literal[False] = False
) -> Dataset: ...


@overload
def load_audio_dataset(
    path: str, split: str, columns: list[str], name: str | None = None, *, streaming: Literal[True]
) -> IterableDataset: ...


@overload
def load_audio_dataset(
    path: str, split: str, columns: list[str], name: str | None = None, streaming: bool = False
) -> Dataset | IterableDataset: ...


def load_audio_dataset(
    path: str, split: str, columns: list[str], name: str | None = None, streaming: bool = False
) -> Dataset | IterableDataset:
    """Load a dataset from Parquet files, a folder or the Hub, with `columns` left undecoded.

    Returns:
        A `datasets.Dataset`, or an `IterableDataset` with `streaming`. In both, audio files are opened one by one.

    Raises:
        FileNotFoundError: if a Parquet pattern matches nothing, or a folder holds neither audio nor Parquet files.
        ValueError: if the dataset lacks one of the columns, or Parquet or metadata files hold no rows.
    """
    if Path(path).is_dir():
        dataset = _load_folder(Path(path), split, streaming)
    elif path.endswith(".parquet"):
        files = sorted(glob.glob(path))
        if not files:
            raise FileNotFoundError(f"no file matches {path!r}")
        dataset = _load_parquet(files, streaming)
    else:
        dataset = load_dataset(path, name, split=split, streaming=streaming)
    for column in columns:
        known_column(column, dataset, path)
    for column, feature in (dataset.features or {}).items():
        if isinstance(feature, Audio) or column in columns:
            dataset = dataset.cast_column(column, Audio(decode=False))
    return dataset


def known_column(column: str, dataset, path: str) -> str:
    """Return `column` if the dataset has it; otherwise raise `ValueError`."""
    if dataset.column_names is None:  # CSV or JSON
        raise ValueError(f"{path}: its columns are not known before it is read; load it without streaming")
    if column not in dataset.column_names:
        raise ValueError(f"{path}: no column {column}; it has {', '.join(dataset.column_names)}")
    return column


def _load_parquet(files: list[str], streaming: bool):
    # Datasets fails if a file has no rows.
    filled = [file for file in files if pyarrow.parquet.read_metadata(file).num_rows]
    if not filled:
        raise ValueError(f"{files[0]} holds no rows")
    return load_dataset("parquet", data_files=filled, split="train", streaming=streaming)


def _load_folder(folder: Path, split: str, streaming: bool):
    """Load a folder of Parquet files, or one in the layout of Datasets' `audiofolder`. The loader of Datasets itself
    needs torchcodec.

    Files are looked for below `folder`, or below its subfolder `split` or `data/split` if there is one. The first of
    these cases that fits is used:

    - Metadata files name audio files in their columns `file_name` (→ `audio`) and `*_file_name` (→ `*`).
    - There are subfolders `clean` and `noisy`: the pairs of files with the same name in them.
    - There are files that libsndfile or ffmpeg reads, by extension: all of them, in order of name.
    - There are Parquet files.
    """
    place = next((place for place in (folder / split, folder / "data" / split) if place.is_dir()), folder)
    if metadata := _metadata_files(place):
        dataset = concatenate_datasets([_load_metadata(file) for file in metadata])
    elif (place / "clean").is_dir() and (place / "noisy").is_dir():
        dataset = _load_paired_folders(place / "clean", place / "noisy")
    elif files := _audio_files(place):
        dataset = Dataset.from_dict({"audio": _undecoded(files)})
    elif files := _parquet_files(place, split):
        return _load_parquet(files, streaming)
    else:
        raise FileNotFoundError(f"{place}: no audio files in this folder, and no Parquet files")
    if not len(dataset):
        raise ValueError(f"{place} holds no rows")
    return dataset.to_iterable_dataset() if streaming else dataset


def _metadata_files(folder: Path) -> list[Path]:
    """The metadata file of `folder`; or all metadata files below it, if every audio file is below a folder with one."""
    for name in METADATA_NAMES:
        if (folder / name).is_file():
            return [folder / name]
    below = [file for name in METADATA_NAMES for file in _visible(folder, name) if _links(_read_metadata(file))]
    described = {file.parent for file in below}
    complete = all(not described.isdisjoint(file.parents) for file in _audio_files(folder))
    return sorted(below) if complete else []


def _visible(folder: Path, pattern: str) -> list[Path]:
    """Files below `folder` in order of name, without hidden ones, such as shards that another process is writing."""
    files = (file for file in folder.rglob(pattern) if file.is_file())
    return sorted(file for file in files if not any(part[0] == "." for part in file.relative_to(folder).parts))


def _parquet_files(folder: Path, split: str) -> list[str]:
    """Parquet files below `folder`. If they are shards of several sets (`train-00000-of-00002.parquet`), the files are
    those of `split`.

    Raises:
        ValueError: if there are several sets and none is `split`.
    """
    files = _visible(folder, "*.parquet")
    sets = {file: match[1] for file in files if (match := re.fullmatch(r"(.+)-\d+-of-\d+", file.stem))}
    names = sorted(set(sets.values()))
    if split not in names and len(names) > 1:
        raise ValueError(
            f"{folder}: holds Parquet files of {', '.join(names)}, none of {split!r}: name one as the split"
        )
    return [str(file) for file in files if split not in names or sets.get(file) == split]


def _load_paired_folders(clean: Path, noisy: Path) -> Dataset:
    names = [file.relative_to(noisy) for file in _audio_files(noisy)]
    if not names:
        raise FileNotFoundError(f"{noisy}: no audio files in this folder")
    if missing := [name for name in names if not (clean / name).is_file()]:
        raise FileNotFoundError(f"{clean}: lacks {len(missing)} of the files in {noisy}, e.g. {missing[0]}")
    ids = [str(name.with_suffix("")).replace("/", "_") for name in names]
    columns = {column.name: _undecoded([column / name for name in names]) for column in (clean, noisy)}
    return Dataset.from_dict({"id": ids, **columns})


def _audio_files(folder: Path) -> list[Path]:
    extensions = audio_extensions()
    return [file for file in _visible(folder, "*") if file.suffix.lower() in extensions]


def _undecoded(files: Iterable[Path | None]) -> pyarrow.Array:
    return pyarrow.array([file and {"bytes": None, "path": str(file)} for file in files], Audio.pa_type)


def audio_extensions() -> set[str]:
    """Extensions of the files that libsndfile or ffmpeg reads, with their dot and in lower case."""
    return {f".{name.lower()}" for name in soundfile.available_formats()} | {*FORMATS, *CONTAINERS}


def _read_metadata(metadata: Path) -> Dataset:
    kind = metadata.suffix.removeprefix(".").replace("jsonl", "json")
    return {"json": Dataset.from_json, "csv": Dataset.from_csv, "parquet": Dataset.from_parquet}[kind](str(metadata))


def _links(dataset: Dataset) -> dict[str, str]:
    """Columns that name audio files, each with the name of the column for their sound."""
    names = [name for name in dataset.column_names if name == "file_name" or name.endswith("_file_name")]
    return {name: name.removesuffix("file_name").removesuffix("_") or "audio" for name in names}


def _load_metadata(metadata: Path) -> Dataset:
    """The rows of a metadata file. A row that names no file has no sound."""
    dataset = _read_metadata(metadata)
    for name, column in _links(dataset).items():
        files = [file and metadata.parent / file for file in dataset[name]]
        missing = [file for file in files if file and not file.is_file()]
        if missing:
            raise FileNotFoundError(f"{metadata}: names {len(missing)} files that do not exist, e.g. {missing[0]}")
        dataset = dataset.remove_columns(name).add_column(column, _undecoded(files))
    return dataset
