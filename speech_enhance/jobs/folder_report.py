"""The report of a folder job, `speech-enhance.jsonl`: a line for each file, read again when the job goes on.

Others may have put it where it lies, so nothing about it is trusted: not its kind, not its size, not its lines.
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
"""Every line is shorter: the longest path, as JSON spells it and named in an error too, takes a fifth of it."""
REPORT_BYTES, BYTES_PER_FILE = 2**21, 2**12
_OPTIONS = os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class FolderReport:
    """A report that is read and added to, but only if it is a regular file and no link.

    Args:
        path: Of the report, which need not exist.
    """

    def __init__(self, path: Path):
        self.path = path

    def outcomes(self, num_files: int) -> Iterator[dict]:
        """The lines about files, in order. Any other line is passed over, such as one that was cut off.

        Args:
            num_files: Recordings of the folder. A report may have 2 MB, and 4 kB more for each of them.

        Raises:
            UserError: if the report is no regular file, cannot be read or is larger.
        """
        if not os.path.lexists(self.path):
            return
        with self._opened(os.O_RDONLY) as descriptor, open(descriptor, "rb", closefd=False) as file:
            size, most = os.fstat(descriptor).st_size, REPORT_BYTES + BYTES_PER_FILE * num_files
            if size > most:
                raise UserError(f"{self.path}: has {size} bytes, expected at most {most}; move it away")
            read = 0
            for line in iter(partial(file.readline, LINE_BYTES), b""):  # a line that is too long comes in pieces
                read += len(line)
                if read > most:
                    return  # it grows while it is read
                if line.startswith(b"{") and (outcome := _outcome(line)):
                    yield outcome

    def check(self) -> None:
        """Make the report if it does not exist.

        Raises:
            UserError: if it is no regular file, has several names or cannot be written.
        """
        with self._opened(os.O_RDWR | os.O_CREAT):
            pass

    def add(self, outcome: dict) -> None:
        """Write a line at the end of the report.

        Raises:
            UserError: as [`~FolderReport.check`], or if there is no space left.
        """
        line = json.dumps(outcome).encode() + b"\n"  # ASCII: a name may be no text at all
        with self._opened(os.O_RDWR | os.O_CREAT) as descriptor:
            if os.lseek(descriptor, 0, os.SEEK_END):
                os.lseek(descriptor, -1, os.SEEK_END)
                if os.read(descriptor, 1) != b"\n":
                    line = b"\n" + line  # or it would be lost with the line before, which was cut off
            if os.write(descriptor, line) < len(line):
                raise UserError(f"{self.path}: cannot be written (no space left)")

    @contextlib.contextmanager
    def _opened(self, mode: int) -> Iterator[int]:
        """A descriptor of the report, for which nobody is waited for."""
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
    """What a line says about a file, if it does."""
    try:
        outcome = json.loads(line.decode())
    except (ValueError, RecursionError):  # no text, no JSON, or nested too deep
        return None
    return outcome if isinstance(outcome, dict) and isinstance(outcome.get("file"), str) else None
