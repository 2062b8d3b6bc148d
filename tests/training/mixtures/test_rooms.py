import numpy as np
import pytest
from conftest import noise, source

from speech_enhance.audio.datasets import load_audio_dataset
from training.corpora.make_rooms import main
from training.mixtures.augment import direct_path_first
from training.mixtures.channels import reverberation_time, with_reverberation_time
from training.mixtures.rooms import LARGEST, room_size, simulate_room


@pytest.mark.slow
def test_rooms_are_written_and_read(tmp_path):
    paths = [tmp_path / "new" / "rooms.parquet", tmp_path / "again.parquet", tmp_path / "other.parquet"]
    for path, seed in zip(paths, ("3", "3", "4"), strict=True):
        main(["--output", str(path), "--count", "3", "--seed", seed, "--rt60", "0.25", "0.5", "--distance", "0.5", "2"])
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    assert not list(tmp_path.rglob("*.partial"))
    rooms = load_audio_dataset(str(paths[0]), "train", ["audio"])
    assert rooms["index"] == [0, 1, 2]
    assert set(rooms["seed"]) == {3}
    assert all(0.25 <= rt60 <= 0.5 for rt60 in rooms["rt60"])
    assert all(0.5 <= distance <= 2 for distance in rooms["distance"])
    for side, shortest, longest in (("room_length", 3.5, 10), ("room_width", 3, 8), ("room_height", 2.4, 4)):
        assert all(shortest <= metres <= longest for metres in rooms[side])
    for column in ("audio", "noise_audio"):
        recordings = source(paths[0], column=column).sources[0]
        for index in range(3):
            response = np.trim_zeros(direct_path_first(recordings[index]), "b")  # kept in 16 bits, it ends in zeros
            assert np.abs(response[:2]).max() > 0.5
            assert reverberation_time(response, 16000) == pytest.approx(rooms["rt60"][index], rel=0.15)


def test_reverberation_time_is_that_of_an_exponential_decay():
    response = noise(16000) * 10 ** (-3 * np.arange(16000) / 16000 / 0.4)
    response[0] = 1
    assert reverberation_time(response, 16000) == pytest.approx(0.4, rel=0.03)
    longer = with_reverberation_time(response, 16000, 0.7)
    assert reverberation_time(longer, 16000) == pytest.approx(0.7, rel=0.01)
    assert longer[0] == 1


def test_a_room_has_a_place_for_talker_and_noise():
    """The longest distance and decay fit, and every response begins with its direct path."""
    size, talker, sound = simulate_room(np.random.default_rng(0), 8000, rt60=0.3, distance=6.0)
    again = simulate_room(np.random.default_rng(0), 8000, rt60=0.3, distance=6.0)
    np.testing.assert_array_equal(talker, again[1])
    assert talker[0] == sound[0] == 1
    assert talker.shape == sound.shape
    assert not np.array_equal(talker, sound)
    assert reverberation_time(sound, 8000) == pytest.approx(0.3, rel=0.02)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rt60, distance = rng.uniform(0.2, 1.2), rng.uniform(0.5, 6.0)
        size = room_size(rng, rt60, distance)
        assert (size <= LARGEST).all()
        assert size[0] >= distance + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "rooms.wav"], "must end in .parquet, got rooms.wav"),
        (["--output", "x.parquet", "--rt60", "0.1", "0.4"], "--rt60 must be LOW HIGH in [0.2, 1.2]"),
        (["--output", "x.parquet", "--distance", "2", "1"], "--distance must be LOW HIGH in [0.1, 6]"),
        (["--output", "x.parquet", "--count", "0"], "--count must be at least 1"),
    ],
)
def test_wrong_options_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
