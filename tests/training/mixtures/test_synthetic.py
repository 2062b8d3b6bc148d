import numpy as np
import pytest
from conftest import power, source, spectrum_share

from training.mixtures import synthetic
from training.mixtures.mixing import MixingConfig, mix

RATE = 16000


def flatness(audio: np.ndarray) -> float:
    """Geometric over arithmetic mean of the power spectrum in frames of 1024: 0.56 for white noise, 0 for tones."""
    frames = np.abs(np.fft.rfft(audio[: len(audio) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024))) ** 2 + 1e-9
    return float(np.mean(np.exp(np.log(frames).mean(axis=1)) / frames.mean(axis=1)))


def crest(audio: np.ndarray) -> float:
    return float(np.abs(audio).max() / np.sqrt(np.mean(audio**2)))


def peaks_hz(audio: np.ndarray) -> np.ndarray:
    """Strongest frequency of every frame of 1024 samples."""
    frames = audio[: len(audio) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
    return np.abs(np.fft.rfft(frames)).argmax(axis=1) * RATE / 1024


@pytest.mark.parametrize(
    ("make", "is_right"),
    [
        (synthetic.siren, lambda sound: flatness(sound) < 0.05 and np.ptp(peaks_hz(sound)) > 100),
        (
            synthetic.beeps,
            lambda sound: (
                flatness(sound[power(sound).argmax() * 320 :][:1600]) < 0.1
                and (power(sound) < 1e-6 * power(sound).max()).mean() > 0.1
            ),
        ),
        (synthetic.rumble, lambda sound: spectrum_share(sound, 0, 500) > 0.97 and np.ptp(np.log10(power(sound))) > 0.5),
        (
            synthetic.band_noise,
            lambda sound: (
                crest(sound) < 6 and max(spectrum_share(sound, 200 * 2**i, 800 * 2**i) for i in range(-2, 6)) > 0.5
            ),
        ),
        (
            synthetic.typing,
            lambda sound: crest(sound) > 6 and 0.02 < (power(sound) > 0.1 * power(sound).mean()).mean() < 0.8,
        ),
        (synthetic.crackle, lambda sound: crest(sound) > 5),
        (synthetic.gusts, lambda sound: spectrum_share(sound, 0, 2500) > 0.9 and np.ptp(np.log10(power(sound))) > 0.5),
        (
            synthetic.music,
            lambda sound: np.median([flatness(sound[i : i + 2048]) for i in range(0, 78000, 2048)]) < 0.2,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_computed_noises_are_what_they_are_called(make, is_right):
    for seed in range(8):
        sound = make(5 * RATE, RATE, np.random.default_rng(seed))
        assert sound.shape == (5 * RATE,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert np.sqrt(np.mean(sound**2)) > 1e-3
        assert is_right(sound), seed
        assert not np.array_equal(sound, make(5 * RATE, RATE, np.random.default_rng(seed + 100)))
        assert make(777, RATE, np.random.default_rng(seed)).shape == (777,)


@pytest.mark.parametrize(("share", "limit"), [("effect_share", 0.4), ("music_share", 0.2)])
def test_computed_noises_take_the_place_of_recorded_ones(corpus, share, limit):
    speech, sounds = source(corpus / "speech"), source(corpus / "noise-*.parquet")
    noise_only = {"clean_share": 0.0, "noise_only_share": 1.0, "synthetic_share": 0.0, "babble_share": 0.0}
    noise_only |= {"second_noise_share": 0.0, "equalize_share": 0.0, "band_limit_share": 0.0}

    def median_flatness(**settings):
        config = MixingConfig(seconds=1.0, **{**noise_only, **settings})
        examples = (mix(speech, sounds, config, np.random.default_rng(seed)) for seed in range(15))
        return np.median([flatness(noisy) for _, noisy in examples])

    assert median_flatness() > 0.5
    assert median_flatness(**{share: 1.0}) < limit
