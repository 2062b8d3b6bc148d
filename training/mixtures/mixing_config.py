"""How mixtures are made: the settings of `mixing.py`."""

from dataclasses import dataclass

from ..bounds import DECIBELS, Bounds, check_numbers


@dataclass(frozen=True)
class MixingConfig:
    """How mixtures are made. Each `*_share` is a probability; a share of 0 changes no other draw.

    Args:
        seconds: Length of a mixture, of which the training step crops a window.
        snr_db: Range of the ratio of active speech to noise, before the noise changes over time.
        high_snr_share: Mixtures whose ratio is drawn from `high_snr_db` instead: recordings that are good already.
        high_snr_db: Range of the ratio of these mixtures.
        clean_share: Mixtures without noise, so that clean speech learns to pass.
        noise_only_share: Mixtures without speech.
        second_noise_share: Mixtures with two noises.
        synthetic_share: Computed noise (coloured, hum, clicks) in place of a recorded one.
        effect_share: Computed noise of other kinds (sirens, beeps, rumble, bands, typing, crackle, gusts) in its place.
        music_share: Computed chords, arpeggios and drums in its place.
        babble_share: Other talkers in its place.
        babble_talkers: Fewest and most talkers of a babble.
        distant_talker_share: Talkers of a babble that are muffled and in a room.
        noise_gain_share: Mixtures whose noise wanders in level.
        noise_gate_share: Mixtures whose noise starts or stops on the way. A second noise does so on its own.
        reverb_share: Speech put into a small room (it stays in the target: this is a denoiser).
        room_share: Rooms that are drawn from `rooms` of the training config instead of a synthetic decay.
        noise_room_share: Mixtures in such a room whose noise is in it too, elsewhere: `rooms` then need a second column
            of responses, `noise_audio`, as `make_rooms.py` writes it.
        dereverb_share: Mixtures whose dial is above 0. Half of these have a dial of 1: the target is the direct sound
            and the first 50 ms of the room. The others have an evenly drawn dial d: the target also has the later part
            of the room, times 1 - d.
        second_talker_share: Mixtures in which a second talker speaks at once with the first for a part of the time.
            Both belong to the target.
        second_talker_db: Range of the level of the second talker over that of the first.
        third_talker_share: Mixtures with a second talker that also have a third one, whose level is drawn from the same
            range. The third talker belongs to the target too.
        pitch_share: Speech with another pitch at the same pace.
        pitch_semitones: Range of the change of pitch.
        level_share: Mixtures whose utterances differ in level, like those of two talkers in turn.
        level_db: Range of the differences of level.
        floor_share: Speech with a steady noise of its own, as every recording has. The noise stays in the target. It is
            for models of mels, to which the digital silence between utterances would be unlike anything else.
        floor_db: Range of the level of this noise below that of the speech.
        equalize_share: Speech and noise each with a random spectral shape.
        band_limit_share: Mixtures that are low-passed as a whole, between 3.4 and 7.5 kHz.
        clip_share: Mixtures that are overdriven; their target is not.
        channel_share: Mixtures that pass a telephone line, GSM, Opus or MP3; their target passes the same.
        target_high_pass_hz: Frequency below which the target is attenuated, so that rumble counts as noise. The filter
            has second order, no delay, and -3 dB at this frequency. `null` means no filter.
        speed_range: Range of the playback speed of speech, which gives other talkers. That of noise is twice as far
            from 1.

    Raises:
        ValueError: for a share outside [0, 1], shares of exclusive kinds above 1 together, or a range upside down.
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
    noise_room_share: float = 0.0
    dereverb_share: float = 0.0
    second_talker_share: float = 0.0
    second_talker_db: tuple[float, float] = (-8.0, 8.0)
    third_talker_share: float = 0.0
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
    target_high_pass_hz: float | None = None
    speed_range: tuple[float, float] = (0.88, 1.14)

    def __post_init__(self):
        check_numbers(
            self,
            seconds=Bounds(0, 3600, without_low=True),
            snr_db=DECIBELS,
            high_snr_db=DECIBELS,
            babble_talkers=Bounds(1, 1000),
            second_talker_db=DECIBELS,
            pitch_semitones=Bounds(-48, 48),
            level_db=DECIBELS,
            floor_db=DECIBELS,
            target_high_pass_hz=Bounds(0, 500, without_low=True),
            speed_range=Bounds(0.5, 4, without_low=True),  # noise is played at twice the distance from 1
        )
        if self.clean_share + self.noise_only_share > 1:
            raise ValueError("clean_share and noise_only_share exclude each other: together at most 1")
        if self.noise_room_share > 0 and self.room_share == 0:
            raise ValueError("noise_room_share needs a room_share above 0: only simulated rooms have a place for noise")
        if self.synthetic_share + self.effect_share + self.music_share + self.babble_share > 1 + 1e-9:
            raise ValueError("synthetic_, effect_, music_ and babble_share exclude each other: together at most 1")
