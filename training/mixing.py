"""Noisy/clean pairs mixed on the fly: every example is a function of (seed, index) alone.

The target is the speech as it would have been recorded in the same place over the same line without the noise: it keeps
its room and passes the channel (band limit, codec) that the mixture passes, since a denoiser removes noise and does not
undo channels. The one exception is clipping: the target is not clipped, so that what the overdrive adds counts as noise.
What it cut off stays lost, since the pipeline's gain is bounded by 1.
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
    low_pass,
    presence,
    random_channel,
    shift_pitch,
    slow_gain,
    synthetic_tail,
)
from .bounds import DECIBELS, Bounds, check_numbers
from .channels import reverberate
from .sources import SourceMix
from .synthetic import coloured_hum_or_clicks, effect, music


@dataclass(frozen=True)
class MixingConfig:
    """How mixtures are made; each `*_share` is a probability, and one of 0 changes no other draw.

    Args:
        seconds: Length of a mixture, of which the training step crops a window.
        snr_db: Range of the ratio of active speech to noise, before the noise changes over time.
        high_snr_share: Mixtures whose ratio is drawn from `high_snr_db` instead: recordings that are good already.
        high_snr_db: See above.
        clean_share: Mixtures without noise, so that clean speech learns to pass.
        noise_only_share: Mixtures without speech.
        second_noise_share: Mixtures with two noises.
        synthetic_share: Noise made here (coloured, hum, clicks) in place of a recorded one.
        effect_share: Noise made here of more kinds (sirens, beeps, rumble, bands, typing, crackle, gusts) likewise.
        music_share: Chords, arpeggios and drums made here likewise.
        babble_share: Noise made of other talkers likewise.
        babble_talkers: Fewest and most talkers of a babble.
        distant_talker_share: Talkers of a babble that are muffled and in a room.
        noise_gain_share: Mixtures whose noise wanders in level.
        noise_gate_share: Mixtures whose noise starts or stops on the way; a second noise does by itself likewise.
        reverb_share: Speech put into a small room (it stays in the target: this is a denoiser).
        room_share: Rooms that are drawn from `rooms` of the training config instead of a synthetic decay.
        pitch_share: Speech with another pitch at the same pace.
        pitch_semitones: Range of that.
        level_share: Mixtures whose utterances differ in level, as of two talkers in turn.
        level_db: Range of that.
        floor_share: Speech with a steady noise of its own, as every recording has, that stays in the target: for models
            of mels, to which the digital silence between utterances would be a world of its own.
        floor_db: Range of how far below the speech that is.
        equalize_share: Speech and noise each with a random spectral shape.
        band_limit_share: The whole mixture low-passed between 3.4 and 7.5 kHz.
        clip_share: Mixtures overdriven; the target is not.
        channel_share: Mixture and target each through the same telephone line, GSM, Opus or MP3.
        speed_range: Playback speed of speech (other talkers) and, twice as far from 1, of noise.

    Raises:
        ValueError: for a number out of its range, shares of exclusive kinds above 1 together, or a range upside down.
    """

    seconds: float = 5.0
    snr_db: tuple[float, float] = (-5.0, 20.0)
    high_snr_share: float = 0.0
    high_snr_db: tuple[float, float] = (20.0, 40.0)
    clean_share: float = 0.04
    noise_only_share: float = 0.03
    second_noise_share: float = 0.25
    synthetic_share: float = 0.15
    effect_share: float = 0.0
    music_share: float = 0.0
    babble_share: float = 0.1
    babble_talkers: tuple[int, int] = (3, 8)
    distant_talker_share: float = 0.0
    noise_gain_share: float = 0.0
    noise_gate_share: float = 0.0
    reverb_share: float = 0.2
    room_share: float = 0.0
    pitch_share: float = 0.0
    pitch_semitones: tuple[float, float] = (-4.0, 4.0)
    level_share: float = 0.0
    level_db: tuple[float, float] = (-8.0, 8.0)
    floor_share: float = 0.0
    floor_db: tuple[float, float] = (45.0, 75.0)
    equalize_share: float = 0.5
    band_limit_share: float = 0.08
    clip_share: float = 0.0
    channel_share: float = 0.0
    speed_range: tuple[float, float] = (0.88, 1.14)

    def __post_init__(self):
        check_numbers(
            self,
            seconds=Bounds(0, 3600, without_low=True),
            snr_db=DECIBELS,
            high_snr_db=DECIBELS,
            babble_talkers=Bounds(1, 1000),
            pitch_semitones=Bounds(-48, 48),
            level_db=DECIBELS,
            floor_db=DECIBELS,
            speed_range=Bounds(0.5, 4, without_low=True),  # noise is played at twice the distance from 1
        )
        if self.clean_share + self.noise_only_share > 1:
            raise ValueError("clean_share and noise_only_share exclude each other: together at most 1")
        if self.synthetic_share + self.effect_share + self.music_share + self.babble_share > 1 + 1e-9:
            raise ValueError("synthetic_, effect_, music_ and babble_share exclude each other: together at most 1")


class MixtureDataset(Dataset):
    """`length` mixtures `{"clean", "noisy"}` of float32 samples; item `i` depends on `(seed, i)` only.

    Args:
        speech, noise: What is mixed.
        config: How.
        seed: Of everything drawn.
        length: Number of mixtures.
        rooms: Impulse responses, needed where `config.room_share` is above 0.
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

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        for source in (self.speech, self.noise, self.rooms):
            if source is not None:
                source.seek(index)
        rng = np.random.default_rng((self.seed, index))
        clean, noisy = mix(self.speech, self.noise, self.config, rng, self.rooms)
        return {"clean": clean, "noisy": noisy}


def mix(
    speech: SourceMix,
    noise: SourceMix,
    config: MixingConfig,
    rng: np.random.Generator,
    rooms: SourceMix | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One `(clean, noisy)` pair of `config.seconds`, sample-aligned, peak at most 1."""
    rate = speech.sampling_rate
    num_samples = round(config.seconds * rate)
    kind = rng.random()
    clean = np.zeros(num_samples, np.float32)
    if kind >= config.noise_only_share:
        clean = speech_track(speech, config, num_samples, rng, rooms)
    if chance(rng, config.floor_share):
        floor = equalize(rng.standard_normal(num_samples, dtype=np.float32), rng, deviation_db=8.0)
        clean = clean + floor * noise_scale(clean, floor, rng.uniform(*config.floor_db))
    background = np.zeros(num_samples, np.float32)
    if kind < 1 - config.clean_share:
        background = noise_track(speech, noise, config, num_samples, rng, rooms)
        snr_db = config.high_snr_db if chance(rng, config.high_snr_share) else config.snr_db
        background *= noise_scale(clean, background, rng.uniform(*snr_db))
        if chance(rng, config.noise_gain_share):
            background *= slow_gain(num_samples, rate, rng)
        if chance(rng, config.noise_gate_share):
            background *= presence(num_samples, rate, rng)
    if rng.random() < config.band_limit_share:
        clean, background = low_pass(np.stack([clean, background]), rate, rng.uniform(3400, 7500))
    noisy = clean + background
    if chance(rng, config.clip_share):
        noisy = clip(noisy, rng)
    if chance(rng, config.channel_share):
        channel = random_channel(rate, rng)
        clean, noisy = _peak_of_one(clean, noisy)  # codecs cut off what lies above
        # Silence stays silence: what a codec makes of it is not to be learnt.
        clean, noisy = channel(clean) if clean.any() else clean, channel(noisy)
    return _peak_of_one(clean, noisy)


def speech_track(
    speech: SourceMix,
    config: MixingConfig,
    num_samples: int,
    rng: np.random.Generator,
    rooms: SourceMix | None = None,
) -> np.ndarray:
    """Utterances with pauses between them, at equal level or not, one voice treatment and one room for all."""
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
        utterance = change_speed(utterance[: 2 * num_samples], speed)
        utterance = utterance / max(active_rms(utterance), 1e-4)
        if unequal:
            utterance = utterance * np.float32(10 ** (rng.uniform(*config.level_db) / 20))
        add_at(track, utterance, position)
        position += len(utterance) + int(rng.exponential(0.35) * speech.sampling_rate)
        if rng.random() < 0.15:
            break
    if chance(rng, config.pitch_share):
        track = shift_pitch(track, speech.sampling_rate, rng.uniform(*config.pitch_semitones))
    if rng.random() < config.equalize_share:
        track = equalize(track, rng, deviation_db=3.0)
    if rng.random() < config.reverb_share:
        track = reverberate(track, _room(config, speech.sampling_rate, rng, rooms))
    return track


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
        part = level * part / max(np.sqrt(np.mean(part**2)), 1e-5)
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
    if len(part) < num_samples:  # a short recording repeats from a random point on
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
    if far.any():  # one room and one filter for all who are far: a convolution each would cost too much
        far = low_pass(far, speech.sampling_rate, rng.uniform(1000, 4000), order=1)
        near += reverberate(far, _room(config, speech.sampling_rate, rng, rooms))
    return near


def _room(config: MixingConfig, sampling_rate: int, rng: np.random.Generator, rooms: SourceMix | None) -> np.ndarray:
    if chance(rng, config.room_share):
        if rooms is None:
            raise ValueError("`room_share` is above 0 but there are no `rooms` to draw from")
        return direct_path_first(rooms.draw(rng))
    return synthetic_tail(sampling_rate, rng)


def noise_scale(clean: np.ndarray, background: np.ndarray, snr_db: float) -> float:
    """Factor that puts `background` `snr_db` below the active level of `clean`."""
    speech_rms = active_rms(clean) or 1.0
    return speech_rms / max(float(np.sqrt(np.mean(background**2))), 1e-6) * 10 ** (-snr_db / 20)


def _peak_of_one(clean: np.ndarray, noisy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    peak = max(np.abs(noisy).max(), np.abs(clean).max(), 1e-3)
    return clean / peak, noisy / peak
