"""What happens to speech in calls and meetings: noisy/clean pairs, each a pure function of speech, noise and `rng`.

A condition takes `clean` and `noise`, float32 mono `(samples,)` of one length, a ratio in dB and `rng`. It returns
`(reference, noisy)`, aligned to the sample. The ratio is that of active speech to noise where they meet: before the
channel, or in the room.

The reference is what a listener would have heard in the same place over the same line without the noise: clean speech
through the same channel. A denoiser removes noise and does not undo channels, so a score against the original speech
would mostly measure the channel. What a codec makes of noise differs from what it makes of clean speech; that part
counts as noise. Rooms are an exception: their late reverberation counts as noise too.
"""

from collections.abc import Callable

import numpy as np

from ..mixtures.augment import fade_ends
from ..mixtures.channels import early_part, gsm, opus, reverberate, room_impulse_response, telephone
from .making import at_ratio, peak_at_most

Condition = Callable[[np.ndarray, np.ndarray, float, np.random.Generator, int], tuple[np.ndarray, ...]]
OPUS_BITRATES = (10000, 12000, 16000, 24000)


def over_telephone(clean, noise, snr_db, rng, sampling_rate):
    """Noise at the talker's end of a line of the fixed network. Reference: the speech alone over that line."""
    return _through(lambda audio: telephone(audio, sampling_rate), clean, noise, snr_db)


def over_gsm(clean, noise, snr_db, rng, sampling_rate):
    """Noise at the talker's end of a mobile call. Reference: the speech alone through the same codec."""
    return _through(lambda audio: gsm(audio, sampling_rate), clean, noise, snr_db)


def over_opus(clean, noise, snr_db, rng, sampling_rate):
    """A call over the internet at 10 to 24 kbit/s. Reference: the speech alone through the codec at that bit rate."""
    bitrate = int(rng.choice(OPUS_BITRATES))
    return _through(lambda audio: opus(audio, sampling_rate, bitrate), clean, noise, snr_db)


def far_field(clean, noise, snr_db, rng, sampling_rate):
    """A talker 1 to 3 m from the microphone in a room, noise beside it. Reference: the direct sound and the reflections
    of the first 50 ms; the rest of the room counts as noise, though `snr_db` leaves it out."""
    response = room_impulse_response(rng, sampling_rate, rt60=(0.3, 0.6), distance=(1.0, 3.0))
    reverberant = reverberate(clean, response)
    reference = reverberate(clean, early_part(response, sampling_rate))
    return peak_at_most(0.99, reference, reverberant + at_ratio(reverberant, noise, snr_db))


def two_talkers(clean, noise, snr_db, rng, sampling_rate):
    """Two talkers in turn (`clean` holds both) in recorded noise. The tone of a room lies 10 dB below the noise.
    Reference: both talkers."""
    noise = noise / max(float(np.sqrt(np.mean(noise**2))), 1e-6)
    background = noise + 10 ** (-10 / 20) * room_tone(len(clean), rng, sampling_rate)
    return peak_at_most(0.99, clean, clean + at_ratio(clean, background, snr_db))


def typing(clean, noise, snr_db, rng, sampling_rate):
    """A keyboard by the microphone. The tone of a room lies 15 dB below the keyboard; `noise` is not used. Reference:
    the speech."""
    keys = keyboard(len(clean), rng, sampling_rate)
    background = keys + 10 ** (-15 / 20) * room_tone(len(clean), rng, sampling_rate)
    return peak_at_most(0.99, clean, clean + at_ratio(clean, background, snr_db))


CONDITIONS: dict[str, Condition] = {
    "telephone": over_telephone,
    "gsm": over_gsm,
    "opus": over_opus,
    "far-field": far_field,
    "two-talkers": two_talkers,
    "typing": typing,
}


def turns(first: np.ndarray, second: np.ndarray, rng: np.random.Generator, sampling_rate: int) -> np.ndarray:
    """Two passages of one length as two talkers in turn, with pauses of 0.3 to 0.8 s. The second talker is up to 6 dB
    louder or softer. The result is as long as one passage."""
    second = second * np.float32(10 ** (rng.uniform(-6, 6) / 20))
    track, position, speaking = np.zeros_like(first), 0, int(rng.integers(2))
    while position < len(track):
        end = position + round(rng.uniform(1.2, 2.4) * sampling_rate)
        if len(track) - end < sampling_rate:  # the last turn would be too short to say anything
            end = len(track)
        track[position:end] = (first, second)[speaking][position:end]
        fade_ends(track[position:end], sampling_rate // 100)
        position, speaking = end + round(rng.uniform(0.3, 0.8) * sampling_rate), 1 - speaking
    return track


def room_tone(num_samples: int, rng: np.random.Generator, sampling_rate: int) -> np.ndarray:
    """A room in which nobody talks: noise that falls by 3 to 6 dB per octave and a faint mains hum, at an RMS of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / sampling_rate), 40)
    track = np.fft.irfft(spectrum * frequency ** -rng.uniform(0.5, 1.0), num_samples)
    track /= np.sqrt(np.mean(track**2))
    time, mains = np.arange(num_samples) / sampling_rate, rng.choice([50, 60])
    for harmonic in range(1, 7):
        track += 0.2 / harmonic * np.sin(2 * np.pi * mains * harmonic * time + rng.uniform(0, 2 * np.pi))
    return (track / np.sqrt(np.mean(track**2))).astype(np.float32)


def keyboard(num_samples: int, rng: np.random.Generator, sampling_rate: int) -> np.ndarray:
    """Someone types: runs of keys, about seven a second. A key has a press and, 60 to 120 ms later, a softer release.
    Each is a click between 1.5 and 6 kHz with a thump at 150 to 300 Hz. The RMS is 1."""
    track = np.zeros(num_samples + sampling_rate)
    position = rng.uniform(0, 0.2)
    while position < num_samples / sampling_rate:
        release = position + rng.uniform(0.06, 0.12)
        for moment, level in ((position, rng.uniform(0.5, 1)), (release, rng.uniform(0.1, 0.4))):
            start, sound = round(moment * sampling_rate), level * _key(rng, sampling_rate)
            track[start : start + len(sound)] += sound
        position += rng.lognormal(np.log(0.14), 0.35) if rng.random() < 0.9 else rng.uniform(0.4, 1.0)
    track = track[:num_samples]
    return (track / np.sqrt(np.mean(track**2))).astype(np.float32)


def _key(rng: np.random.Generator, sampling_rate: int) -> np.ndarray:
    time = np.arange(round(0.04 * sampling_rate)) / sampling_rate
    click = np.zeros_like(time)
    for _ in range(6):
        tone = np.sin(2 * np.pi * rng.uniform(1500, 6000) * time + rng.uniform(0, 2 * np.pi))
        click += tone * np.exp(-time / rng.uniform(0.001, 0.004))
    hiss = rng.standard_normal(len(time)) * np.exp(-time / 0.0015)
    thump = np.sin(2 * np.pi * rng.uniform(150, 300) * time) * np.exp(-time / 0.008)
    return click / 3 + hiss + 0.5 * thump


def _through(channel, clean, noise, snr_db) -> tuple[np.ndarray, ...]:
    # Codecs cut off what lies above full scale, so the loudest peak enters 6 dB below it.
    clean, noisy = peak_at_most(0.5, clean, clean + at_ratio(clean, noise, snr_db))
    return peak_at_most(0.99, channel(clean), channel(noisy))
