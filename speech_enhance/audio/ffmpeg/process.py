"""Runs ffmpeg and ffprobe. Only local files of known formats are opened, no program runs without end, and errors are
one line."""

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

STALL_SECONDS = 60.0
"""Seconds without progress after which a program is stopped."""

_FORMATS = (
    "aa,aac,ac3,adp,aiff,alaw,amr,amrnb,amrwb,ape,apc,aptx,aptx_hd,asf,asf_o,au,avi,avr,bit,caf,codec2,daud,dsf,dss,dts,"
    "dtshd,dv,eac3,flac,flv,g722,g723_1,g726,g729,gsm,gxf,hcom,iff,ilbc,ircam,latm,loas,matroska,webm,mlp,mmf,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mulaw,mxf,nistsphere,nsv,nut,nuv,ogg,oma,paf,pvf,qcp,rm,rso,sbc,sds,shn,sln,"
    "sol,sox,spdif,tak,truehd,tta,tty,vag,voc,vqf,w64,wav,wsaud,wsd,wtv,wv,wve,xwma"
)
"""ffmpeg's names of containers that hold their sound themselves. Playlists (hls, dash, concat, sdp, …), image sequences
and whatever else makes ffmpeg open a second file are not among them."""

_CONSEQUENCES = (
    "Conversion failed",
    "Could not write header",
    "Error initializing output stream",
    "Error initializing filter",
    "Error opening input",
    "Error opening output",
    "Error reinitializing filters",
    "Error while opening encoder",
    "Error while filtering",
    "Error while processing",
    "Error submitting a packet to the muxer",
    "Failed to inject frame into filter network",
    "Invalid argument",
    "Invalid data found when processing input",
    "Nothing was written into output file",
    "Output file is empty",
    "Task finished with error code",
    "Terminating thread with return code",
    "av_interleaved_write_frame()",
)
"""Beginnings of lines that only report consequences of the line before them."""

_MOST_CAUSES = 3


class FfmpegError(ValueError):
    """ffmpeg cannot read or write something. The message is ffmpeg's own, in one line."""


def input_options(path: Path, *options: str) -> list[str]:
    """Arguments that open the local file `path` if it has a known format, with further `options` of an input."""
    return ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS, *options, "-i", url(path)]


def url(path: Path | str) -> str:
    return f"file:{path}"


def run(command: list[str], path: Path | None = None, data: bytes | None = None) -> bytes:
    """Run a program that ends soon, and return what it writes to stdout.

    Args:
        command: Program and arguments.
        path: File that it reads. Its name is left out of the error, since our messages begin with it.
        data: Bytes for its stdin.

    Raises:
        FfmpegError: if it fails, or has not ended after [`STALL_SECONDS`].
    """
    stdin = subprocess.DEVNULL if data is None else None
    try:
        result = subprocess.run(
            command, input=data, stdin=stdin, capture_output=True, timeout=STALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FfmpegError(_stalled(command[0])) from error
    if result.returncode != 0:
        raise FfmpegError(cause(result.stderr, path))
    return result.stdout


class Watchdog:
    """Stops a process that makes no progress for [`STALL_SECONDS`] while a caller waits for it.

    Args:
        process: Process to watch, started with a list of arguments.
        progress: Function whose value changes whenever the process makes progress.
    """

    def __init__(self, process: subprocess.Popen, progress: Callable[[], object]):
        self._process, self._progress = process, progress
        self._ended, self._waited_for, self._stalled = threading.Event(), False, False
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Require progress of the process while the `with` block runs."""
        self._waited_for = True
        try:
            yield
        finally:
            self._waited_for = False

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def check(self, messages: bytes, path: Path | None) -> None:
        """Raise [`FfmpegError`] if the process, which has ended, was stopped or failed; `messages` are its stderr."""
        if self._stalled:
            raise FfmpegError(_stalled(cast(list[str], self._process.args)[0]))
        if self._process.returncode != 0:
            raise FfmpegError(cause(messages, path))

    def _watch(self) -> None:
        seen, since = None, time.monotonic()
        while not self._ended.wait(min(STALL_SECONDS / 4, 1.0)):
            now = self._progress()
            if now != seen or not self._waited_for:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                self._stalled = True
                self._process.kill()
                return


def _stalled(program: str) -> str:
    return f"{program} made no progress for {STALL_SECONDS:.0f} s and was stopped"


def cause(messages: bytes, path: Path | None) -> str:
    """The reason why a program failed, in one line. It is the program's message without the names of its parts, the
    name of the file at `path`, and lines that only follow from others."""
    said = messages.decode(errors="replace")
    refused = re.search(r"^\[(\S+) @ \w+\] Format not on whitelist", said, re.MULTILINE)
    if refused:
        return f"{refused[1]} is no format that is opened; a playlist could name other files"
    lines = []
    for line in said.splitlines():
        line = re.sub(r"^(\[[^]]* @ [^]]*\] ?)+", "", line.strip())
        line = line.removeprefix(f"{url(path)}: ") if path else line
        if line and line not in lines:
            lines.append(line)
    causes = [line for line in lines if not line.startswith(_CONSEQUENCES)] or lines[-1:] or ["ffmpeg failed"]
    return "; ".join(causes[:_MOST_CAUSES])
