"""Noisy/clean pairs mixed on the fly: every example is a function of (seed, index) alone.

The target is the speech as it would have been recorded in the same place over the same line without the noise. It keeps
its room and passes the channel (band limit, codec) that the mixture passes, since a denoiser removes noise and does not
undo channels. There are three exceptions. The target is not clipped, so what the overdrive adds counts as noise; what
it cut off stays lost, since the pipeline's gain is bounded by 1. A dial asks for less of the late reverberation of a
room. Where `target_high_pass_hz` is set, rumble is removed.
"""

from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from .augment import (
    active_rms,
    add_at,
    chance,
    change_speed,
    clip,
    direct_path_first,
    equalize,
    fade_ends,
    presence,
    random_channel,
    rms,
    shift_pitch,
    slow_gain,
    synthetic_tail,
)
from .channels import dereverberated, reverberate
from .filters import band_pass, low_pass
from .mixing_config import MixingConfig
from .sources import SourceMix
from .synthetic import coloured_hum_or_clicks, effect, music


@dataclass(frozen=True)
class SpeechTrack:
    """Speech of a mixture.

    Args:
        heard: Speech in the mixture, float32 `(samples,)`.
        target: Speech that is wanted: `heard` itself unless there is a room and a dial above 0.
        noise_response: Impulse response of a noise in the same room, or `None`.
    """

    heard: np.ndarray
    target: np.ndarray
    noise_response: np.ndarray | None = None


class MixtureDataset(Dataset):
    """`length` mixtures `{"clean", "noisy", "dereverb"}`: float32 samples, and the dial from 0 to 1 that asks for less
    late reverberation. Item `i` depends on `(seed, i)` only.

    Args:
        speech, noise: Sources that are mixed.
        config: Settings of the mixtures.
        seed: Seed of everything drawn.
        length: Number of mixtures.
        rooms: Impulse responses, needed where `config.room_share` is above 0. Where `config.noise_room_share` is above
            0, they have the columns `audio` and `noise_audio`.
    """

    def __init__(
        self,
        speech: SourceMix,
        noise: SourceMix,
        config: MixingConfig,
        seed: int,
        length: int,
        rooms: SourceMix | None = None,
    ):
        self.speech, self.noise, self.rooms = speech, noise, rooms
        self.config, self.seed, self.length = config, seed, length

    def __len__(self) -> int:
        return self.length

    def seek(self, index: int) -> None:
        """Tell streaming sources which item draws next."""
        for source in (self.speech, self.noise, self.rooms):
            if source is not None:
                source.seek(index)

    def __getitem__(self, index: int) -> dict[str, np.ndarray | float]:
        self.seek(index)
        rng = np.random.default_rng((self.seed, index))
        dereverb = draw_dereverb(self.config, rng)
        clean, noisy = mix(self.speech, self.noise, self.config, rng, self.rooms, dereverb)
        return {"clean": clean, "noisy": noisy, "dereverb": dereverb}


def draw_dereverb(config: MixingConfig, rng: np.random.Generator) -> float:
    """The dial of a mixture, see `dereverb_share`."""
    if not chance(rng, config.dereverb_share):
        return 0.0
    return 1.0 if rng.random() < 0.5 else float(rng.random())


def mix(
    speech: SourceMix,
    noise: SourceMix,
    config: MixingConfig,
    rng: np.random.Generator,
    rooms: SourceMix | None = None,
    dereverb: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """One `(clean, noisy)` pair of `config.seconds`, aligned to the sample, with a peak of at most 1. `dereverb` is the
    dial of `clean`."""
    rate = speech.sampling_rate
    num_samples = round(config.seconds * rate)
    kind = rng.random()
    silence = np.zeros(num_samples, np.float32)
    track = SpeechTrack(silence, silence)
    if kind >= config.noise_only_share:
        track = speech_track(speech, config, num_samples, rng, rooms, dereverb)
    heard, clean = track.heard, track.target
    if chance(rng, config.floor_share):
        floor = equalize(rng.standard_normal(num_samples, dtype=np.float32), rng, deviation_db=8.0)
        floor = floor * noise_scale(heard, floor, rng.uniform(*config.floor_db))
        heard, clean = heard + floor, clean + floor
    background = silence
    if kind < 1 - config.clean_share:
        background = _background(speech, noise, config, heard, rng, rooms, track.noise_response)
    clean = without_rumble(clean, config, rate)
    if rng.random() < config.band_limit_share:
        heard, clean, background = low_pass(np.stack([heard, clean, background]), rate, rng.uniform(3400, 7500))
    noisy = heard + background
    if chance(rng, config.clip_share):
        noisy = clip(noisy, rng)
    if chance(rng, config.channel_share):
        channel = random_channel(rate, rng)
        clean, noisy = _peak_of_one(clean, noisy)  # codecs cut off what lies above
        # Silence stays silence: the network must not learn what a codec makes of it.
        clean, noisy = channel(clean) if clean.any() else clean, channel(noisy)
    return _peak_of_one(clean, noisy)


def speech_track(
    speech: SourceMix,
    config: MixingConfig,
    num_samples: int,
    rng: np.random.Generator,
    rooms: SourceMix | None = None,
    dereverb: float = 0.0,
) -> SpeechTrack:
    """One to three talkers, two or three of them at once, in one room; `dereverb` is the dial of the target."""
    track = _talker(speech, config, num_samples, rng)
    if chance(rng, config.second_talker_share):
        more = _further_talker(speech, config, track, rng)
        if chance(rng, config.third_talker_share):
            more = more + _further_talker(speech, config, track, rng)
        track = track + more
    if rng.random() >= config.reverb_share:
        return SpeechTrack(track, track)
    response, noise_response = _room(config, speech.sampling_rate, rng, rooms)
    responses = [response]
    if dereverb > 0:
        responses.append(dereverberated(response, speech.sampling_rate, dereverb))
    heard, *wanted = reverberate(track, np.stack(responses))
    return SpeechTrack(heard, wanted[0] if wanted else heard, noise_response)


def _talker(speech: SourceMix, config: MixingConfig, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Utterances with pauses between them, at equal level or not. All get the same treatment of the voice."""
    speed = rng.uniform(*config.speed_range)
    unequal = chance(rng, config.level_share)
    track = np.zeros(num_samples, np.float32)
    position = (
        -int(rng.integers(0, num_samples // 4))
        if rng.random() < 0.5
        else int(rng.exponential(0.3) * speech.sampling_rate)
    )
    while position < num_samples:
        utterance = speech.draw(rng)
        if len(utterance) > num_samples and position <= 0:
            utterance = utterance[rng.integers(0, len(utterance) - num_samples // 2) :]
        utterance = utterance[: 2 * num_samples]
        level = 1 / max(active_rms(utterance), 1e-4)
        if unequal:
            level *= 10 ** (rng.uniform(*config.level_db) / 20)
        heard = int((num_samples - position) * max(speed, 1)) + 16  # resampling sees a little beyond the end
        utterance = change_speed(utterance[:heard], speed) * np.float32(level)
        add_at(track, utterance, position)
        position += len(utterance) + int(rng.exponential(0.35) * speech.sampling_rate)
        if rng.random() < 0.15:
            break
    if chance(rng, config.pitch_share):
        track = shift_pitch(track, speech.sampling_rate, rng.uniform(*config.pitch_semitones))
    if rng.random() < config.equalize_share:
        track = equalize(track, rng, deviation_db=3.0)
    return track


def _further_talker(speech: SourceMix, config: MixingConfig, first: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another talker over 30 to 100 % of the track, and silence elsewhere. The level is relative to that of `first`."""
    track = _talker(speech, config, len(first), rng)
    level = np.float32((active_rms(first) or 1.0) * 10 ** (rng.uniform(*config.second_talker_db) / 20))
    length = round(rng.uniform(0.3, 1.0) * len(first))
    start = int(rng.integers(0, len(first) - length + 1))
    part = track[start : start + length] * (level / np.float32(max(active_rms(track), 1e-4)))
    fade_ends(part, speech.sampling_rate // 100)
    further = np.zeros_like(first)
    further[start : start + length] = part
    return further


def _background(
    speech: SourceMix,
    noise: SourceMix,
    config: MixingConfig,
    heard: np.ndarray,
    rng: np.random.Generator,
    rooms: SourceMix | None,
    response: np.ndarray | None,
) -> np.ndarray:
    """Noise at a ratio to the speech `heard`. It is in the room of the speech if there is a `response` for it."""
    background = noise_track(speech, noise, config, len(heard), rng, rooms)
    if response is not None and chance(rng, config.noise_room_share):
        background = reverberate(background, response)
    snr_db = config.high_snr_db if chance(rng, config.high_snr_share) else config.snr_db
    background *= noise_scale(heard, background, rng.uniform(*snr_db))
    return over_time(background, config, speech.sampling_rate, rng)


def over_time(background: np.ndarray, config: MixingConfig, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose level wanders, or that starts or stops within the track, by the shares of `config`."""
    if chance(rng, config.noise_gain_share):
        background = background * slow_gain(len(background), sampling_rate, rng)
    if chance(rng, config.noise_gate_share):
        background = background * presence(len(background), sampling_rate, rng)
    return background


def without_rumble(target: np.ndarray, config: MixingConfig, sampling_rate: int) -> np.ndarray:
    """The target above `target_high_pass_hz`, where that is set."""
    if config.target_high_pass_hz is None:
        return target
    return band_pass(target, sampling_rate, config.target_high_pass_hz, np.inf, order=2)


def noise_track(
    speech: SourceMix,
    noise: SourceMix,
    config: MixingConfig,
    num_samples: int,
    rng: np.random.Generator,
    rooms: SourceMix | None = None,
) -> np.ndarray:
    """One or two noises, each recorded, computed or babble, at unequal level."""
    rate = speech.sampling_rate
    computed = (coloured_hum_or_clicks, effect, music)
    shares = np.cumsum([config.babble_share, config.synthetic_share, config.effect_share, config.music_share])
    track = np.zeros(num_samples, np.float32)
    for level in (1.0, rng.uniform(0.2, 1.0))[: 2 if rng.random() < config.second_noise_share else 1]:
        kind = int(np.searchsorted(shares, rng.random(), side="right"))
        if kind == 0:
            part = _babble(speech, config, num_samples, rng, rooms)
        elif kind <= len(computed):
            part = computed[kind - 1](num_samples, rate, rng)
        else:
            part = _recorded_noise(noise, config, num_samples, rng)
        if rng.random() < config.equalize_share:
            part = equalize(part, rng, deviation_db=5.0)
        part *= np.float32(level / max(rms(part), 1e-5))
        if level < 1 and chance(rng, config.noise_gate_share):
            part = part * presence(num_samples, rate, rng)
        track += part
    return track


def _recorded_noise(noise: SourceMix, config: MixingConfig, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    speed = rng.uniform(*(2 * (np.asarray(config.speed_range) - 1) + 1))
    recording = noise.draw(rng)
    needed = int(num_samples * speed) + 1
    start = int(rng.integers(0, max(1, len(recording) - needed + 1)))
    part = change_speed(recording[start : start + needed], speed)
    if len(part) < num_samples:  # a short recording is repeated from a random point
        part = np.resize(np.roll(part, int(rng.integers(0, len(part)))), num_samples)
    return part[:num_samples]


def _babble(
    speech: SourceMix, config: MixingConfig, num_samples: int, rng: np.random.Generator, rooms: SourceMix | None
) -> np.ndarray:
    near, far = np.zeros((2, num_samples), np.float32)
    fewest, most = config.babble_talkers
    for _ in range(rng.integers(fewest, most + 1)):
        talker = speech.draw(rng)
        talker = np.roll(np.resize(talker, num_samples), int(rng.integers(0, num_samples)))
        track = far if chance(rng, config.distant_talker_share) else near
        track += rng.uniform(0.4, 1.0) * talker / max(active_rms(talker), 1e-4)
    if far.any():  # all distant talkers share one room and one filter: a convolution for each would cost too much
        far = low_pass(far, speech.sampling_rate, rng.uniform(1000, 4000), order=1)
        near += reverberate(far, _room(config, speech.sampling_rate, rng, rooms)[0])
    return near


def _room(
    config: MixingConfig, sampling_rate: int, rng: np.random.Generator, rooms: SourceMix | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Impulse responses of a talker and, where `rooms` have it, of a noise in the same room."""
    if not chance(rng, config.room_share):
        return synthetic_tail(sampling_rate, rng), None
    if rooms is None:
        raise ValueError("`room_share` is above 0 but there are no `rooms` to draw from")
    responses = rooms.draw(rng)
    if responses.ndim == 1:
        return direct_path_first(responses), None
    talker, noise = responses
    return direct_path_first(talker), direct_path_first(noise)


def noise_scale(clean: np.ndarray, background: np.ndarray, snr_db: float) -> float:
    """Factor that puts `background` `snr_db` below the active level of `clean`."""
    speech_rms = active_rms(clean) or 1.0
    return speech_rms / max(rms(background), 1e-6) * 10 ** (-snr_db / 20)


def _peak_of_one(clean: np.ndarray, noisy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    peak = max(np.abs(noisy).max(), np.abs(clean).max(), 1e-3)
    return clean / peak, noisy / peak
