import math

import numpy as np
import pytest
from conftest import noise

from speech_enhance.metrics import METRICS, estoi, pesq, si_sdr


def test_si_sdr_of_hand_worked_cases():
    reference = np.array([1.0, -1.0, 1.0, -1.0])
    orthogonal = np.array([1.0, 1.0, -1.0, -1.0])
    assert si_sdr(reference + 0.1 * orthogonal, reference) == pytest.approx(20)
    assert si_sdr(5 * (reference + 0.1 * orthogonal) + 3, reference) == pytest.approx(20)
    assert si_sdr(-2 * reference, reference) == math.inf
    assert si_sdr(orthogonal, reference) == -math.inf
    assert math.isnan(si_sdr(reference, np.ones(4)))


def test_values_are_the_packages_own(sample_pair):
    import pesq as pesq_package
    import pystoi

    noisy, clean = sample_pair
    assert pesq(noisy, clean) == pytest.approx(pesq_package.pesq(16000, clean, noisy, "wb"))
    assert estoi(noisy, clean) == pytest.approx(pystoi.stoi(clean, noisy, 16000, extended=True))
    assert pesq(clean, clean) > 4.5
    assert estoi(clean, clean) == pytest.approx(1)


@pytest.mark.parametrize("name", METRICS)
def test_silent_references_have_no_value(name):
    assert math.isnan(METRICS[name](noise(16000), np.zeros(16000)))


@pytest.mark.parametrize("metric", [pesq, estoi])
def test_too_short_clips_have_no_value(metric):
    assert math.isnan(metric(noise(800), noise(800)))


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="equal length"):
        si_sdr(noise(10), noise(11))
    with pytest.raises(ValueError, match="16000"):
        pesq(noise(8000), noise(8000), sampling_rate=8000)
