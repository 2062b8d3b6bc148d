"""Scans MP3 streams frame by frame. libsndfile alone trusts the length that an MP3 header gives or that it estimates,
and it stops at the first bytes that are not a frame."""

import struct
from dataclasses import dataclass, field

_VERSIONS = {0: 2.5, 2: 2.0, 3: 1.0}
_RATES = {1.0: (44100, 48000, 32000), 2.0: (22050, 24000, 16000), 2.5: (11025, 12000, 8000)}
_KILOBITS = {  # keys: whether it is MPEG-1, and the layer
    (True, 1): tuple(range(32, 449, 32)),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SIZE_BITS = 0xFFFEFE00 | 0xC0  # of a header: all but protection, private bit, extension, copyright and emphasis
_NO_CRC = 0x00010000
_INFO_KILOBITS = 64  # a frame of this bit rate has room for the facts at any sampling rate
_HEADER_TOLERANCE = 0.01  # share of the bytes that the header gives; libmpg123 warns beyond it


@dataclass(frozen=True)
class Frame:
    """The content of a frame's header.

    Args:
        layer: Layer, 1, 2 or 3.
        sampling_rate: Samples per second.
        mono: Whether it has one channel.
        version: Version of MPEG.
        kilobits: Kilobits per second.
        size: Size in bytes, with the header.
    """

    layer: int
    sampling_rate: int
    mono: bool
    version: float
    kilobits: int
    size: int

    @property
    def kind(self) -> tuple:
        """Properties that are the same in all frames of a stream."""
        return self.layer, self.sampling_rate, self.mono

    @property
    def facts_offset(self) -> int:
        """Offset of the facts in a frame that holds facts about the stream."""
        long, short = (17, 9) if self.mono else (32, 17)
        return 4 + (long if self.version == 1 else short)


@dataclass
class Run:
    """Frames of one kind that follow each other.

    Args:
        first: First frame that holds sound.
        ranges: Ranges `[start, end)` of bytes of the file.
        facts: Position of the frame with facts that comes before them; `None` if there is none.
        num_frames: Number of frames that hold sound.
        kilobits: Bit rates that occur.
    """

    first: Frame
    ranges: list[list[int]] = field(default_factory=list)
    facts: int | None = None
    num_frames: int = 0
    kilobits: set[int] = field(default_factory=set)

    def add(self, start: int, frame: Frame) -> None:
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1][1] += frame.size
        else:
            self.ranges.append([start, start + frame.size])
        self.num_frames += 1
        self.kilobits.add(frame.kilobits)


@dataclass
class Stream:
    """All frames of a file.

    Args:
        start: Position of the first frame, after the tags.
        runs: Runs of frames. There is more than one if files were joined or if other bytes lie between frames.
        num_foreign: Number of bytes between frames that are neither frames nor tags.
    """

    start: int
    runs: list[Run] = field(default_factory=list)
    num_foreign: int = 0


def scan(data) -> Stream | None:
    """Find the frames in a file's bytes. The result is `None` unless two frames of MPEG audio stand at the beginning,
    after the tags."""
    position = _after_tags(data, 0)
    stream = Stream(position)
    run = None
    while position < len(data):
        frame = _frame_at(data, position)
        if frame is None or ((run is None or frame.kind != run.first.kind) and not _is_followed(data, position, frame)):
            after = _after_tags(data, position)
            if not stream.runs or after == len(data):
                break
            if after == position:
                after = _next_frame(data, position + 1)
                if after is None:
                    break  # the end of a cut frame, or bytes that are not sound
                stream.num_foreign += after - position
                run = None
            position = after
            continue
        is_facts = _is_facts(data, position, frame)
        if run is None or is_facts or frame.kind != run.first.kind:
            run = Run(frame, facts=position if is_facts else None)
            stream.runs.append(run)
        if not is_facts:
            if not run.num_frames:
                run.first = frame
            run.add(position, frame)
        position += frame.size
    stream.runs = [run for run in stream.runs if run.num_frames]
    return stream if stream.runs else None


def needs_no_help(data, stream: Stream) -> bool:
    """Whether libsndfile finds the right length by itself."""
    run = stream.runs[0]
    if len(stream.runs) > 1 or stream.num_foreign:
        return False
    if run.facts is None:
        return len(run.kilobits) == 1 and len(run.ranges) == 1
    facts = _read_facts(data, run)
    if facts is None:
        return False
    _, num_frames, num_bytes = facts
    has_old_tag = data[-128:-125] == b"TAG"
    here = len(data) - stream.start - 128 * has_old_tag
    return abs(num_frames - run.num_frames) <= 1 and abs(num_bytes - here) <= _HEADER_TOLERANCE * here


def num_missing(data, stream: Stream) -> int:
    """Number of frames by which a stream is shorter than its header says."""
    run = stream.runs[-1]
    facts = _read_facts(data, run)
    return max(facts[1] - run.num_frames - 1, 0) if facts else 0


def facts_frame(data, run: Run) -> bytes:
    """A frame for the beginning of `run` that gives its length. It is the run's own frame, corrected, or a new one."""
    num_bytes = sum(end - start for start, end in run.ranges)
    facts = _read_facts(data, run)
    if run.facts is not None and facts is not None:
        offset, num_frames, _ = facts
        frame = _frame_at(data, run.facts)
        assert frame is not None  # `scan` found it there
        content = bytearray(data[run.facts : run.facts + frame.size])
        struct.pack_into(">II", content, offset + 8, run.num_frames, num_bytes + frame.size)
        if num_frames != run.num_frames:
            _forget_padding(content, offset)
        return bytes(content)
    is_new = run.first.version == 1
    index = _KILOBITS[is_new, 3].index(_INFO_KILOBITS) + 1
    start = run.ranges[0][0]
    (header,) = struct.unpack(">I", data[start : start + 4])
    header = header & ~0xF200 | _NO_CRC | index << 12
    frame = _parse(header)
    assert frame is not None  # its header is that of the run's first frame, except for the bit rate
    content = bytearray(frame.size)
    struct.pack_into(">I", content, 0, header)
    offset = run.first.facts_offset
    struct.pack_into(">4sIII", content, offset, b"Xing", 3, run.num_frames, num_bytes + len(content))
    return bytes(content)


def _read_facts(data, run: Run) -> tuple[int, int, int] | None:
    """Offset of the facts in a Xing frame, and its numbers of frames and bytes; `None` if one of them is missing."""
    if run.facts is None:
        return None
    offset = run.first.facts_offset
    name, flags, num_frames, num_bytes = struct.unpack(">4sIII", data[run.facts + offset : run.facts + offset + 16])
    return (offset, num_frames, num_bytes) if name in (b"Xing", b"Info") and flags & 3 == 3 else None


def _forget_padding(content: bytearray, offset: int) -> None:
    """Set the number of samples to leave out at the end to 0. LAME's part of a Xing frame holds it, but it belongs to
    another end of the stream."""
    flags = content[offset + 7]
    place = offset + 16 + 100 * bool(flags & 4) + 4 * bool(flags & 8) + 21
    if place + 3 <= len(content):
        content[place + 1] &= 0xF0
        content[place + 2] = 0


_parsed: dict[int, Frame | None] = {}


def _frame_at(data, position: int) -> Frame | None:
    """The frame that begins at `position`, or `None`. A frame that is cut off does not count."""
    header = int.from_bytes(data[position : position + 4], "big") & _SIZE_BITS
    if header not in _parsed:
        _parsed[header] = _parse(header) if header >= 0xFFE00000 else None
    frame = _parsed[header]
    return frame if frame and position + frame.size <= len(data) else None


def _parse(header: int) -> Frame | None:
    version, layer = _VERSIONS.get(header >> 19 & 3), 4 - (header >> 17 & 3)
    bit_index, rate_index = header >> 12 & 15, header >> 10 & 3
    if version is None or layer == 4 or bit_index in (0, 15) or rate_index == 3:
        return None  # reserved, or a free bit rate, for which the header does not give the size
    rate = _RATES[version][rate_index]
    kilobits = _KILOBITS[version == 1, layer][bit_index - 1]
    slots = {1: 12, 2: 144, 3: 144 if version == 1 else 72}[layer] * 1000 * kilobits // rate + (header >> 9 & 1)
    return Frame(layer, rate, header >> 6 & 3 == 3, version, kilobits, slots * (4 if layer == 1 else 1))


def _is_followed(data, position: int, frame: Frame) -> bool:
    """Whether a frame of the same kind, the end or a tag comes next. Without this check, other bytes that look like a
    header would count; they are common."""
    after = position + frame.size
    following = _frame_at(data, after)
    return (following is not None and following.kind == frame.kind) or _after_tags(data, after) == len(data)


def _next_frame(data, position: int) -> int | None:
    while (position := data.find(b"\xff", position)) >= 0:
        frame = _frame_at(data, position)
        if frame is not None and _is_followed(data, position, frame):
            return position
        position += 1
    return None


def _is_facts(data, position: int, frame: Frame) -> bool:
    if frame.layer != 3:
        return False
    start = position + frame.facts_offset
    return data[start : start + 4] in (b"Xing", b"Info") or data[position + 36 : position + 40] == b"VBRI"


def _after_tags(data, position: int) -> int:
    """End of the tags that begin at `position`."""
    while (end := tag_end(data, position)) > position:
        position = end
    return position


def tag_end(data, position: int) -> int:
    """End of the tag that begins at `position`; `position` if there is none."""
    head = data[position : position + 32]
    size = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        size = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        size += 10 * bool(head[5] & 0x10)
    elif head[:8] == b"APETAGEX" and len(head) == 32:
        (size,) = struct.unpack("<I", head[12:16])
        size = size + 32 if head[23] & 0x20 else 32  # the header does not count itself
    elif head[:3] == b"TAG" and len(data) - position >= 128:
        size = 128
    elif head[:11] == b"LYRICSBEGIN" and (end := data.find(b"LYRICS", position + 11)) >= 0:
        size = end + 9 - position
    return min(position + size, len(data))
