import numpy as np
import pytest
from conftest import ROOT, noise

from training.evaluation.components import component_levels_db, gain_steps_db

RATE = 16000


@pytest.fixture(scope="module")
def voices():
    """Four seconds of the sample's speech, and the same backwards, which has its spectrum and level."""
    import soundfile

    speech = soundfile.read(ROOT / "samples" / "clean.wav", dtype="float32")[0][: 4 * RATE]
    return speech, speech[::-1].copy()


@pytest.mark.parametrize("other_db", [0, -8])
def test_every_talker_has_its_own_level(voices, other_db):
    first, second = voices[0], 10 ** (other_db / 20) * voices[1]
    levels = component_levels_db(0.5 * first + second, [first, second])
    assert levels == pytest.approx([-6.02, 0], abs=0.05)
    assert component_levels_db(first, [first, second])[0] == pytest.approx(0, abs=0.05)
    assert component_levels_db(first, [first, second])[1] < -25


def test_noise_is_no_talker(voices):
    clean = 0.5 * voices[0] + voices[1]
    hiss = noise(len(clean))
    hiss *= np.sqrt(np.square(clean).mean() / np.square(hiss).mean() / 10)
    assert component_levels_db(clean + hiss, list(voices)) == pytest.approx([-6.02, 0], abs=0.4)


def test_a_talker_who_is_cut_off_for_half_of_the_time_has_lost_3_db():
    first, second = noise(4 * RATE, seed=1), noise(4 * RATE, seed=2)
    gate = (np.arange(4 * RATE) // 8192) % 2
    assert component_levels_db(gate * first + second, [first, second]) == pytest.approx([-3.0, 0], abs=0.3)


def test_early_and_late_part_of_a_room_are_told_apart(voices):
    response = noise(4000, seed=3) * 10 ** (-3 * np.arange(4000) / 4000)
    response[0] = 1
    early, late = (
        np.convolve(voices[0], part)[: 4 * RATE] for part in (response[:800], np.r_[np.zeros(800), response[800:]])
    )
    found = [component_levels_db(early + (1 - dial) * late, [early, late]) for dial in (0, 0.25, 0.5, 0.75)]
    assert [levels[0] for levels in found] == pytest.approx([0] * 4, abs=0.1)
    assert [levels[1] for levels in found] == pytest.approx([0, -2.5, -6.02, -12.04], abs=0.3)
    assert component_levels_db(early, [early, late])[1] < -20


def test_silence_has_no_level():
    assert component_levels_db(np.zeros(RATE), [noise(RATE), noise(RATE, seed=1)]) == [-120, -120]
    assert component_levels_db(noise(RATE), [np.zeros(RATE), np.zeros(RATE)]) == [-120, -120]
    with pytest.raises(ValueError, match="as long as the recording, 100 samples"):
        component_levels_db(np.zeros(100), [np.zeros(100)])


def test_steps_are_those_that_the_reference_lacks():
    audio = noise(RATE) * np.repeat([1, 0.3, 1, 0.3], RATE // 4)
    assert gain_steps_db(0.1 * audio, audio).max() < 1e-6
    pumping = audio.copy()
    pumping[512 * 10 : 512 * 20] *= 0.5
    steps = gain_steps_db(pumping, audio)
    assert np.flatnonzero(steps > 3).tolist() == [9, 19]
    assert steps.max() == pytest.approx(6.02, abs=0.01)
    gap = np.r_[audio[:4096], 1e-4 * audio[4096:8192], audio[8192:]]
    assert gain_steps_db(np.zeros_like(gap), gap).max() < 40  # where the reference is silent, nothing counts
    assert len(gain_steps_db(gap, gap)) == len(steps) - 9
