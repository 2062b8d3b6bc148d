"""The folder of a training run: one process at a time, and what happens when it cannot be written."""

import argparse
import contextlib
import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from speech_enhance.pending_files import new_file_mode

DISK_ERRORS = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS") if hasattr(errno, name)}


class RunError(OSError):
    """A run cannot use its folder; the message says why in one line."""


def run_in(folder: Path, work: Callable[[], None], parser: argparse.ArgumentParser, locked: bool = True) -> None:
    """Do the work of a run. If the folder is locked or the disk is full, the script ends with a line and exit code 2.

    Args:
        folder: Folder of the run.
        work: Function that does the work.
        parser: Parser of the script.
        locked: Whether this process takes the lock of the folder, as the main process of a run does.
    """
    failure = None
    try:
        with only_run(folder) if locked else contextlib.nullcontext(), _quiet_writers():
            work()
    except OSError as error:
        if not isinstance(error, RunError) and error.errno not in DISK_ERRORS:
            raise
        failure = str(error)
    if failure:  # printed here, below the progress bar, which has ended with the work
        parser.exit(2, f"{parser.prog}: error: {failure} (--resume goes on from the newest checkpoint)\n")


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep other processes from training in `folder` until the `with` block ends. The lock ends with the process,
    however that ends. Where files cannot be locked, such as on Windows and on some network file systems, no process is
    kept away.

    Raises:
        RunError: if another process trains there.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):  # another error means that this file system has no locks
                raise RunError(f"{folder}: another run trains in this folder: choose another output_dir") from None
        yield


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A place beside `path` for a file or folder. If the `with` block succeeds, it is renamed to `path`; otherwise it
    is removed. What is in it gets the usual permissions, since safetensors writes files that only their owner may read.

    Raises:
        RunError: if it cannot be written; what was at `path` stays.
    """
    partial = path.with_name(path.name + ".partial")
    _remove(partial)
    with write_errors(path, partial):
        yield partial
        for file in [partial, *partial.rglob("*")]:
            if file.is_file():
                file.chmod(new_file_mode())
        if path.is_dir():
            _remove(path)
        partial.replace(path)


@contextlib.contextmanager
def write_errors(path: Path, partial: Path) -> Iterator[None]:
    """Turn an error that keeps `path` from being written into a [`RunError`], and remove the unfinished `partial`."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
        free = shutil.disk_usage(path.parent).free / 2**20
        _remove(partial)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(f"{path}: cannot be written ({reason}; {free:.1f} MB were free)") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet_writers() -> Iterator[None]:
    """Let threads, such as TensorBoard's, end at an `OSError` without a traceback: the main thread gets the error
    too."""
    before = threading.excepthook

    def hook(arguments) -> None:
        if not issubclass(arguments.exc_type, OSError):
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
