"""Sample encodings in blocks, such as ADPCM and GSM: a file of them holds whole blocks, so that it may be read back
with more samples than were written."""

import contextlib
import io

import numpy as np

_EXACT = ("VORBIS", "OPUS", "MPEG_LAYER_III", "ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32")
"""Encodings in blocks that come with a number of samples."""


def unit_samples(format_name: str, subtype: str, sampling_rate: int, num_channels: int) -> int:
    """Samples that a file of one sample is read back with, by libsndfile's names of container and encoding; 1 for plain
    ones. Above 1 it is a multiple of the block, and the padding of a chunk counts: AIFF of 8 bits has an even number of
    bytes.
    """
    return 1 if subtype in _EXACT else _length_of_silence(format_name, subtype, sampling_rate, num_channels, 1)


def comes_back(format_name: str, subtype: str, sampling_rate: int, num_channels: int, num_samples: int) -> bool:
    """Whether a file of `num_samples` is read back with as many. A short file with the same remainder tells."""
    unit = unit_samples(format_name, subtype, sampling_rate, num_channels)
    length = num_samples % (2 * unit) + 2 * unit  # of two units: an odd number of bytes may be padded
    return unit == 1 or _length_of_silence(format_name, subtype, sampling_rate, num_channels, length) == length


def _length_of_silence(format_name: str, subtype: str, sampling_rate: int, num_channels: int, num_samples: int) -> int:
    """Samples that are read from a file of `num_samples`; that number for what cannot be written, which is told
    later."""
    import soundfile

    file, silence = io.BytesIO(), np.zeros((num_samples, num_channels), np.float32)
    with contextlib.suppress(soundfile.SoundFileError):
        soundfile.write(file, silence, sampling_rate, subtype, format=format_name)
        file.seek(0)
        return soundfile.info(file).frames
    return num_samples
