"""Output folder of an enhanced corpus. Its shards appear whole or not at all."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..jobs.file import UserError, first_line
from ..pending_files import pending_folder, write_text
from ..wording import counted
from .shard import EnhancedRow

if TYPE_CHECKING:
    from .columns import OutputColumns


LAYOUTS = ("parquet", "audiofolder")


@dataclass(frozen=True)
class CorpusOutput:
    """Output folder of a corpus. `data/` holds the shards in the form that `load_dataset` reads, `reports/` holds a
    line for each row, and `plan.json` holds the facts that the corpus was begun with."""

    folder: Path
    stem: str
    num_shards: int
    layout: str

    def shard_path(self, shard: int) -> Path:
        if self.layout == "audiofolder":
            return self.folder / "data" / self.stem / self._numbered(shard)
        return self.folder / "data" / f"{self.stem}-{self._numbered(shard)}.parquet"

    def report_path(self, shard: int) -> Path:
        return self.folder / "reports" / f"{self.stem}-{self._numbered(shard)}.jsonl"

    def _numbered(self, shard: int) -> str:
        return f"{shard:05d}-of-{self.num_shards:05d}"

    def begin(self, facts: dict) -> None:
        """Make the folders and write down the facts that the corpus is begun with.

        Raises:
            UserError: if the corpus was begun with other facts, or the folder cannot be written.
        """
        path = self.folder / "plan.json"
        try:
            for folder in (self.shard_path(0).parent, self.report_path(0).parent):
                folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_text(path, json.dumps(facts, indent=1))
            begun = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.folder}: cannot be used ({first_line(error)})") from error
        for name, value in json.loads(json.dumps(facts)).items():
            if not _same(name, begun.get(name), value):
                raise UserError(
                    f"{self.folder} was begun with {name} {begun.get(name)!r}, not {value!r}: take another folder, or "
                    "the options and the corpus of that time"
                )

    @contextlib.contextmanager
    def claim(self, shard: int, own: bool) -> Iterator[bool]:
        """Yield whether this process may write a shard, because no other running process is writing it. Where files
        cannot be locked, every process writes only its own shards. If two processes still write the same shard, the
        later one replaces the earlier; both are identical."""
        try:
            import fcntl
        except ImportError:
            yield own
            return
        with open(self.folder / ".lock", "w") as file:  # a lock ends when its process ends for any reason
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, shard)  # one byte for each shard
                free = True
            except OSError as error:
                free = own and error.errno not in (errno.EACCES, errno.EAGAIN)
            yield free

    def write(self, shard: int, rows: Iterable[EnhancedRow], columns: "OutputColumns") -> list[dict]:
        """Write a shard. Its report is written first, because a shard counts as done as soon as it exists.

        Args:
            shard: Number of the shard.
            rows: Rows of the shard.
            columns: Columns of the output.

        Returns:
            The report.

        Raises:
            UserError: if the shard cannot be written.
        """
        from pyarrow import ArrowException

        from ..audio.parquet import write_tables

        path, report = self.shard_path(shard), []

        def reported() -> Iterator[EnhancedRow]:
            for row in rows:
                report.append(row.report)
                yield row
            write_lines(self.report_path(shard), report)

        try:
            if self.layout == "audiofolder":
                # Another process may have finished the same shard earlier.
                with contextlib.suppress(FileExistsError), pending_folder(path) as folder:
                    tables = (columns.table(row, _store(row, folder)) for row in reported())
                    write_tables(folder / "metadata.parquet", tables, columns.schema)
            else:
                write_tables(path, (columns.table(row, _entry(row)) for row in reported()), columns.schema)
        except (OSError, ArrowException) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise UserError(f"{path}: cannot be written ({reason})") from error
        return report

    def num_missing(self) -> int:
        """Return the number of shards that do not exist yet."""
        return sum(not self.shard_path(shard).exists() for shard in range(self.num_shards))

    def conclude(self, num_rows: int | None) -> list[dict]:
        """Return the report about all rows when all shards exist, and remove what killed processes left behind.

        Args:
            num_rows: Number of rows of the corpus, `None` if it is not known.

        Raises:
            UserError: if a row is missing or occurs twice.
        """
        for partial in self.shard_path(0).parent.glob(".*.partial"):
            shutil.rmtree(partial, ignore_errors=True)
        reports = [self._report(shard) for shard in range(self.num_shards)]
        lines = [line for report in reports for line in report]
        for part in reports if num_rows is None else [lines]:
            expected = len(part) if num_rows is None else num_rows
            if [line["row"] for line in part] != list(range(expected)):
                raise UserError(f"{self.folder}/reports: {len(part)} lines do not stand for {expected} rows, each once")
        return lines

    def _report(self, shard: int) -> list[dict]:
        return [json.loads(line) for line in self.report_path(shard).read_text(encoding="utf-8").splitlines()]


def totals(report: list[dict]) -> str:
    """Return the totals of a report in words."""
    failed = sum(line["status"] == "failed" for line in report)
    duration, seconds = (sum(line[name] for line in report) for name in ("duration", "seconds"))
    return f"{counted(len(report), 'row')}, {failed} failed, {duration:.1f} s of audio enhanced in {seconds:.1f} s"


def write_lines(path: Path, lines: list[dict]) -> None:
    """Write a file of JSON lines, which appears whole or not at all."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def _same(name: str, begun, value) -> bool:
    """Return whether a run continues with the same fact. A dataset may be named by another path to it."""
    if name == "dataset" and begun:
        return os.path.abspath(begun) == os.path.abspath(value)
    return begun == value


def _entry(row: EnhancedRow) -> dict | None:
    """Return the entry for a row's sound in a Parquet file."""
    return row.sound and {"bytes": row.sound.read_bytes(), "path": f"{row.row.stem}{row.sound.suffix}"}


def _store(row: EnhancedRow, folder: Path) -> str | None:
    """Copy a row's sound into `folder` and return the file's name."""
    if row.sound is None:
        return None
    name = f"{row.row.stem}{row.sound.suffix}"
    shutil.copyfile(row.sound, folder / name)  # without permissions, which some file systems refuse
    row.sound.unlink()
    return name
