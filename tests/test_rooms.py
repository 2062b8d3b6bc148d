import numpy as np
import pytest
from conftest import source

from speech_enhance.audio_datasets import load_audio_dataset
from training.augment import direct_path_first
from training.make_rooms import main


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
    recordings = source(paths[0]).sources[0]
    for index in range(3):
        response = np.trim_zeros(direct_path_first(recordings[index]), "b")  # kept in 16 bits, it ends in zeros
        assert np.abs(response[:2]).max() > 0.5
        decay_db = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2))
        minus_25 = np.flatnonzero(decay_db < -25)[0] / 16000  # Schroeder's curve falls by 60 dB in about rt60
        assert 0.15 * rooms["rt60"][index] < minus_25 < 0.75 * rooms["rt60"][index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "rooms.wav"], "must end in .parquet, got rooms.wav"),
        (["--output", "x.parquet", "--rt60", "0.1", "0.4"], "--rt60 must be LOW HIGH in [0.2, 1]"),
        (["--output", "x.parquet", "--distance", "2", "1"], "--distance must be LOW HIGH in [0.1, 2.5]"),
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
