"""libsndfile as it is used here: files are read once from beginning to end, and libmpg123 in it says nothing of its
own."""

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
"""A number of frames from here on means that the header tells none."""
_MPG123_LINE = re.compile(rb"\s*$|Note: |Warning: |\[[^]]*libmpg123|\d{6,} (Note|Warning|Error)")
_MPG123_ERROR = re.compile(rb"error:|Illegal Audio-MPEG-Header", re.IGNORECASE)
_KNOWN_BY_NAME = (".gsm", ".vox")  # headerless formats
_stderr_lock = threading.Lock()


class SequentialFile(soundfile.SoundFile):
    """A file that is only read on: soundfile would seek to where it is after each block, which libsndfile cannot do
    where a header tells no length or a wrong one."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def open_part(path: Path, descriptor: int, pieces: list[Piece], quiet: bool) -> Iterator[SequentialFile]:
    """A file, or the part of it that `pieces` are (see [`PartFile`]) if there are any; if `quiet`, see
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
    """Keep what libmpg123 writes on stderr from it; gives the errors among it at the end. Other lines written meanwhile
    come out afterwards."""
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
