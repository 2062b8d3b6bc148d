"""One shard of a corpus: rows in, enhanced rows and a line about each out; it appears whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import ffmpeg
from .audio_files import AudioFileError
from .audio_writer import FORMATS
from .file_batches import enhance_files, group_by_size
from .file_enhancement import FileReport, PipelineChoice
from .folders import outcome_fields

ERROR_COLUMN = "enhancement_error"
LAYOUTS = ("parquet", "audiofolder")


@dataclass(frozen=True)
class EnhancedRow:
    """A row and what became of it.

    Args:
        number: Of the row in the corpus.
        columns: The row as it was, without its sound.
        sound: File with the enhanced recording, which is there until the next row is asked for; `None` if it failed.
        report: `row`, `file` and the fields of a folder's report.
    """

    number: int
    columns: dict
    sound: Path | None
    report: dict


@dataclass(frozen=True)
class RowEnhancer:
    """Enhances rows of a corpus, short ones together.

    Args:
        column: Their audio column, entries `{"bytes": …, "path": …}`.
        choice: How to enhance.
        loaded: What `choice.load()` gave.
        audio_format: `wav`, `flac`, `ogg` or `mp3`; `None` for that of each row by its name, FLAC if it tells none.
        roots: Folders out of which a row that holds no sound itself may name a file.
    """

    column: str
    choice: PipelineChoice
    loaded: tuple
    audio_format: str | None
    roots: tuple[Path, ...]

    def __call__(self, rows: Iterable[dict], first_row: int) -> Iterator[EnhancedRow]:
        """Every row of `rows` once, in order; the first has the number `first_row`."""
        numbered = enumerate(rows, first_row)
        for group in group_by_size(numbered, lambda item: self._stored_bytes(item[1])):
            with tempfile.TemporaryDirectory(prefix="speech-enhance-") as folder:
                yield from self._enhance(group, Path(folder))

    def _enhance(self, group: list[tuple[int, dict]], folder: Path) -> Iterator[EnhancedRow]:
        pipeline, settings = self.loaded
        places, refused = {}, {}
        for number, row in group:
            try:
                places[number] = self._places(number, row[self.column], folder)
            except AudioFileError as error:
                refused[number] = error
        results = enhance_files(pipeline, list(places.values()), self.choice.generator, **settings)
        results = refused | dict(zip(places, results, strict=True))
        for number, row in group:
            fields = outcome_fields(results[number])
            for path in places.get(number, ()):  # names that no one knows any more
                fields["error"] = fields["error"] and fields["error"].replace(str(path), f"row {number}")
            name = (row[self.column] or {}).get("path")
            columns = {key: value for key, value in row.items() if key != self.column}
            sound = places[number][1] if isinstance(results[number], FileReport) else None
            yield EnhancedRow(number, columns, sound, {"row": number, "file": name, **fields})

    def _places(self, number: int, entry: dict | None, folder: Path) -> tuple[Path, Path]:
        """Where a row's recording is read and written; its own name is no place, only its known extensions count."""
        entry = entry or {}
        content, name = entry.get("bytes"), entry.get("path")
        extension = Path(name or "").suffix.lower()
        extension = extension if extension in (*FORMATS, *ffmpeg.CONTAINERS) else ".flac"
        target = folder / f"{number}-enhanced{f'.{self.audio_format}' if self.audio_format else extension}"
        if content is not None:
            source = folder / f"{number}{extension}"
            source.write_bytes(content)
        elif name:
            source = self._allowed(number, name)
        else:
            raise AudioFileError(f"row {number}: has no sound")
        return source, target

    def _allowed(self, number: int, name: str) -> Path:
        """A hostile row could name any file of this machine, to find it enhanced in what is published."""
        path = Path(os.path.abspath(name))
        if not any(path.is_relative_to(root) for root in self.roots):
            raise AudioFileError(f"row {number}: holds no sound but the name of a file outside the dataset, {name!r}")
        return path

    def _stored_bytes(self, row: dict) -> int:
        entry = row[self.column] or {}
        if entry.get("bytes") is not None:
            return len(entry["bytes"])
        with contextlib.suppress(OSError, ValueError):
            return os.stat(entry.get("path") or "").st_size
        return 0
