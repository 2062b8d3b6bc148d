"""What telephones, codecs and rooms do to sound, as pure functions on float32 mono `(samples,)` at full scale ±1.

Every function returns as many samples as it gets, aligned with them: sample `n` of the output belongs to sample `n` of
the input. Codecs run through libsndfile. They clip what exceeds full scale, as the devices do. They are not linear, so
a mixture has to pass as a whole.
"""

import io

import numpy as np
import soundfile
import soxr
from scipy.signal import fftconvolve

from .filters import band_pass

_MARGIN = 0.3  # metres from a wall to a source or microphone


def telephone(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """A line of the fixed network: 300-3400 Hz, 8 kHz, μ-law (ITU-T G.711). Neither filter nor resampler delays."""
    return _narrow_band(audio, sampling_rate, format="WAV", subtype="ULAW")


def gsm(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """An early mobile phone: 300-3400 Hz, 8 kHz, GSM 06.10 full rate at 13 kbit/s. The codec's blocks of 20 ms do not
    delay; the zeros that fill the last one are cut off."""
    return _narrow_band(audio, sampling_rate, format="WAV", subtype="GSM610")


def opus(audio: np.ndarray, sampling_rate: int, bitrate: int = 16000) -> np.ndarray:
    """Opus (RFC 6716), the codec of calls over the internet; libsndfile takes its look-ahead off.

    Args:
        audio: Samples `(samples,)`.
        sampling_rate: Rate of 8000, 12000, 16000, 24000 or 48000.
        bitrate: Bit rate in bit/s, 6000 to 256000. Below about 12000, the codec narrows the band; below 10000, its
            waveform may lie a sample off.
    """
    if not 6000 <= bitrate <= 256000:
        raise ValueError(f"`bitrate` must be in [6000, 256000], got {bitrate}")
    level = (256000 - bitrate) / 250000  # libsndfile spaces its compression levels evenly between these bit rates
    return _round_trip(audio, sampling_rate, format="OGG", subtype="OPUS", compression_level=level)


def mp3(audio: np.ndarray, sampling_rate: int, compression_level: float = 0.7) -> np.ndarray:
    """MP3 at a constant bit rate.

    Args:
        audio: Samples `(samples,)`.
        sampling_rate: Rate that MPEG audio has, such as 16000.
        compression_level: Level of libsndfile, 0 to 0.95. At 16 kHz, 0 is 160 kbit/s, 0.5 about 80, 0.8 about 40 and
            0.95 16 kbit/s.
    """
    if not 0 <= compression_level <= 0.95:
        raise ValueError(f"`compression_level` must be in [0, 0.95], got {compression_level}")
    options = {"compression_level": compression_level, "bitrate_mode": "CONSTANT"}
    coded = _coded(audio, sampling_rate, format="MP3", subtype="MPEG_LAYER_III", **options)
    if len(coded) > len(audio):  # small frames have no room for the note of the delay, by which decoders remove it
        coded = coded[1105:]  # 576 samples of LAME's encoder and 529 of every decoder
    return _fit(coded, len(audio))


def room_impulse_response(
    rng: np.random.Generator,
    sampling_rate: int,
    rt60: tuple[float, float] = (0.2, 0.6),
    distance: tuple[float, float] = (0.5, 2.5),
    size: np.ndarray | None = None,
) -> np.ndarray:
    """The talker's response from [`room_impulse_responses`]."""
    return room_impulse_responses(rng, sampling_rate, rt60, distance, size)[0]


def room_impulse_responses(
    rng: np.random.Generator,
    sampling_rate: int,
    rt60: tuple[float, float],
    distance: tuple[float, float],
    size: np.ndarray | None = None,
    other_sources: int = 0,
) -> list[np.ndarray]:
    """A random shoe-box room by the image-source method (Allen and Berkley 1979), through `pyroomacoustics`.

    The direct path is a single sample of 1 at index 0, so that a convolution neither delays nor changes the level of
    the direct sound; the time of flight is cut off.

    Args:
        rng: Generator that draws room, walls and places.
        sampling_rate: Rate of the responses.
        rt60: Range of the reverberation time by Sabine's formula, in seconds, at least 0.2.
        distance: Range of the distance from talker to microphone, in metres; the smallest room gives 3 m at most.
        size: Length, width and height in metres; by default drawn from 3.5 × 3 × 2.4 to 8 × 6 × 3.5.
        other_sources: Number of further sources, such as of noise, anywhere in the room.

    Returns:
        float32 `(taps,)` of the talker and of every other source, of equal length.
    """
    import pyroomacoustics

    if size is None:
        size = rng.uniform([3.5, 3.0, 2.4], [8.0, 6.0, 3.5])
    decay = rng.uniform(*rt60)
    absorption, max_order = pyroomacoustics.inverse_sabine(decay, size)
    room = pyroomacoustics.ShoeBox(
        size, fs=sampling_rate, materials=pyroomacoustics.Material(absorption), max_order=max_order
    )
    # A flight of whole samples makes the direct path one sample instead of a sinc that begins before its peak.
    flights = [max(1, round(rng.uniform(*distance) / room.c * sampling_rate))]
    source, microphone = _places(rng, size, flights[0] / sampling_rate * room.c)
    room.add_source(source)
    room.add_microphone(microphone)
    for _ in range(other_sources):
        path = rng.uniform([_MARGIN] * 3, size - _MARGIN) - microphone
        flights.append(max(1, int(np.linalg.norm(path) / room.c * sampling_rate)))
        room.add_source(microphone + path / np.linalg.norm(path) * flights[-1] / sampling_rate * room.c)
    threads = pyroomacoustics.constants.get("num_threads")
    pyroomacoustics.constants.set("num_threads", 1)  # the order of its sums depends on it, by default on the machine
    try:
        room.compute_rir()
    finally:
        pyroomacoustics.constants.set("num_threads", threads)
    assert room.rir is not None  # just computed
    first = pyroomacoustics.constants.get("frac_delay_length") // 2
    taps = round(1.2 * decay * sampling_rate)
    return [
        _from_direct_path(response[first + flight :][:taps])
        for flight, response in zip(flights, room.rir[0], strict=True)
    ]


def reverberation_time(response: np.ndarray, sampling_rate: int) -> float:
    """Seconds in which a room's sound decays by 60 dB. They follow from the decay between -5 and -25 dB of Schroeder's
    curve (T20 of ISO 3382-1) after the first 5 ms, in which the direct path lies. `response` begins with that path."""
    tail = response[round(0.005 * sampling_rate) :].astype(np.float64)
    left = np.cumsum(np.square(tail)[::-1])[::-1]
    curve_db = 10 * np.log10(left / left[0] + 1e-12)
    fitted = np.flatnonzero((curve_db <= -5) & (curve_db >= -25))
    slope_db = np.polyfit(fitted / sampling_rate, curve_db[fitted], 1)[0]
    return float(-60 / slope_db)


def with_reverberation_time(response: np.ndarray, sampling_rate: int, seconds: float) -> np.ndarray:
    """A response with another [`reverberation_time`], by an exponential window; its direct path stays as it is.

    Simulated rooms need it: their walls reflect like mirrors, so that they decay more slowly than Sabine's formula
    says.
    """
    time = np.arange(len(response)) / sampling_rate
    for _ in range(3):  # the curve of a simulated room is not quite straight
        rate = 1 / seconds - 1 / reverberation_time(response, sampling_rate)
        response = response * 10 ** (-3 * rate * time)
    return response.astype(np.float32)


def early_part(response: np.ndarray, sampling_rate: int, seconds: float = 0.05) -> np.ndarray:
    """Direct path and reflections of the first 50 ms, which help to understand speech (ISO 3382-1's early energy)."""
    return response[: round(seconds * sampling_rate)]


def dereverberated(response: np.ndarray, sampling_rate: int, dial: float) -> np.ndarray:
    """A response whose part after the first 50 ms is multiplied by 1 - `dial`. The dial runs from 0 (the room as it is)
    to 1 (its early part alone)."""
    weighted = np.array(response)
    weighted[len(early_part(response, sampling_rate)) :] *= 1 - dial
    return weighted


def reverberate(audio: np.ndarray, response: np.ndarray) -> np.ndarray:
    """`audio (samples,)` as heard through an impulse response that begins with its direct path, cut to the length of
    `audio`. Several responses `(…, taps)` give as many results `(…, samples)`."""
    heard = fftconvolve(np.expand_dims(audio, tuple(range(response.ndim - 1))), response, axes=-1)
    return heard[..., : len(audio)].astype(np.float32, copy=False)


def _from_direct_path(response: np.ndarray) -> np.ndarray:
    response = response / response[0]
    response[0] = 1.0
    return response.astype(np.float32)


def _places(rng: np.random.Generator, size: np.ndarray, distance: float):
    """Two points `distance` apart and away from every wall, both between 1 and 1.8 m high."""
    low, high = np.array([_MARGIN, _MARGIN, 1.0]), np.array([size[0] - _MARGIN, size[1] - _MARGIN, 1.8])
    for _ in range(1000):
        source = rng.uniform(low, high)
        direction = rng.standard_normal(3) * [1, 1, 0.2]
        microphone = source + distance * direction / np.linalg.norm(direction)
        if (microphone > low).all() and (microphone < high).all():
            return source, microphone
    raise ValueError(f"no two places {distance:.1f} m apart in a room of {size.round(1)} m")


def _narrow_band(audio: np.ndarray, sampling_rate: int, **encoding) -> np.ndarray:
    narrow = soxr.resample(audio, sampling_rate, 8000)
    coded = _round_trip(band_pass(narrow, 8000, 300, 3400), 8000, **encoding)
    return _fit(soxr.resample(coded, 8000, sampling_rate), len(audio))


def _round_trip(audio: np.ndarray, sampling_rate: int, **encoding) -> np.ndarray:
    return _fit(_coded(audio, sampling_rate, **encoding), len(audio))


def _coded(audio: np.ndarray, sampling_rate: int, **encoding) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, audio.clip(-1, 1), sampling_rate, **encoding)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def _fit(audio: np.ndarray, length: int) -> np.ndarray:
    return np.pad(audio[:length], (0, max(0, length - len(audio))))
