"""The level that follows speech with the past alone: bounded speed, no pumping."""

import numpy as np
import pytest
import torch

from speech_enhance.live.level import FREE_FRAMES, START_STEP_DB, ForwardLevel
from speech_enhance.mel.running_level import MAX_STEP_DB, START_FRAMES
from speech_enhance.mel.spectrogram import active_level, frame_power

FRAMES_PER_SECOND = 1 / 0.032


def track_db(audio: np.ndarray) -> np.ndarray:
    """The level in dB after each frame of 32 ms of `audio (samples,)` at 16 kHz."""
    level = ForwardLevel()
    return 20 * np.log10(
        [level.push(float(power)) or 1e-9 for power in frame_power(torch.from_numpy(audio).square(), 512)]
    )


def level_db(audio: np.ndarray) -> float:
    return 20 * np.log10(active_level(torch.from_numpy(audio)[None], 16000).item())


@pytest.fixture(scope="module")
def speech(sample_pair) -> np.ndarray:
    """Some 23 s of clean speech."""
    return np.tile(sample_pair[1], 3)


def hiss(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return (10 ** (level / 20) * np.random.default_rng(seed).standard_normal(round(16000 * seconds))).astype(np.float32)


@pytest.mark.parametrize("background", [None, -70])
def test_speech_after_silence_is_at_its_level_at_once(speech, background):
    """Before it there is digital silence or a faint hiss for 5 s; half a second later the level is within 6 dB."""
    pause = np.zeros(80000, np.float32) if background is None else hiss(5, background)
    track = track_db(np.concatenate([pause, speech]))
    begins = len(pause) // 512 + int(np.flatnonzero(np.abs(speech) > 0.02)[0] // 512)
    after = track[begins + round(0.5 * FRAMES_PER_SECOND) :]
    assert np.abs(after - level_db(speech)).max() < 8
    assert np.abs(after[100:] - level_db(speech)).max() < 4


def test_a_pause_leaves_it_where_it_was(speech):
    track = track_db(np.concatenate([speech, hiss(10, -70), speech]))
    first, second = len(speech) // 512, len(speech) // 512 + 312
    assert np.ptp(track[first:second]) < 1
    assert np.abs(track[second:] - track[first]).max() < 3


def test_a_whisper_after_loud_speech_is_followed_slowly(speech):
    """40 dB lower: no step is larger than the bound, and after a minute the level has come down."""
    track = track_db(np.concatenate([speech, 0.01 * np.tile(speech, 4)]))
    loud = len(speech) // 512
    steps = np.diff(track[loud - 10 :])
    assert np.abs(steps).max() <= MAX_STEP_DB + 1e-6
    assert track[loud + round(3 * FRAMES_PER_SECOND)] > track[loud] - 6
    assert track[-1] < track[loud] - 15


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0])
def test_a_cough_hardly_moves_it(speech, seconds):
    """30 dB above the speech, in the middle of it."""
    cough = hiss(seconds, level_db(speech) + 30)
    middle = len(speech) // 2 // 512 * 512
    plain, coughed = track_db(speech), track_db(np.concatenate([speech[:middle], cough, speech[middle:]]))
    after = coughed[middle // 512 :]
    assert np.abs(after - plain[middle // 512]).max() < 3.5
    assert abs(coughed[-1] - plain[-1]) < 2


def test_a_cough_before_all_speech_is_forgotten_within_seconds(speech):
    cough = hiss(0.3, level_db(speech) + 30)
    track = track_db(np.concatenate([hiss(1, -70), cough, hiss(1, -70, seed=1), speech]))
    assert np.abs(track[-len(speech) // 512 + round(6 * FRAMES_PER_SECOND) :] - level_db(speech)).max() < 4


@pytest.mark.parametrize(("seconds", "louder_db"), [(0.3, 30), (2.0, 30), (2.0, 40)])
def test_speech_right_after_a_loud_beginning_is_at_its_level_soon(speech, seconds, louder_db):
    """The event is the first of all sound. One second after it the level has left it, two seconds later it is right."""
    event = hiss(seconds, level_db(speech) + louder_db)
    noisy = speech + hiss(len(speech) / 16000, level_db(speech) - 15, seed=1)
    after = track_db(np.concatenate([event, noisy]))[-(-len(event) // 512) :] - level_db(noisy)
    assert after[0] > louder_db - 3
    assert np.abs(after[round(FRAMES_PER_SECOND) : round(3 * FRAMES_PER_SECOND)]).mean() < 8
    assert np.abs(after[round(3 * FRAMES_PER_SECOND) :]).max() < 4


def test_a_first_sentence_is_no_event(speech):
    """After it comes a talker who is 30 dB softer, for the time of an answer."""
    track = track_db(np.concatenate([speech[:64000], 10 ** (-30 / 20) * speech[:64000]]))
    spoken, answered = 125, 250
    assert track[answered - 1] > track[spoken] - 15


def test_its_speed_is_bounded(speech):
    rng = np.random.default_rng(3)
    gains = np.repeat(10 ** rng.uniform(-2, 0, 46), 2 * len(speech) // 46 + 1)[: 2 * len(speech)].astype(np.float32)
    level, levels, counts = ForwardLevel(), [], []
    for power in frame_power(torch.from_numpy(gains * np.tile(speech, 2)).square(), 512):
        levels.append(20 * np.log10(level.push(float(power)) or 1e-9))
        counts.append(len(level._first))
    steps, counts = np.abs(np.diff(levels)), np.array(counts[:-1])
    assert START_STEP_DB / 2 < steps[(counts >= FREE_FRAMES) & (counts < START_FRAMES)].max() <= START_STEP_DB + 1e-6
    assert 0 < steps[counts == START_FRAMES].max() <= MAX_STEP_DB + 1e-6


def test_steady_noise_alone_keeps_its_level():
    track = track_db(hiss(20, -40))
    assert np.abs(track[30:] + 40).max() < 1


def test_silence_has_none():
    level = ForwardLevel()
    assert [level.push(0.0) for _ in range(300)] == [0.0] * 300
