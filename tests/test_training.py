import numpy as np
import pytest

from training.mixing import MixingConfig, MixtureDataset, mix
from training.sources import SourceConfig, SourceMix


def source(path, **options) -> SourceMix:
    return SourceMix([SourceConfig(str(path), **options)], 16000)


def test_mixtures_depend_on_seed_and_index_alone(corpus):
    speech, sounds = source(corpus / "speech"), source(corpus / "noise-*.parquet")
    mixtures = MixtureDataset(speech, sounds, MixingConfig(seconds=1.0), seed=3, length=40)
    for index in range(40):
        item = mixtures[index]
        assert item["clean"].shape == item["noisy"].shape == (16000,)
        assert item["clean"].dtype == item["noisy"].dtype == np.float32
        assert np.isfinite(item["noisy"]).all()
        assert np.abs(item["noisy"]).max() <= 1 + 1e-6
    np.testing.assert_array_equal(mixtures[7]["noisy"], mixtures[7]["noisy"])
    other = MixtureDataset(speech, sounds, MixingConfig(seconds=1.0), seed=4, length=40)
    assert not np.array_equal(mixtures[7]["noisy"], other[7]["noisy"])


def test_mixtures_keep_the_promised_ratio(corpus):
    speech, sounds = source(corpus / "speech"), source(corpus / "noise-*.parquet")
    plain = {
        "clean_share": 0.0,
        "noise_only_share": 0.0,
        "reverb_share": 0.0,
        "equalize_share": 0.0,
        "band_limit_share": 0.0,
    }
    for snr_db in (-5.0, 15.0):
        config = MixingConfig(seconds=4.0, snr_db=(snr_db, snr_db), **plain)
        clean, noisy = mix(speech, sounds, config, np.random.default_rng(1))
        power = np.square(clean.reshape(-1, 320)).mean(axis=1)
        active = power[power >= power.mean()].mean()
        assert 10 * np.log10(active / np.mean((noisy - clean) ** 2)) == pytest.approx(snr_db, abs=0.1)
    for kind, index in (("clean_share", 0), ("noise_only_share", 1)):
        clean, noisy = mix(speech, sounds, MixingConfig(**{**plain, kind: 1.0}), np.random.default_rng(1))
        if index == 0:
            np.testing.assert_array_equal(clean, noisy)
        else:
            assert not clean.any()
            assert noisy.any()
