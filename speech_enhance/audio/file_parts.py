"""Divides files that libsndfile alone would read only in part into parts that it reads whole: joined files, streams
whose header does not give their length, and recordings of a recorder that crashed."""

import io
import itertools
import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from . import mp3_frames

Piece = bytes | tuple[int, int]
"""Bytes, or the range `[start, end)` of a file that holds them."""
_PLACEHOLDER_SIZE = 2**31 - 2**16  # programs that write into a pipe put this or more into a header
_BLANK_TAG = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)  # without a tag, libsndfile does not recognise a part that is MP3


@dataclass(frozen=True)
class Layout:
    """The way to read a file.

    Args:
        parts: Recordings in the file, one after the other. Each is a list of pieces; together they make a file that
            libsndfile reads whole from beginning to end. The list is empty if libsndfile reads the file itself whole.
        damage: Description of what is wrong with the file, or `None`.
        needs_ffmpeg: Reason why libsndfile cannot read it whole, or `None`.
        may_be_mpeg: Whether libmpg123 may read it. That library writes its own messages on stderr.
        extras: Names of the chunks of a WAV, AIFF or CAF file that are neither sound nor tags that we copy.
    """

    parts: list[list[Piece]] = field(default_factory=list)
    damage: str | None = None
    needs_ffmpeg: str | None = None
    may_be_mpeg: bool = False
    extras: list[str] = field(default_factory=list)


class PartFile(io.RawIOBase):
    """A file to read that consists of the pieces of a part.

    Args:
        descriptor: Descriptor of the file that ranges refer to; it stays open.
        pieces: Pieces to read, one after the other.
    """

    def __init__(self, descriptor: int, pieces: list[Piece]):
        self._file = open(descriptor, "rb", buffering=0, closefd=False)  # noqa: SIM115 - the caller's file
        self._pieces, self._position, self._size = [], 0, 0
        for piece in pieces:
            size = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            self._pieces.append((self._size, self._size + size, piece))
            self._size += size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:
        view, done = memoryview(buffer), 0
        for start, end, piece in self._pieces:
            if not start <= self._position < end or done == len(view):
                continue
            offset, count = self._position - start, min(end - self._position, len(view) - done)
            if isinstance(piece, bytes):
                view[done : done + count] = piece[offset : offset + count]
            else:
                self._file.seek(piece[0] + offset)
                count = self._file.readinto(view[done : done + count])
            self._position += count
            done += count
        return done


def find_layout(descriptor: int) -> Layout:
    """Look at the structure of a file, whatever its name is. No sound is decoded.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is empty, or holds recordings that cannot be told apart.
    """
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        return layout_of(data)


def layout_of(data: bytes | mmap.mmap) -> Layout:
    """The way to read a file with this content."""
    find = _BY_MAGIC.get(data[:4])
    if find is not None:
        return replace(find(data), extras=_extras(data))
    layout, stream = Layout(), mp3_frames.scan(data)
    if stream:
        layout = _mp3_layout(data, stream)
    if not layout.parts and data[:1] == b"\xff":
        layout = replace(layout, parts=[[_BLANK_TAG, (0, len(data))]])
    return replace(layout, may_be_mpeg=True)


def _mp3_layout(data, stream: mp3_frames.Stream) -> Layout:
    if mp3_frames.needs_no_help(data, stream):
        return Layout()
    damage = f"{stream.num_foreign} bytes in it are no sound" if stream.num_foreign else None
    missing = mp3_frames.num_missing(data, stream)
    if missing and not damage:
        damage = f"it is cut off: its last {missing} frames are missing"
    if any(run.first.layer != 3 for run in stream.runs):
        if len(stream.runs) == 1 and len(stream.runs[0].kilobits) == 1:
            return Layout(damage=damage)
        return Layout(damage=damage, needs_ffmpeg="its bit rate varies, and no header tells its length")
    head = _BLANK_TAG
    if mp3_frames.tag_end(data, 0) >= len(_BLANK_TAG):
        head = (0, mp3_frames.tag_end(data, 0))
    parts = []
    for run in stream.runs:
        parts.append([head, mp3_frames.facts_frame(data, run), *((start, end) for start, end in run.ranges)])
    if data[-128:-125] == b"TAG":
        parts[0].append((len(data) - 128, len(data)))
    return Layout(parts, damage)


def _ogg_layout(data) -> Layout:
    """Layout of a chain of streams. A part starts where a stream begins after the sound of another one has begun."""
    starts, position, sounds = [0], 0, False
    while (position := data.find(b"OggS", position)) >= 0 and position + 27 <= len(data):
        begins = bool(data[position + 5] & 2)
        if begins and sounds:
            starts.append(position)
        sounds = not begins
        num_segments = data[position + 26]
        position += 27 + num_segments + sum(data[position + 27 : position + 27 + num_segments])
    return _split(data, starts)


def _flac_layout(data) -> Layout:
    """Layout of joined files. Their first block always has the same kind and size."""
    starts, position = [0], 4
    while (position := data.find(b"fLaC", position)) >= 0:
        if data[position + 4] & 0x7F == 0 and data[position + 5 : position + 8] == b"\0\0\x22":
            starts.append(position)
        position += 4
    header = _first_frame_header(data)
    if len(starts) == 1 and header and data.find(header, data.find(header) + 1) >= 0:
        raise ValueError("it joins recordings, of which one has lost its header")
    knows_length = len(data) >= 26 and bool(data[21] & 0x0F or any(data[22:26]))
    return _split(data, starts) if knows_length or len(starts) > 1 else Layout([[(0, len(data))]])


def _first_frame_header(data) -> bytes:
    """Header of the first frame (number 0) of a FLAC file, with its checksum; empty if there is none."""
    position, last = 4, False
    while not last and position + 4 <= len(data):
        last = bool(data[position] & 0x80)
        position += 4 + int.from_bytes(data[position + 1 : position + 4], "big")
    head = bytes(data[position : position + 5])
    if len(head) < 5 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[4] != 0:
        return b""
    further = {6: 1, 7: 2}.get(head[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    return bytes(data[position : position + 6 + further])


def _split(data, starts: list[int]) -> Layout:
    ranges = zip(starts, [*starts[1:], len(data)], strict=True)
    return Layout([[item] for item in ranges] if len(starts) > 1 else [])


@dataclass(frozen=True)
class _Samples:
    """The place of the samples in a file.

    Args:
        size_place, size_form: Position and form of the number that gives the size of the samples in bytes.
        start: Position of the samples.
        size: Number of bytes that this number gives.
    """

    size_place: int
    size_form: str
    start: int
    size: int


_AU = (b".snd", b"dns.")
_COMMON_CHUNKS = {
    *(b"fmt ", b"data", b"fact", b"PEAK", b"ds64", b"INFO", b"LIST", b"RIFF", b"RF64", b"RIFX"),  # WAV
    *(b"COMM", b"SSND", b"FVER", b"NAME", b"AUTH", b"(c) ", b"ANNO", b"CHAN", b"FORM"),  # AIFF
    *(b"desc", b"info", b"chan", b"kuki", b"pakt", b"peak", b"caff"),  # CAF
    *(b"JUNK", b"junk", b"PAD ", b"FLLR", b"free"),  # nothing
}
_MOST_CHUNKS = 1000
_CHUNK_FORMS = {b"RIFF": "<4sI", b"RIFX": ">4sI", b"RF64": "<4sI", b"FORM": ">4sI", b"caff": ">4sQ"}


def _chunk_layout(data) -> Layout:
    """Layout of joined files, of files that do not give the number of their samples, and of files that are cut off."""
    parts, start = [], 0
    while (samples := _find_samples(data, start)) is not None:
        rest = len(data) - samples.start
        most = 2 ** (8 * struct.calcsize(samples.size_form)) - 1
        is_unknown = samples.size == most or (samples.size == 0 and not _is_chunks(data, samples.start))
        is_cut = rest + 1 < samples.size < _PLACEHOLDER_SIZE
        following = None if is_unknown or is_cut else _next_file(data, samples)
        # Only sound follows the header of an AU file, so all the rest is taken for sound, as ffmpeg does.
        is_long = following is None and data[start : start + 4] in _AU and rest > samples.size + 1
        if 0 < rest < most and (is_unknown or is_cut or is_long):
            size = struct.pack(samples.size_form, rest)
            parts.append([(start, samples.size_place), size, (samples.size_place + len(size), len(data))])
            holds = f"it holds {rest} of {samples.size} bytes of sound"
            damage = f"it is cut off: {holds}" if is_cut else holds if is_long and not is_unknown else None
            return Layout(parts, damage)
        if following is None:
            break
        parts.append([(start, following)])
        start = following
    return Layout([*parts, [(start, len(data))]] if parts else [])


def _extras(data) -> list[str]:
    """Names of the first file's chunks that are not in [`_COMMON_CHUNKS`]."""
    form, names = _CHUNK_FORMS.get(data[:4]), []
    if form is None:
        return names
    for name, position, size in itertools.islice(_chunks(data, 8 if data[:4] == b"caff" else 12, form), _MOST_CHUNKS):
        body = position + struct.calcsize(form)
        kind = data[body : body + 4] if name == b"LIST" and size >= 4 else name
        if kind not in _COMMON_CHUNKS and kind.isascii() and kind.decode().isprintable():
            names.append(kind.decode().strip())
    return list(dict.fromkeys(names))


def _find_samples(data, start: int) -> _Samples | None:
    magic = data[start : start + 4]
    if magic in _AU:
        if len(data) < start + 12:
            return None
        form = ">I" if magic == b".snd" else "<I"
        offset, size = (struct.unpack(form, data[start + at : start + at + 4])[0] for at in (4, 8))
        return _Samples(start + 8, form, start + offset, size)
    form, real_size = _CHUNK_FORMS[magic], None
    for name, position, size in _chunks(data, start + (8 if magic == b"caff" else 12), form):
        body = position + struct.calcsize(form)
        if name == b"ds64" and magic == b"RF64" and body + 16 <= len(data):
            real_size = _Samples(body + 8, "<Q", 0, struct.unpack("<Q", data[body + 8 : body + 16])[0])
        if name in (b"data", b"SSND"):
            if real_size is not None:
                return _Samples(real_size.size_place, real_size.size_form, body, real_size.size)
            return _Samples(position + 4, form[0] + form[-1], body, size)
    return None


def _chunks(data, position: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the position and the size of the body of each chunk that follows."""
    head = struct.calcsize(form)
    while position + head <= len(data):
        name, size = struct.unpack(form, data[position : position + head])
        if not name.strip(b"\0"):
            return
        yield name, position, size
        position += head + size + (size % 2 if head == 8 else 0)


def _is_chunks(data, position: int) -> bool:
    """Whether only whole chunks follow. A file may have chunks after its samples."""
    form, end = _CHUNK_FORMS.get(data[:4]), position
    if form is None:
        return False
    for _, start, size in _chunks(data, position, form):
        end = start + struct.calcsize(form) + size
    return len(data) - 1 <= end <= len(data)


def _next_file(data, samples: _Samples) -> int | None:
    """Position where another file of the same kind begins, after the samples and the chunks that follow them."""
    magic = data[:4]
    form, end = _CHUNK_FORMS.get(magic), samples.start + samples.size
    if form is None:
        return end if data[end : end + 4] == magic else None
    end += samples.size % 2 if struct.calcsize(form) == 8 else 0
    for name, position, _ in _chunks(data, end, form):
        if name == magic:
            return position
    return None


_BY_MAGIC: dict[bytes, Callable[..., Layout]] = {
    b"OggS": _ogg_layout,
    b"fLaC": _flac_layout,
    **dict.fromkeys((*_CHUNK_FORMS, *_AU), _chunk_layout),
}
