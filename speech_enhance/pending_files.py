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
"""What file systems answer that cannot sync a file; other errors say that its content did not reach the disk."""


class PendingFile:
    """A new file beside `path` that takes its place when the `with` block ends well, and vanishes if it does not.

    On Linux it has no name until then, so that not even a killed process leaves anything behind. Elsewhere, and on file
    systems without such files, it is a hidden file beside, which a killed process cannot remove. A file system that
    refuses permissions, syncing or hard links, as network shares and memory cards do, gets the file without them.

    Args:
        path: Where the file is to be; what is there before is replaced only by the finished one, whose permissions are
            those of the old file, or the usual ones.

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
        """A path under which a program that this one starts can open the file."""
        return str(self._partial) if self._partial else f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def __exit__(self, kind, error, traceback) -> None:
        try:
            try:
                if kind is None:
                    self._make_lasting()
                    if self._partial is None:
                        self._give_name()
            finally:
                os.close(self.descriptor)  # before renaming: the last error may come here, and Windows asks for it
            if kind is None and self._partial is not None:
                os.replace(self._partial, self.path)
                self._partial = None
        finally:
            if self._partial is not None:
                self._partial.unlink(missing_ok=True)

    def _make_lasting(self) -> None:
        """Give the file its permissions and bring its content to the disk, as far as the file system can."""
        if hasattr(os, "fchmod"):  # not on every Windows
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
        except OSError:  # not every file system can; if nothing can be written here, the other way says so
            return None

    def _open_named(self) -> int:
        descriptor, partial = tempfile.mkstemp(".partial", ".speech-enhance.", self.path.parent)
        self._partial = Path(partial)
        return descriptor

    def _give_name(self) -> None:
        partial = self.path.with_name(f".speech-enhance.{secrets.token_hex(6)}.partial")
        try:
            folder = os.open(self.path.parent, os.O_PATH)
            try:  # a folder's descriptor makes Python use linkat, which follows the link in /proc
                os.link(f"/proc/self/fd/{self.descriptor}", partial.name, dst_dir_fd=folder)
            finally:
                os.close(folder)
            self._partial = partial
        except OSError:  # no hard links here
            self._copy_into_named()

    def _copy_into_named(self) -> None:
        nameless, self.descriptor = self.descriptor, self._open_named()
        with open(nameless, "rb") as source, open(self.descriptor, "wb", closefd=False) as target:
            source.seek(0)
            shutil.copyfileobj(source, target, 2**20)
        self._make_lasting()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file, in UTF-8, by a [`PendingFile`]."""
    with PendingFile(path) as pending, open(pending.descriptor, "w", encoding="utf-8", closefd=False) as file:
        file.write(text)


@contextlib.contextmanager
def pending_folder(path: Path) -> Iterator[Path]:
    """A new hidden folder beside `path` that gets its name when the `with` block ends well, and vanishes if it does
    not. A killed process leaves it behind, see [`remove_abandoned`].

    Raises:
        FileExistsError: if there is something at `path` when the block ends; it stays.
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
    """Remove what killed processes have left of a [`pending_folder`] for `path`. No other may be at it."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _mode(path: Path) -> int:
    """Permissions of the file at `path`, or those that a new one gets."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
