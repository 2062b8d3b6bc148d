"""Checks files before they are read, and says what is wrong with them."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path


class AudioFileError(ValueError):
    """A file cannot be read or written as audio. The message names the file and says why."""


def check_input(path: str | os.PathLike) -> Path:
    """Return the path if it is a readable regular file; otherwise raise [`AudioFileError`]."""
    path = Path(path)
    try:
        if not path.exists():
            raise AudioFileError(f"{path}: no such file")
        if path.is_dir():
            raise AudioFileError(f"{path}: is a folder, expected an audio file")
        if not path.is_file():
            raise AudioFileError(f"{path}: is not a regular file")
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path}: is empty")
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be read ({reason(error)})") from error
    if not os.access(path, os.R_OK):
        raise AudioFileError(f"{path}: no permission to read it")
    return path


@contextlib.contextmanager
def regular_file(path: str | os.PathLike) -> Iterator[int]:
    """Open a file to read, and give its descriptor. A FIFO that was put in its place is an error; nobody waits for it.

    Raises:
        OSError: if it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def reason(error: BaseException) -> str:
    return (
        getattr(error, "strerror", None) or str(error).splitlines()[0] if str(error) else type(error).__name__
    ).rstrip(".")
