"""Mixtures that a device makes of ready tracks."""

import itertools

import numpy as np
import pytest
import torch

from speech_enhance.mel.spectrogram import MelConfig
from training.config import TrainingConfig
from training.mixtures import augment
from training.mixtures.filters import low_pass, low_pass_on_device
from training.mixtures.mixing import MixingConfig
from training.mixtures.sources import SourceConfig
from training.mixtures.tracks import PairedTracks, TrackConfig, TrackDataset


def paired(corpus, process=(0, 1), mixing=None, **changes) -> PairedTracks:
    config = TrainingConfig(
        output_dir="unused",
        speech=[SourceConfig(str(corpus / "speech"))],
        noise=[SourceConfig(str(corpus / "noise-*.parquet"))],
        mixing=MixingConfig(**{"seconds": 1.0} | (mixing or {})),
        tracks=TrackConfig(number=6, uses=4),
        num_workers=0,
        **{"batch_size": 8} | changes,
    )
    return PairedTracks(config, MelConfig(), 64, 1000, torch.device("cpu"), process)


def take(tracks: PairedTracks, number: int, first: int = 0) -> list[dict]:
    return list(itertools.islice(tracks.batches(first), number))


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_batch_depends_on_its_number_alone(corpus):
    whole = take(paired(corpus), 7)
    resumed = take(paired(corpus), 2, first=5)
    assert same(resumed[0], whole[5])
    assert same(resumed[1], whole[6])
    assert not same(whole[5], whole[6])
    assert not same(take(paired(corpus, seed=1), 1)[0], whole[0])
    assert not same(take(paired(corpus, process=(1, 2)), 1)[0], whole[0])


def test_tracks_are_replaced_after_their_uses(corpus):
    tracks = paired(corpus)
    asked = []
    original = TrackDataset.__getitem__
    tracks.tracks.__class__ = type(
        "Watched", (TrackDataset,), {"__getitem__": lambda self, i: asked.append(i) or original(self, i)}
    )
    batches = tracks.batches()
    next(batches)
    assert asked == list(range(6))
    next(batches)
    assert asked == list(range(8))  # a batch of 8 windows uses up 2 tracks of 4 uses
    apart = paired(corpus, process=(1, 2))
    assert list(apart.own_tracks[:3]) == [1, 3, 5]


def test_batches_have_the_shares_that_were_asked_for(corpus):
    mixing = {
        "clean_share": 0.2,
        "noise_only_share": 0.3,
        "high_snr_share": 0.0,
        "band_limit_share": 0.0,
        "snr_db": (0.0, 6.0),
        "speed_range": (1.0, 1.0),
    }
    shares = {
        "terminal_share": 0.4,
        "own_estimate_share": 0.5,
        "few_step_share": 0.25,
        "stochastic_share": 0.5,
        "few_step_number": [1, 3],
        "padded_share": 0.5,
    }
    (batch,) = take(paired(corpus, mixing=mixing, batch_size=400, **shares), 1)
    assert batch["clean"].shape == batch["noisy"].shape == (400, 16000)
    assert batch["noise"].shape == (400, 3, 80, 64)
    silent = (batch["clean"] == 0).all(dim=1)
    passed = (batch["clean"] == batch["noisy"]).all(dim=1)
    assert 0.22 < silent.float().mean() < 0.38
    assert 0.13 < passed.float().mean() < 0.28
    terminal = batch["timestep"] == 999
    assert 0.32 < terminal.float().mean() < 0.48
    assert not batch["own"][terminal].any()
    assert batch["few_steps"].sum() == 100
    assert batch["few_steps"][:8].sum() == 2
    assert 0.42 < batch["stochastic"].float().mean() < 0.58
    last_start = MelConfig().num_frames(16000) - 64
    assert (
        0.1 < (batch["start"] > last_start).float().mean() < 0.3
    )  # half of them are moved, most of those not that far
    assert batch["start"].max() < last_start + 48
    noise = (batch["noisy"] - batch["clean"])[~passed]
    snr_db = -20 * noise.square().mean(dim=1).sqrt().log10()  # the speech has an active RMS of 1
    assert -0.3 < snr_db.min() < 1
    assert 5 < snr_db.max() < 6.3
    level = [augment.active_rms(item.numpy()) for item in batch["clean"][~silent]]
    assert np.median(level) == pytest.approx(1, abs=0.05)


def test_a_band_limit_holds_for_speech_and_noise_alike(corpus):
    (batch,) = take(paired(corpus, mixing={"band_limit_share": 0.5, "snr_db": (-5.0, 0.0)}, batch_size=20), 1)
    spectrum = torch.fft.rfft(batch["noisy"]).abs().square()
    above = spectrum[:, 7600:].sum(dim=1) / spectrum.sum(dim=1)
    assert above[:10].max() < 0.1 * above[10:].median()


def test_a_target_of_its_own_belongs_to_its_speech(corpus):
    """Without noise the target is what is heard, but for late reverberation and rumble."""
    mixing = {"clean_share": 1.0, "noise_only_share": 0.0, "reverb_share": 1.0, "band_limit_share": 0.0}
    (plain,) = take(paired(corpus, mixing=mixing), 1)
    assert torch.equal(plain["clean"], plain["noisy"])
    assert not plain["dereverb"].any()
    (dry,) = take(
        paired(corpus, mixing=mixing | {"dereverb_share": 0.5, "target_high_pass_hz": 60.0}, batch_size=30), 1
    )
    kept = dry["dereverb"] == 0
    assert 0 < kept.sum() < 30
    correlation = torch.nn.functional.cosine_similarity(dry["clean"], dry["noisy"])
    assert correlation[kept].min() > 0.98
    assert correlation[~kept].min() > 0.5
    assert correlation[~kept].mean() < correlation[kept].mean()
    power = (dry["noisy"] - dry["clean"]).square().mean(dim=1) / dry["noisy"].square().mean(dim=1)
    assert power[dry["dereverb"] == 1].median() > 2 * power[kept].median()


def test_the_filter_is_that_of_the_mixtures():
    audio = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    actual = low_pass_on_device(torch.from_numpy(audio), 16000, torch.tensor([[3500.0], [3500.0]])).numpy()
    np.testing.assert_allclose(actual, low_pass(audio, 16000, 3500.0), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"mixing": {"clip_share": 0.1}},
        {"mixing": {"channel_share": 0.1}},
        {"mixing": {"floor_share": 0.1}},
        {"mixing": {"noise_room_share": 0.1, "room_share": 0.1}},
    ],
)
def test_what_the_device_cannot_do_is_refused(corpus, changes):
    with pytest.raises(ValueError, match=r"_share: expected 0 with tracks"):
        paired(corpus, **changes)
    with pytest.raises(ValueError, match="uses must be at least 1, got 0"):
        TrackConfig(uses=0)
