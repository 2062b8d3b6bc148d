import math

import numpy as np
import pytest
from conftest import noise

from speech_enhance.metrics.composite import composite, llr, segmental_snr, wss


def tone(frequency: float, num_samples: int = 8000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(num_samples) / 16000)


def test_segmental_snr_of_hand_worked_cases():
    reference = noise(8000).astype(np.float64)
    assert segmental_snr(0.9 * reference, reference) == pytest.approx(20)  # an error of a tenth in every frame
    assert segmental_snr(-reference, reference) == pytest.approx(-20 * math.log10(2))
    assert segmental_snr(reference, reference) == 35
    assert segmental_snr(100 * reference, reference) == -10
    half = np.concatenate([np.zeros(6000), reference[:6000]])
    assert segmental_snr(half, half) == pytest.approx(35 - 45 * 47 / 96, abs=0.01)  # 47 of 96 frames are silent: -10


def test_segmental_snr_averages_decibels_over_frames():
    reference = np.tile(noise(480), 20).astype(np.float64)
    estimate = reference.copy()
    estimate[:4800] *= 0.9
    estimate[4800:] *= 0.98
    assert segmental_snr(estimate, reference) == pytest.approx((20 + 20 + 20 * math.log10(2.5 * 2)) / 2, abs=0.3)
    assert segmental_snr(estimate[:4800], reference[:4800]) == pytest.approx(20)


def test_llr_compares_envelopes_and_not_levels():
    speech = np.convolve(noise(8000), np.hanning(9))
    assert llr(speech, speech) == pytest.approx(0, abs=1e-12)
    assert llr(-0.3 * speech, speech) == pytest.approx(0, abs=1e-6)
    assert llr(noise(len(speech)), speech) > 1
    assert llr(speech + 0.01 * noise(len(speech), seed=1), speech) > 0.01


def test_llr_of_a_first_order_process_is_that_of_theory():
    """White noise against x[n] = 0.9 x[n-1] + e[n]: the flat predictor's error is the variance, 1 / (1 - 0.81)."""
    white, reference = noise(160000).astype(np.float64), np.zeros(160000)
    for n in range(1, len(white)):
        reference[n] = 0.9 * reference[n - 1] + white[n]
    assert llr(noise(160000, seed=1), reference) == pytest.approx(math.log(1 / 0.19), abs=0.15)


def test_wss_looks_at_slopes_only():
    reference = noise(8000)
    assert wss(reference, reference) == 0
    assert wss(0.1 * reference, reference) == pytest.approx(0, abs=1e-9)
    assert wss(tone(1000), reference) > wss(reference + 0.1 * noise(8000, seed=1), reference) > 0
    above_the_bands = np.fft.irfft(np.fft.rfft(reference) * (np.arange(4001) > 2200))
    assert wss(reference + above_the_bands, reference) < 0.5


def test_the_worst_frames_do_not_count():
    reference = noise(48480).astype(np.float64)  # 400 frames
    estimate = reference.copy()
    estimate[:1200] = tone(300, 1200)  # in 10 of them
    assert wss(estimate, reference) == llr(estimate, reference) == 0
    estimate[:6000] = tone(300, 6000)  # in 50
    assert wss(estimate, reference) > 1
    assert llr(estimate, reference) > 0.1


def test_regressions():
    reference = noise(8000)
    best = composite(reference, reference, 4.5)
    assert best == {"csig": 5, "cbak": 5, "covl": 5}
    estimate = reference + 0.1 * noise(8000, seed=1)
    distance, slope, snr = llr(estimate, reference), wss(estimate, reference), segmental_snr(estimate, reference)
    assert composite(estimate, reference, 2.0) == pytest.approx(
        {
            "csig": 3.093 - 1.029 * distance + 1.206 - 0.009 * slope,
            "cbak": 1.634 + 0.956 - 0.007 * slope + 0.063 * snr,
            "covl": 1.594 + 1.61 - 0.512 * distance - 0.007 * slope,
        }
    )
    assert set(composite(tone(300), reference, 1.0).values()) == {1.0}


def test_agreement_with_an_independent_implementation(sample_pair):
    """Values of the package pysepm-evo 0.1.1; the dither is there because it has none for digital silence."""
    dither = 1e-4 * np.random.default_rng(0).standard_normal(len(sample_pair[0]))
    noisy, clean = (audio.astype(np.float64) + dither for audio in sample_pair)
    assert llr(noisy, clean) == pytest.approx(1.18825207, abs=1e-6)
    assert wss(noisy, clean) == pytest.approx(33.61915650, abs=1e-6)
    assert segmental_snr(noisy, clean) == pytest.approx(-2.08293698, abs=1e-6)


@pytest.mark.parametrize("frequency", [0, 20, 440, 3000])
def test_silence_constants_and_tones_have_finite_distances(frequency):
    silence, other = np.zeros(8000), tone(frequency) if frequency else np.full(8000, 0.5)
    for reference in (noise(8000), other, silence):
        for estimate in (noise(8000), other, silence):
            assert math.isfinite(wss(estimate, reference))
            assert math.isnan(llr(estimate, reference)) == (reference is silence)
            assert reference is silence or 0 <= llr(estimate, reference) < math.inf


def test_llr_leaves_out_frames_without_reference():
    reference, estimate = noise(16000), noise(16000) + 0.1 * noise(16000, seed=1)
    rest = llr(estimate[:8000], reference[:8000])
    reference[8000:] = 0
    assert llr(estimate, reference) == pytest.approx(rest, rel=0.1)


def test_what_makes_no_frame_has_no_value():
    short = noise(599)
    assert all(math.isnan(measure(short, short)) for measure in (llr, wss, segmental_snr))
    assert segmental_snr(noise(600), noise(600)) == 35
    assert all(math.isnan(value) for value in composite(short, short, 1.0).values())
    assert all(math.isnan(value) for value in composite(noise(8000), noise(8000), math.nan).values())


def test_other_rates_keep_the_frame_in_milliseconds():
    reference = noise(8000).astype(np.float64)
    assert segmental_snr(0.9 * reference, reference, sampling_rate=8000) == pytest.approx(20)
    assert llr(reference, reference, sampling_rate=8000) == pytest.approx(0, abs=1e-12)
    assert math.isnan(wss(noise(299), noise(299), sampling_rate=8000))
