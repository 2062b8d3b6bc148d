"""Sample encodings in blocks, such as ADPCM and GSM. A file with such an encoding holds whole blocks, so it may be read
back with more samples than were written."""

import contextlib
import io

import numpy as np

_EXACT = ("VORBIS", "OPUS", "MPEG_LAYER_III", "ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32")
"""Encodings in blocks whose files also hold the number of samples."""


def unit_samples(format_name: str, subtype: str, sampling_rate: int, num_channels: int) -> int:
    """Number of samples that are read back from a file that was written with one sample. Container and encoding have
    libsndfile's names. A plain encoding gives 1. A larger number is a multiple of the block. The padding of a chunk
    counts: AIFF of 8 bits has an even number of bytes.
    """
    return 1 if subtype in _EXACT else _length_of_silence(format_name, subtype, sampling_rate, num_channels, 1)


def comes_back(format_name: str, subtype: str, sampling_rate: int, num_channels: int, num_samples: int) -> bool:
    """Whether a file of `num_samples` is read back with as many. A short file with the same remainder is tried."""
    unit = unit_samples(format_name, subtype, sampling_rate, num_channels)
    length = num_samples % (2 * unit) + 2 * unit  # remainder of two units, since an odd number of bytes may be padded
    return unit == 1 or _length_of_silence(format_name, subtype, sampling_rate, num_channels, length) == length


def _length_of_silence(format_name: str, subtype: str, sampling_rate: int, num_channels: int, num_samples: int) -> int:
    """Number of samples that are read back from a file of `num_samples`. If it cannot be written, the result is
    `num_samples`; the writer reports the error later."""
    import soundfile

    file, silence = io.BytesIO(), np.zeros((num_samples, num_channels), np.float32)
    with contextlib.suppress(soundfile.SoundFileError):
        soundfile.write(file, silence, sampling_rate, subtype, format=format_name)
        file.seek(0)
        return soundfile.info(file).frames
    return num_samples
