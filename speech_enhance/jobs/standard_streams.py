"""A command's use of stdin, stdout and stderr. Each of them may be closed, full or without a reader."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ..audio.files import AudioFileError, reason
from .file import UserError


class ReaderLeft(Exception):
    """Raised when the program that reads our stdout has ended, as `head` does when it has enough."""


def run_command(work: Callable[[], int], interrupted: str) -> int:
    """Do a command's work and return the exit code: that of `work`, 2 for an error that the caller can mend, 130 if it
    is interrupted, 141 if the reader of stdout has left.

    Args:
        work: Function that does the work and returns an exit code.
        interrupted: Message for an interrupted run.
    """
    _occupy_closed_streams()
    try:
        try:
            return work()
        finally:
            if sys.stdout is not None:  # the output of --help may also go to a full disk
                with _stdout_errors():
                    sys.stdout.flush()
    except (UserError, AudioFileError) as error:
        say(f"error: {error}")
        return 2
    except ReaderLeft:
        return 141
    except KeyboardInterrupt:
        say(interrupted)
        return 130


def say(message: str) -> None:
    """Write a line that begins with the command's name to stderr."""
    show(f"speech-enhance: {message}")


def show(line: str) -> None:
    """Write a line to stderr, and ignore it if that fails."""
    try:
        print(one_line(line), file=sys.stderr)
    except OSError:
        _discard(sys.stderr)


def one_line(text: str) -> str:
    """Return `text` with unprintable characters escaped, such as line breaks and terminal commands in a file's name."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


@contextlib.contextmanager
def spooled_input() -> Iterator[Path]:
    """Yield a temporary file with all of stdin, because stdin itself cannot be read twice."""
    if sys.stdin is None:
        raise UserError("stdin: is closed")
    with _temporary_folder("stdin") as folder:
        path = Path(folder) / "stdin"
        blocks = _stdin_blocks()
        try:
            with open(path, "wb") as file:
                for block in blocks:
                    file.write(block)
        except OSError as error:
            raise UserError(
                f"stdin: cannot be kept in {folder} ({reason(error)}); let TMPDIR name a folder with more room"
            ) from error
        try:
            yield path
        except AudioFileError as error:
            raise AudioFileError(str(error).replace(str(path), "stdin")) from error


@contextlib.contextmanager
def spooled_output(extension: str) -> Iterator[Path]:
    """Yield a temporary file, and copy it to stdout when it is complete."""
    if sys.stdout is None:
        raise UserError("stdout: is closed")
    with _temporary_folder("stdout") as folder:
        path = Path(folder) / f"stdout.{extension}"
        yield path
        with open(path, "rb") as file, _stdout_errors():
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.flush()


def _temporary_folder(name: str) -> tempfile.TemporaryDirectory:
    try:
        return tempfile.TemporaryDirectory()
    except OSError as error:
        raise UserError(
            f"{name}: no temporary folder can be made ({reason(error)}); let TMPDIR name another"
        ) from error


def _stdin_blocks() -> Iterator[bytes]:
    while True:
        try:
            block = sys.stdin.buffer.read(2**20)
            if block is None:
                raise BlockingIOError("it is not ready")  # otherwise the rest of the input would be lost
        except OSError as error:
            raise UserError(f"stdin: cannot be read ({reason(error)})") from error
        if not block:
            return
        yield block


@contextlib.contextmanager
def _stdout_errors() -> Iterator[None]:
    """Turn errors of stdout into our own."""
    try:
        yield
    except OSError as error:
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise ReaderLeft from error
        raise UserError(f"stdout: cannot be written ({reason(error)})") from error


def _discard(stream) -> None:
    """Discard what `stream` still holds. Otherwise Python would try to write it again at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _occupy_closed_streams() -> None:
    """Open the null device in place of a closed stdin, stdout or stderr. Otherwise the next opened file, perhaps the
    output, gets the stream's number, and libraries print into it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - it is never closed
