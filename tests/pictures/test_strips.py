import numpy as np
import pytest
from conftest import noise

from speech_enhance.pictures.strips import Strip


def chirp_and_silence(sampling_rate: int) -> np.ndarray:
    """Two seconds of a tone at 1 kHz, then two of silence."""
    time = np.arange(2 * sampling_rate) / sampling_rate
    return np.concatenate([0.5 * np.sin(2 * np.pi * 1000 * time), np.zeros(2 * sampling_rate)]).astype(np.float32)


@pytest.mark.parametrize("sampling_rate", [8000, 44100])
@pytest.mark.parametrize("max_columns", [40, 1200])
def test_a_tone_is_where_it_sounds(sampling_rate, max_columns):
    strip = Strip.of(chirp_and_silence(sampling_rate), sampling_rate, max_columns)
    columns = strip.power.shape[1]
    assert columns == 500 if max_columns == 1200 else max_columns <= columns <= 2 * max_columns
    assert strip.duration == 4
    assert columns * strip.column_seconds == pytest.approx(4, abs=strip.column_seconds)
    frequencies = np.linspace(0, sampling_rate / 2, len(strip.power))
    half = int(2 / strip.column_seconds)
    assert np.abs(frequencies[strip.power[:, : half - 3].argmax(axis=0)] - 1000).max() < 40
    assert strip.power[:, half + 3 :].max() < 1e-6 * strip.power.max()
    np.testing.assert_allclose(strip.envelope[:, 5], [-0.5, 0.5], atol=0.01)
    assert not strip.envelope[:, half + 3 :].any()


def test_pooling_keeps_the_mean_power():
    audio = noise(16000 * 20)
    fine, coarse = Strip.of(audio, 16000, 10**6), Strip.of(audio, 16000, 100)
    assert coarse.power.shape[1] <= 200 < fine.power.shape[1]
    assert coarse.power[:, :-1].mean() == pytest.approx(fine.power.mean(), rel=0.02)


def test_blocks_do_not_matter():
    audio = noise(50000, channels=2)
    whole = Strip.of(audio, 16000, 100)
    strip = Strip(16000, 100)
    for block in np.split(audio, [1, 2, 700, 20000, 20001], axis=1):
        strip.push(block)
    strip.finish()
    np.testing.assert_allclose(strip.power, whole.power, rtol=1e-4)
    np.testing.assert_array_equal(strip.envelope, whole.envelope)


@pytest.mark.parametrize("num_samples", [1, 100, 129, 4000])
def test_short_recordings(num_samples):
    strip = Strip.of(noise(num_samples), 16000)
    assert strip.power.shape == (257, -(-num_samples // 128))
    assert np.abs(strip.envelope).max() == np.abs(noise(num_samples)).max()
