"""Writes rows with sound to Parquet files as Hugging Face Datasets has them, a bounded number of bytes at a time."""

import io
from pathlib import Path

import numpy as np
import pyarrow
import soundfile
from datasets import Features

from speech_enhance.audio.parquet import RowGroups


def flac(audio: np.ndarray, sampling_rate: int, name: str, subtype: str = "PCM_16") -> dict:
    """Mono samples as the entry `{"bytes", "path"}` of an audio column, FLAC of 16 bits or another `subtype`."""
    file = io.BytesIO()
    soundfile.write(file, audio, sampling_rate, format="FLAC", subtype=subtype)
    return {"bytes": file.getvalue(), "path": f"{name}.flac"}


class ShardWriter:
    """Writes rows to `STEM-00000-of-00003.parquet` and so on. Call `close` at the end; it returns the paths.

    Args:
        folder: Folder of the files. It should hold no shards with this stem.
        stem: Beginning of the files' names.
        features: Columns and their types.
        max_bytes: Bytes of sound per file; the last row may exceed them.
    """

    def __init__(self, folder: Path, stem: str, features: Features, max_bytes: int):
        self.folder, self.stem, self.max_bytes = folder, stem, max_bytes
        self._schema = features.arrow_schema
        self._files: list[Path] = []
        self._shard: RowGroups | None = None
        self._shard_bytes = 0

    def write(self, row: dict) -> None:
        """Add a row, whose audio entries come from [`flac`]."""
        if self._shard is None:
            self._files.append(self.folder / f"{self.stem}-{len(self._files):05d}.partial")
            self._shard = RowGroups(self._files[-1], self._schema, max_tables=None, contiguous=True)
        num_bytes = sum(len(value["bytes"]) for value in row.values() if isinstance(value, dict))
        self._shard.write(pyarrow.Table.from_pylist([row], schema=self._schema), num_bytes)
        self._shard_bytes += num_bytes
        if self._shard_bytes >= self.max_bytes:
            self._finish_shard()

    def close(self) -> list[Path]:
        """Finish the last file and number all files. Without rows, there is no file."""
        self._finish_shard()
        names = [f"{self.stem}-{index:05d}-of-{len(self._files):05d}.parquet" for index in range(len(self._files))]
        return [file.rename(self.folder / name) for file, name in zip(self._files, names, strict=True)]

    def _finish_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
        self._shard, self._shard_bytes = None, 0
