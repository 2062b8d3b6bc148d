"""Opens files with libsndfile, to be read once from beginning to end, without messages of the libmpg123 in it."""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import soundfile

from .file_parts import PartFile, Piece

UNKNOWN_FRAMES = 2**62
"""If libsndfile reports at least this number of frames, the header does not give the length."""
_MPG123_LINE = re.compile(rb"\s*$|Note: |Warning: |\[[^]]*libmpg123|\d{6,} (Note|Warning|Error)")
_MPG123_ERROR = re.compile(rb"error:|Illegal Audio-MPEG-Header", re.IGNORECASE)
_KNOWN_BY_NAME = (".gsm", ".vox")  # headerless formats
_stderr_lock = threading.Lock()


class SequentialFile(soundfile.SoundFile):
    """A file that is only read forwards. After each block, soundfile would seek to the present position; libsndfile
    cannot do this if a header gives no length or a wrong one."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def open_part(path: Path, descriptor: int, pieces: list[Piece], quiet: bool) -> Iterator[SequentialFile]:
    """Open a file, or the part of it that consists of `pieces` (see [`PartFile`]) if there are any. If `quiet`, see
    [`quiet_mpg123`].

    Raises:
        SoundFileError: if libsndfile cannot read it.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(PartFile(descriptor, pieces)) if pieces else descriptor
        if path.suffix.lower() in _KNOWN_BY_NAME:
            source = os.fsencode(path)
        with quiet_mpg123() if quiet else contextlib.nullcontext():
            file = SequentialFile(cast(Any, source), closefd=False)  # its annotation lacks file objects, which it takes
        yield stack.enter_context(file)


@contextlib.contextmanager
def quiet_mpg123() -> Iterator[list[bytes]]:
    """Keep libmpg123's messages away from stderr. The errors among them are in the list at the end. Other lines that
    are written in the meantime appear afterwards."""
    errors: list[bytes] = []
    with _stderr_lock, tempfile.TemporaryFile() as aside:
        try:
            stderr = os.dup(2)
        except OSError:  # closed
            yield errors
            return
        os.dup2(aside.fileno(), 2)
        try:
            yield errors
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            aside.seek(0)
            for line in aside.read().splitlines(keepends=True):
                if not _MPG123_LINE.match(line):
                    with contextlib.suppress(OSError):
                        os.write(2, line)
                elif _MPG123_ERROR.search(line):
                    errors.append(line)
