"""Enhances the rows of one shard of a corpus, and reports a line about each row."""

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
        number: Number of the row in the corpus, or in its shard if the corpus is streamed.
        entry: Sound of the row, `{"bytes": …, "path": …}`, or `None`.
        columns: Other columns as one row in Arrow's form. Their content is not read here.
        shard: Number of the row's shard if the corpus is streamed, else `None`.
    """

    number: int
    entry: dict | None
    columns: "pyarrow.Table"
    shard: int | None = None

    @property
    def label(self) -> str:
        """Name of the row for messages."""
        return f"row {self.number}" if self.shard is None else f"shard {self.shard}, row {self.number}"

    @property
    def stem(self) -> str:
        """Name for the row's sound that is unique in the corpus."""
        return f"{self.number:09d}" if self.shard is None else f"{self.shard:05d}-{self.number:09d}"


@dataclass(frozen=True)
class EnhancedRow:
    """A row and its result.

    Args:
        row: The row.
        sound: File with the enhanced recording, which exists until the next row is asked for; `None` if the row failed.
        report: Fields of the report: `row`, `shard` if the corpus is streamed, `file` and the fields of a folder's
            report.
    """

    row: Row
    sound: Path | None
    report: dict


@dataclass(frozen=True)
class RowEnhancer:
    """Enhances rows of a corpus. Short recordings share batches.

    Args:
        choice: Pipeline and settings to use.
        loaded: Result of `choice.load()`.
        audio_format: Format of the output, `wav`, `flac`, `ogg` or `mp3`. With `None`, each row keeps the format that
            its file name tells, or becomes FLAC if the name tells none.
        roots: Folders from which a row without sound of its own may name a file.
    """

    choice: PipelineChoice
    loaded: tuple
    audio_format: str | None
    roots: tuple[Path, ...]

    def __call__(self, rows: Iterable[Row]) -> Iterator[EnhancedRow]:
        """Yield every row of `rows` enhanced, once and in order."""
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
            for path in places.get(row.number, ()):  # an error names the row, not our temporary file
                fields["error"] = fields["error"] and fields["error"].replace(str(path), row.label)
            shard = {} if row.shard is None else {"shard": row.shard}
            report = {"row": row.number, **shard, "file": (row.entry or {}).get("path"), **fields}
            sound = places[row.number][1] if isinstance(results[row.number], FileReport) else None
            yield EnhancedRow(row, sound, report)

    def _places(self, row: Row, folder: Path) -> tuple[Path, Path]:
        """Return the paths from which a row's recording is read and to which it is written. Of the row's own file name,
        only a known extension is used."""
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
        """Return the path of a named file if it lies in `roots`. Otherwise a hostile row could name any file of this
        machine, and the file would be published with the corpus."""
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
