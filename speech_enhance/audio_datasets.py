"""Audio datasets by Parquet pattern, folder or name on the Hub, their sound left undecoded. Needs Hugging Face Datasets."""

import glob
from collections.abc import Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import soundfile
from datasets import Audio, Dataset, Features, load_dataset

from .pending_file import PendingFile

ROW_GROUP_BYTES, ROW_GROUP_ROWS = 16 << 20, 1000  # held in memory at a time


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
        known_column(column, dataset, path)
    for column, feature in dataset.features.items():
        if isinstance(feature, Audio) or column in columns:
            dataset = dataset.cast_column(column, Audio(decode=False))
    return dataset


def known_column(column: str, dataset, path: str) -> str:
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


def write_parquet(path: Path, rows: Iterable[dict], features: Features) -> int:
    """All `rows`, audio as `{"bytes": …, "path": …}`, to one file, which appears whole or not at all; gives their number.

    Raises:
        OSError: if it cannot be written.
    """
    waiting, num_bytes, count = [], 0, 0
    with (
        PendingFile(path) as pending,
        open(pending.descriptor, "wb", closefd=False) as file,
        pyarrow.parquet.ParquetWriter(file, features.arrow_schema) as writer,
    ):
        for row in rows:
            waiting.append(row)
            count += 1
            num_bytes += sum(len(value["bytes"] or b"") for value in row.values() if _is_sound(value))
            if num_bytes >= ROW_GROUP_BYTES or len(waiting) == ROW_GROUP_ROWS:
                writer.write_table(pyarrow.Table.from_pylist(waiting, schema=features.arrow_schema))
                waiting, num_bytes = [], 0
        writer.write_table(pyarrow.Table.from_pylist(waiting, schema=features.arrow_schema))
    return count


def _is_sound(value) -> bool:
    return isinstance(value, dict) and "bytes" in value
