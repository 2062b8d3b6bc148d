"""The speaker that each channel of a recording is for: ffmpeg's names of layouts, and the masks in WAV files.

Channels are in the order of WAV files everywhere in this package; libsndfile reads those of Ogg files in another order.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np

_SPEAKERS = [
    "FL",
    "FR",
    "FC",
    "LFE",
    "BL",
    "BR",
    "FLC",
    "FRC",
    "BC",
    "SL",
    "SR",
    "TC",
    "TFL",
    "TFC",
    "TFR",
    "TBL",
    "TBC",
    "TBR",
]
"""Names of speakers, in the order of the bits of a mask. Channels have the same order."""

_LAYOUTS = {
    "mono": "FC",
    "stereo": "FL+FR",
    "2.1": "FL+FR+LFE",
    "3.0": "FL+FR+FC",
    "3.0(back)": "FL+FR+BC",
    "4.0": "FL+FR+FC+BC",
    "quad": "FL+FR+BL+BR",
    "quad(side)": "FL+FR+SL+SR",
    "3.1": "FL+FR+FC+LFE",
    "5.0": "FL+FR+FC+BL+BR",
    "5.0(side)": "FL+FR+FC+SL+SR",
    "4.1": "FL+FR+FC+LFE+BC",
    "5.1": "FL+FR+FC+LFE+BL+BR",
    "5.1(side)": "FL+FR+FC+LFE+SL+SR",
    "6.0": "FL+FR+FC+BC+SL+SR",
    "6.0(front)": "FL+FR+FLC+FRC+SL+SR",
    "hexagonal": "FL+FR+FC+BL+BR+BC",
    "6.1": "FL+FR+FC+LFE+BC+SL+SR",
    "6.1(back)": "FL+FR+FC+LFE+BL+BR+BC",
    "6.1(front)": "FL+FR+LFE+FLC+FRC+SL+SR",
    "7.0": "FL+FR+FC+BL+BR+SL+SR",
    "7.0(front)": "FL+FR+FC+FLC+FRC+SL+SR",
    "7.1": "FL+FR+FC+LFE+BL+BR+SL+SR",
    "7.1(wide)": "FL+FR+FC+LFE+BL+BR+FLC+FRC",
    "7.1(wide-side)": "FL+FR+FC+LFE+FLC+FRC+SL+SR",
    "octagonal": "FL+FR+FC+BL+BR+BC+SL+SR",
}
_VORBIS_LAYOUTS = {3: ("3.0",), 4: ("quad",), 5: ("5.0",), 6: ("5.1",), 7: ("6.1",), 8: ("7.1",)}
_FLAC_LAYOUTS = _VORBIS_LAYOUTS | {5: ("5.0", "5.0(side)"), 6: ("5.1", "5.1(side)")}
_VORBIS_SUBTYPES = ("VORBIS", "OPUS")
_VORBIS_PLACES = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
"""Place in an Ogg file of each channel of a WAV file, by number of channels (Vorbis I specification, 4.3.9)."""

_EXTENSIBLE = b"\xfe\xff"
_MASK_OFFSET = 20  # in the chunk "fmt "


def mask_of(layout: str) -> int | None:
    """The mask of a layout with this ffmpeg name; `None` if it has none."""
    bits = [_SPEAKERS.index(name) if name in _SPEAKERS else -1 for name in _LAYOUTS.get(layout, layout).split("+")]
    return None if -1 in bits else sum(1 << bit for bit in bits)


def name_of(mask: int) -> str:
    """ffmpeg's name of the layout with this mask."""
    speakers = "+".join(name for bit, name in enumerate(_SPEAKERS) if mask >> bit & 1)
    return next((name for name, value in _LAYOUTS.items() if value == speakers), speakers)


def layouts_of_format(format_name: str, num_channels: int) -> tuple[str, ...]:
    """Names of the layout of `num_channels` in a format of libsndfile whose files hold only the number of channels."""
    if num_channels <= 2:
        return (("mono",), ("stereo",))[num_channels - 1]
    return {"OGG": _VORBIS_LAYOUTS, "FLAC": _FLAC_LAYOUTS}.get(format_name, {}).get(num_channels, ())


def in_wav_order(block: np.ndarray, subtype: str) -> np.ndarray:
    """Bring a block `(samples, channels)` that libsndfile read into the order of WAV files. Channels of Ogg Vorbis and
    Opus files (`subtype`) have another order."""
    places = _VORBIS_PLACES.get(block.shape[1]) if subtype in _VORBIS_SUBTYPES else None
    return block[:, places] if places else block


def in_vorbis_order(block: np.ndarray, subtype: str) -> np.ndarray:
    """Do the opposite of [`in_wav_order`]."""
    places = _VORBIS_PLACES.get(block.shape[1]) if subtype in _VORBIS_SUBTYPES else None
    return block[:, np.argsort(places)] if places else block


def read_wav_mask(path: Path) -> int | None:
    """The channel mask of a WAV or RF64 file; `None` if it has none."""
    with open(path, "rb") as file:
        position = _find_mask(file)
        return None if position is None else int.from_bytes(file.read(4), "little")


def write_wav_mask(descriptor: int, mask: int) -> None:
    """Set the channel mask of a WAV or RF64 file that has one."""
    with open(descriptor, "r+b", closefd=False) as file:
        position = _find_mask(file)
        if position is not None:
            file.seek(position)
            file.write(mask.to_bytes(4, "little"))


def _find_mask(file: BinaryIO) -> int | None:
    """Go to the channel mask of a WAV file. Returns its position, or `None` if there is none."""
    position = 12
    file.seek(position)
    while len(chunk := file.read(8)) == 8 and chunk[:4] != b"data":
        if chunk[:4] == b"fmt ":
            extensible = file.read(2) == _EXTENSIBLE
            return file.seek(position + 8 + _MASK_OFFSET) if extensible else None
        size = int.from_bytes(chunk[4:], "little")
        position += 8 + size + size % 2
        file.seek(position)
    return None
