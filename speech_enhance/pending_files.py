"""Files and folders that appear whole or not at all."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENOTTY)
"""Errors of file systems that cannot sync a file. Any other error means that the content did not reach the disk."""


class PendingFile:
    """A new file that replaces the file at `path` when the `with` block ends well, and vanishes if the block fails.

    On Linux the new file has no name until then, so even a killed process leaves nothing behind. On other systems, and
    on file systems without nameless files, it is a hidden file in the same folder, and a killed process leaves it
    there. Network shares and memory cards may refuse permissions, syncing or hard links; they get the file without
    them.

    Args:
        path: Path of the file. Only the finished file replaces an old one. It takes the old file's permissions, or the
            usual ones if there was no file.

    Raises:
        OSError: if the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._partial: Path | None = None

    def __enter__(self) -> "PendingFile":
        nameless = self._open_nameless()
        self.descriptor = self._open_named() if nameless is None else nameless
        return self

    @property
    def open_path(self) -> str:
        """Path by which a child process can open the file."""
        return str(self._partial) if self._partial else f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def __exit__(self, kind, error, traceback) -> None:
        try:
            try:
                if kind is None:
                    self._make_lasting()
                    if self._partial is None:
                        self._give_name()
            finally:
                os.close(self.descriptor)  # before renaming: closing may raise the last error, and Windows requires it
            if kind is None and self._partial is not None:
                os.replace(self._partial, self.path)
                self._partial = None
        finally:
            if self._partial is not None:
                self._partial.unlink(missing_ok=True)

    def _make_lasting(self) -> None:
        """Set the file's permissions and sync its content to the disk, as far as the file system can."""
        if hasattr(os, "fchmod"):  # some versions of Windows lack it
            with contextlib.suppress(OSError):
                os.fchmod(self.descriptor, _mode(self.path))
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise

    def _open_nameless(self) -> int | None:
        if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
            return None
        try:
            return os.open(self.path.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
        except OSError:  # the file system may not support it; if the folder is not writable, `_open_named` raises
            return None

    def _open_named(self) -> int:
        descriptor, partial = tempfile.mkstemp(".partial", ".speech-enhance.", self.path.parent)
        self._partial = Path(partial)
        return descriptor

    def _give_name(self) -> None:
        partial = self.path.with_name(f".speech-enhance.{secrets.token_hex(6)}.partial")
        try:
            folder = os.open(self.path.parent, os.O_PATH)
            try:  # with a folder's descriptor, Python uses linkat, which follows the link in /proc
                os.link(f"/proc/self/fd/{self.descriptor}", partial.name, dst_dir_fd=folder)
            finally:
                os.close(folder)
            self._partial = partial
        except OSError:  # the file system has no hard links
            self._copy_into_named()

    def _copy_into_named(self) -> None:
        nameless, self.descriptor = self.descriptor, self._open_named()
        with open(nameless, "rb") as source, open(self.descriptor, "wb", closefd=False) as target:
            source.seek(0)
            shutil.copyfileobj(source, target, 2**20)
        self._make_lasting()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8 through a [`PendingFile`]."""
    with PendingFile(path) as pending, open(pending.descriptor, "w", encoding="utf-8", closefd=False) as file:
        file.write(text)


@contextlib.contextmanager
def pending_folder(path: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside `path`. It is renamed to `path` when the `with` block ends well, and vanishes if
    the block fails. A killed process leaves the hidden folder behind, see [`remove_abandoned`].

    Raises:
        FileExistsError: if something is at `path` when the block ends. What is there stays.
        OSError: if the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        try:
            os.rename(partial, path)
        except OSError as error:
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_abandoned(path: Path) -> None:
    """Remove hidden folders of [`pending_folder`] for `path` that killed processes left behind. No other process may be
    writing to `path` meanwhile."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _mode(path: Path) -> int:
    """Return the permissions of the file at `path`, or those of a new file if there is none."""
    return path.stat().st_mode & 0o777 if path.exists() else new_file_mode()


def new_file_mode() -> int:
    """Return the permissions that a new file gets, by the process's mask."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
