"""The report of a folder job, `speech-enhance.jsonl`. It has a line for each file and is read when a job continues.

Somebody else may have put the file there, so its kind, its size and its lines are not trusted.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..audio.files import reason
from .file import UserError

LINE_BYTES = 2**18
"""Upper bound on a line's length. The longest path, escaped as JSON and repeated in an error, takes a fifth of it."""
REPORT_BYTES, BYTES_PER_FILE = 2**21, 2**12
_OPTIONS = os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class FolderReport:
    """A report that is read and extended, but only if it is a regular file and not a link.

    Args:
        path: Path of the report, which need not exist.
    """

    def __init__(self, path: Path):
        self.path = path

    def outcomes(self, num_files: int) -> Iterator[dict]:
        """Yield the lines about files in order. Other lines, such as one that was cut off, are skipped.

        Args:
            num_files: Number of recordings in the folder. A report may have 2 MB, and 4 kB more for each recording.

        Raises:
            UserError: if the report is not a regular file, cannot be read or is larger.
        """
        if not os.path.lexists(self.path):
            return
        with self._opened(os.O_RDONLY) as descriptor, open(descriptor, "rb", closefd=False) as file:
            size, most = os.fstat(descriptor).st_size, REPORT_BYTES + BYTES_PER_FILE * num_files
            if size > most:
                raise UserError(f"{self.path}: has {size} bytes, expected at most {most}; move it away")
            read = 0
            for line in iter(partial(file.readline, LINE_BYTES), b""):  # a line that is too long is read in pieces
                read += len(line)
                if read > most:
                    return  # the file grows while it is read
                if line.startswith(b"{") and (outcome := _outcome(line)):
                    yield outcome

    def check(self) -> None:
        """Make the report if it does not exist.

        Raises:
            UserError: if it is not a regular file, has several names or cannot be written.
        """
        with self._opened(os.O_RDWR | os.O_CREAT):
            pass

    def add(self, outcome: dict) -> None:
        """Write a line at the end of the report.

        Raises:
            UserError: as in [`~FolderReport.check`], or if there is no space left.
        """
        line = json.dumps(outcome).encode() + b"\n"  # ASCII, because a file's name may not be valid text
        with self._opened(os.O_RDWR | os.O_CREAT) as descriptor:
            if os.lseek(descriptor, 0, os.SEEK_END):
                os.lseek(descriptor, -1, os.SEEK_END)
                if os.read(descriptor, 1) != b"\n":
                    line = b"\n" + line  # the line before was cut off; without a break this one would be lost too
            if os.write(descriptor, line) < len(line):
                raise UserError(f"{self.path}: cannot be written (no space left)")

    @contextlib.contextmanager
    def _opened(self, mode: int) -> Iterator[int]:
        """Yield a descriptor of the report. Opening it never blocks."""
        try:
            if os.path.islink(self.path):
                raise UserError(f"{self.path}: is a link, expected a report; remove it")
            descriptor = os.open(self.path, mode | _OPTIONS, 0o666)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise UserError(f"{self.path}: is no regular file, expected a report; remove it")
                if mode & os.O_RDWR and status.st_nlink > 1:
                    raise UserError(f"{self.path}: has another name (a hard link); replace it by a copy")
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            verb = "written" if mode & os.O_RDWR else "read"
            raise UserError(f"{self.path}: cannot be {verb} ({reason(error)})") from error


def _outcome(line: bytes) -> dict | None:
    """Return what a line says about a file, or `None` if it says nothing about one."""
    try:
        outcome = json.loads(line.decode())
    except (ValueError, RecursionError):  # not text, not JSON, or nested too deeply
        return None
    return outcome if isinstance(outcome, dict) and isinstance(outcome.get("file"), str) else None
