"""One shard of a corpus: rows in, enhanced rows and a line about each out."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..audio import ffmpeg
from ..audio.files import AudioFileError
from ..audio.writer import FORMATS
from ..jobs.batches import enhance_files, group_by_size
from ..jobs.file import FileReport, PipelineChoice
from ..jobs.folder import outcome_fields

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Row:
    """A row of a corpus.

    Args:
        number: Of the row in the corpus, or in its shard where the corpus is streamed.
        entry: Its sound, `{"bytes": …, "path": …}`, or `None`.
        columns: The other columns in Arrow's form, one row, which nothing here looks into.
        shard: Number of its shard where the corpus is streamed, else `None`.
    """

    number: int
    entry: dict | None
    columns: "pyarrow.Table"
    shard: int | None = None

    @property
    def label(self) -> str:
        """The row in words."""
        return f"row {self.number}" if self.shard is None else f"shard {self.shard}, row {self.number}"

    @property
    def stem(self) -> str:
        """A name for its sound that no other row of the corpus has."""
        return f"{self.number:09d}" if self.shard is None else f"{self.shard:05d}-{self.number:09d}"


@dataclass(frozen=True)
class EnhancedRow:
    """A row and what became of it.

    Args:
        row: The row.
        sound: File with the enhanced recording, which is there until the next row is asked for; `None` if it failed.
        report: `row`, of a streamed corpus `shard`, `file` and the fields of a folder's report.
    """

    row: Row
    sound: Path | None
    report: dict


@dataclass(frozen=True)
class RowEnhancer:
    """Enhances rows of a corpus, short ones together.

    Args:
        choice: How to enhance.
        loaded: What `choice.load()` gave.
        audio_format: `wav`, `flac`, `ogg` or `mp3`; `None` for that of each row by its name, FLAC if it tells none.
        roots: Folders out of which a row that holds no sound itself may name a file.
    """

    choice: PipelineChoice
    loaded: tuple
    audio_format: str | None
    roots: tuple[Path, ...]

    def __call__(self, rows: Iterable[Row]) -> Iterator[EnhancedRow]:
        """Every row of `rows` once, in order."""
        for group in group_by_size(rows, self._stored_bytes):
            with tempfile.TemporaryDirectory(prefix="speech-enhance-") as folder:
                yield from self._enhance(group, Path(folder))

    def _enhance(self, group: list[Row], folder: Path) -> Iterator[EnhancedRow]:
        pipeline, settings = self.loaded
        places, refused = {}, {}
        for row in group:
            try:
                places[row.number] = self._places(row, folder)
            except AudioFileError as error:
                refused[row.number] = error
        results = enhance_files(pipeline, list(places.values()), self.choice.generator, **settings)
        results = refused | dict(zip(places, results, strict=True))
        for row in group:
            fields = outcome_fields(results[row.number])
            for path in places.get(row.number, ()):  # names that no one knows any more
                fields["error"] = fields["error"] and fields["error"].replace(str(path), row.label)
            shard = {} if row.shard is None else {"shard": row.shard}
            report = {"row": row.number, **shard, "file": (row.entry or {}).get("path"), **fields}
            sound = places[row.number][1] if isinstance(results[row.number], FileReport) else None
            yield EnhancedRow(row, sound, report)

    def _places(self, row: Row, folder: Path) -> tuple[Path, Path]:
        """Where a row's recording is read and written; its own name is no place, only its known extensions count."""
        entry = row.entry or {}
        content, name = entry.get("bytes"), entry.get("path")
        extension = Path(name or "").suffix.lower()
        extension = extension if extension in (*FORMATS, *ffmpeg.CONTAINERS) else ".flac"
        target = folder / f"{row.number}-enhanced{f'.{self.audio_format}' if self.audio_format else extension}"
        if content is not None:
            source = folder / f"{row.number}{extension}"
            source.write_bytes(content)
        elif name:
            source = self._allowed(row, name)
        else:
            raise AudioFileError(f"{row.label}: has no sound")
        return source, target

    def _allowed(self, row: Row, name: str) -> Path:
        """A hostile row could name any file of this machine, to find it enhanced in what is published."""
        path = Path(os.path.abspath(name))
        if not any(path.is_relative_to(root) for root in self.roots):
            raise AudioFileError(f"{row.label}: holds no sound but the name of a file outside the dataset, {name!r}")
        return path

    def _stored_bytes(self, row: Row) -> int:
        entry = row.entry or {}
        if entry.get("bytes") is not None:
            return len(entry["bytes"])
        with contextlib.suppress(OSError, ValueError):
            return os.stat(entry.get("path") or "").st_size
        return 0
