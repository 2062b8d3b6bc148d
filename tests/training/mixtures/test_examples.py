"""Training examples: everything a step draws is a function of (seed, index) alone."""

import numpy as np
import pytest
import torch
from conftest import flac
from datasets import Dataset

from speech_enhance.mel.spectrogram import MelConfig
from training.config import TrainingConfig
from training.mixtures.examples import TrainingExamples, draw_timestep
from training.mixtures.mixing import MixingConfig
from training.mixtures.sources import SourceConfig


def examples(corpus, length=40, window_frames=64, **changes) -> TrainingExamples:
    sources = {
        "speech": [SourceConfig(str(corpus / "speech"))],
        "noise": [SourceConfig(str(corpus / "noise-*.parquet"))],
        "mixing": MixingConfig(seconds=1.0),
    }
    config = TrainingConfig(output_dir="unused", **{**sources, **changes})
    return TrainingExamples(config, MelConfig(), window_frames, num_train_timesteps=1000, length=length)


def same(first: dict, second: dict) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_an_example_depends_on_seed_and_index_alone(corpus):
    dataset, again, other = examples(corpus), examples(corpus), examples(corpus, seed=1)
    items = [dataset[index] for index in range(5)]
    assert same(again[4], items[4])  # whatever was drawn before
    assert not same(items[3], items[4])
    assert not same(other[4], items[4])
    assert items[0]["noise"].shape == (1, 80, 64)
    assert items[0]["noisy"].shape == items[0]["clean"].shape == (16000,)


def test_preloaded_recordings_give_the_same_examples(corpus):
    assert same(examples(corpus, preload=True)[3], examples(corpus)[3])
    pairs = [SourceConfig(str(corpus / "pairs.parquet"))]
    paired = {"speech": [], "noise": [], "pairs": pairs, "paired_share": 1.0}
    assert same(examples(corpus, **paired, preload=True)[3], examples(corpus, **paired)[3])


def test_shares_are_kept(corpus):
    dataset = examples(
        corpus, terminal_share=0.4, own_estimate_share=0.5, padded_share=0.25, level_jitter_db=3.0, length=400
    )
    dataset._mixture = lambda index: (*[np.zeros(16000, np.float32)] * 2, 0.0)  # its own tests are elsewhere, and slow
    items = [dataset[index] for index in range(400)]
    terminal = np.array([item["timestep"] == 999 for item in items])
    own = np.array([item["own"] for item in items])
    assert 0.33 < terminal.mean() < 0.47
    assert not own[terminal].any()
    assert not any(item["own"] and item["timestep"] < 200 for item in items)
    assert 0.3 < own[~terminal].mean() < 0.5  # 0.5 of those at 200 and above
    starts = np.array([item["start"] for item in items])
    assert starts.min() >= 0
    past = starts > dataset.last_start
    assert starts.max() < dataset.last_start + 48
    assert 0.05 < past.mean() < 0.2
    assert 2.6 < np.std([float(item["level_db"]) for item in items]) < 3.4


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 1.0])
def test_every_batch_has_as_many_draws_of_few_steps(corpus, share):
    dataset = examples(corpus, few_step_share=share)
    dataset._mixture = lambda index: (*[np.zeros(16000, np.float32)] * 2, 0.0)
    few = [dataset[index]["few_steps"] for index in range(40)]
    assert {sum(few[start : start + 20]) for start in (0, 20)} == {round(20 * share)}


def test_several_windows_of_a_mixture(corpus):
    dataset = examples(corpus, windows_per_mixture=2)
    first, second, third = (dataset[index] for index in (0, 1, 2))
    np.testing.assert_array_equal(first["noisy"], second["noisy"])
    assert (first["start"], float(first["level_db"])) != (second["start"], float(second["level_db"]))
    assert not torch.equal(first["noise"], second["noise"])
    assert not np.array_equal(second["noisy"], third["noisy"])
    assert same(examples(corpus, windows_per_mixture=2)[1], second)  # wherever a worker or a resumed run begins


def test_timesteps_cover_the_schedule():
    generator = torch.Generator().manual_seed(0)
    timesteps = [draw_timestep(10, 0.0, generator) for _ in range(300)]
    assert set(timesteps) == set(range(10))


def test_crops_of_recorded_pairs(corpus):
    pairs = [SourceConfig(str(corpus / "pairs.parquet"))]
    dataset = examples(corpus, speech=[], noise=[], pairs=pairs, paired_share=1.0)
    item = dataset[0]
    whole = dataset.pairs.sources[0][0]
    np.testing.assert_array_equal(item["clean"], whole[0])  # as long as a crop
    np.testing.assert_array_equal(item["noisy"], whole[1])
    mixed = examples(corpus, pairs=pairs, paired_share=0.5)
    paired = sum(np.array_equal(mixed[index]["clean"], whole[0]) for index in range(40))
    assert 10 < paired < 30


def test_a_short_pair_ends_in_silence_and_a_long_one_is_cropped_in_step(corpus):
    dataset = examples(
        corpus, speech=[], noise=[], pairs=[SourceConfig(str(corpus / "pairs.parquet"))], paired_share=1.0
    )
    dataset.num_samples = 20000
    clean, noisy = dataset._crop_of_pair(0)
    assert clean.shape == noisy.shape == (20000,)
    assert clean[:16000].any()
    assert not noisy[16000:].any()
    dataset.num_samples = 4000
    whole = dataset.pairs.sources[0][0]
    crops = {int(np.flatnonzero(whole[0] == dataset._crop_of_pair(index)[0][100])[0]) for index in range(9)}
    assert len(crops) > 3
    clean, noisy = dataset._crop_of_pair(1)
    start = int(np.flatnonzero(whole[0] == clean[100])[0]) - 100
    np.testing.assert_array_equal(noisy, whole[1][start : start + 4000])


def test_windows_longer_than_mixtures_are_refused(corpus):
    with pytest.raises(ValueError, match=r"1\.0 s are shorter than a window of 500 frames"):
        examples(corpus, window_frames=500)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores are fine here
def test_streamed_sources_draw_the_same_at_an_index_from_anywhere(tmp_path, corpus):
    rows = Dataset.from_parquet(str(corpus / "noise-0.parquet"))
    repeated = Dataset.from_dict({"audio": [rows[i % 2]["audio"] for i in range(30)], "score": list(range(30))})
    repeated.to_parquet(tmp_path / "many.parquet")
    stream = SourceConfig(str(tmp_path / "many.parquet"), streaming=True, buffer_size=4, refresh=1.0)
    dataset = examples(corpus, noise=[stream])
    forwards = [dataset[index] for index in range(0, 40, 13)]
    backwards = [dataset[index] for index in range(39, -1, -13)][::-1]
    assert all(same(first, second) for first, second in zip(forwards, backwards, strict=True))
    loader = torch.utils.data.DataLoader(dataset, batch_size=1, num_workers=2)
    by_workers = [batch for index, batch in enumerate(loader) if index % 13 == 0]
    assert all(
        np.array_equal(batch["noisy"][0], item["noisy"]) for batch, item in zip(by_workers, forwards, strict=True)
    )


def test_the_dial_comes_with_the_example(corpus, tmp_path):
    """The settings that are off leave every other draw as it is; a recorded pair has the dial 0."""
    before = [examples(corpus)[index] for index in range(6)]
    assert all(item["dereverb"] == 0 for item in before)
    mixing = MixingConfig(seconds=1.0, dereverb_share=1.0, reverb_share=1.0)
    items = [examples(corpus, mixing=mixing)[index] for index in range(6)]
    dials = torch.stack([item["dereverb"] for item in items])
    assert dials.dtype == torch.float32
    assert ((dials > 0) & (dials <= 1)).all()
    for first, second in zip(before, items, strict=True):
        assert all(np.array_equal(first[name], second[name]) for name in ("start", "timestep", "noise", "level_db"))
    pairs = [SourceConfig(str(corpus / "pairs.parquet"))]
    assert examples(corpus, speech=[], noise=[], pairs=pairs, paired_share=1.0, mixing=mixing)[0]["dereverb"] == 0


def test_rooms_with_a_place_for_noise_are_read(corpus, tmp_path):
    response = {"bytes": flac(np.r_[0.9, np.zeros(99)]), "path": "r"}
    Dataset.from_dict({"audio": [response], "noise_audio": [response]}).to_parquet(tmp_path / "rooms.parquet")
    rooms = [SourceConfig(str(tmp_path / "rooms.parquet"))]
    shares = {"seconds": 1.0, "reverb_share": 1.0, "room_share": 1.0}
    in_room = examples(corpus, rooms=rooms, mixing=MixingConfig(**shares, noise_room_share=1.0))
    assert in_room.mixtures.rooms.sources[0].columns == ("audio", "noise_audio")
    assert examples(corpus, rooms=rooms, mixing=MixingConfig(**shares)).mixtures.rooms.sources[0].columns == ("audio",)
    assert np.isfinite(in_room[0]["noisy"]).all()
