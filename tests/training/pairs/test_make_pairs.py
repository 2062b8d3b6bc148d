"""Validation sets made by script: what is in a row is what its columns say."""

import numpy as np
import pytest
from conftest import noise
from datasets import Dataset

from training.corpora.shards import flac
from training.evaluation.components import component_levels_db
from training.evaluation.measure_components import main as measure_components
from training.evaluation.measure_components import measures
from training.mixtures.augment import active_rms
from training.mixtures.channels import early_part
from training.mixtures.loading import decode
from training.mixtures.sources import AudioSource, SourceConfig
from training.pairs.make_pairs import main
from training.pairs.recurrence import recurring_rows
from training.validation import load_pairs

RATE = 16000


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Three talkers with two utterances each, of which one is not clean, and four noises."""
    folder = tmp_path_factory.mktemp("sources")
    rhythm = np.abs(np.sin(np.arange(3 * RATE) * 2 * np.pi / 8000)).astype(np.float32)
    voices = [noise(3 * RATE, seed=index) * rhythm for index in range(6)]
    columns = {
        "audio": [flac(voice, RATE, f"v{index}") for index, voice in enumerate(voices)],
        "speaker_id": list("aabbcc"),
        "licence": ["CC0"] * 6,
        "dynamic_range_db": [40.0] * 5 + [9.0],
    }
    Dataset.from_dict(columns).to_parquet(folder / "speech.parquet")
    sounds = [flac(noise(5 * RATE, seed=20 + index), RATE, f"n{index}") for index in range(4)]
    Dataset.from_dict({"audio": sounds, "label": list("wxyz"), "licence": ["CC BY 4.0"] * 4}).to_parquet(
        folder / "noise.parquet"
    )
    return ["--speech", str(folder / "speech.parquet"), "--noise", str(folder / "noise.parquet")]


def made(sources, name, folder, *arguments):
    """The pairs of a set."""
    path = folder / f"{name}.parquet"
    main([name, *sources, "--output", str(path), *arguments])
    return load_pairs(str(path))


def sound(pair, column):
    return decode(pair.info[column], RATE)


def snr_db(clean, noisy):
    return 20 * np.log10(active_rms(clean) / np.sqrt(np.mean((noisy - clean) ** 2)))


def test_second_holds_no_recording_of_the_first(sources, tmp_path, capsys):
    """The first set has utterances 0 and 2 and noise 1, under names and at levels of its own."""
    speech, sounds = (AudioSource(SourceConfig(sources[index]), RATE) for index in (1, 3))
    used = [(0, 1), (2, 1)]
    clean = [0.3 * speech[row][8000:40000] for row, _ in used]
    noisy = [track + 0.5 * sounds[row][: len(track)] for track, (_, row) in zip(clean, used, strict=True)]
    columns = {
        "clean": [flac(track, RATE, "c") for track in clean],
        "noisy": [flac(track, RATE, "n") for track in noisy],
    }
    Dataset.from_dict(columns).to_parquet(tmp_path / "first.parquet")
    pairs = made(sources, "second", tmp_path, "--exclude", str(tmp_path / "first.parquet"), "--number", "12")
    assert "excluded: 2 of 5 utterances, 1 of 4 noises" in capsys.readouterr().err
    assert [pair.id for pair in pairs] == [f"second_{index:03d}" for index in range(12)]
    assert list(pairs[0].info) == ["id", "snr_db", "noise", "speaker_id", "duration", "licence"]
    assert [pair.info["snr_db"] for pair in pairs[:6]] == [-2.5, 2.5, 7.5, 12.5, 17.5, -2.5]
    assert sum(pair.info["noise"] == "babble" for pair in pairs) == 2
    assert {pair.info["noise"] for pair in pairs} <= {"babble", "w", "y", "z"}
    assert recurring_rows(speech, [pair.clean for pair in pairs]) <= {1, 3, 4}
    assert all(snr_db(pair.clean, pair.noisy) == pytest.approx(pair.info["snr_db"], abs=0.1) for pair in pairs)


def test_second_needs_recordings_that_are_left(sources, tmp_path, capsys):
    columns = {
        name: [flac(AudioSource(SourceConfig(sources[3]), RATE)[row], RATE, "n") for row in range(4)]
        for name in ("clean", "noisy")
    }
    columns["clean"] = [flac(np.zeros(5 * RATE), RATE, "c")] * 4
    Dataset.from_dict(columns).to_parquet(tmp_path / "first.parquet")
    with pytest.raises(SystemExit) as stop:
        made(sources, "second", tmp_path, "--exclude", str(tmp_path / "first.parquet"))
    assert stop.value.code == 2
    assert "first.parquet leaves no noise" in capsys.readouterr().err.splitlines()[-1]


def test_two_talkers_overlap_at_their_ratio(sources, tmp_path):
    pairs = made(sources, "talkers", tmp_path, "--number", "4")
    for index, pair in enumerate(pairs):
        first, second = (sound(pair, name) for name in ("talker_1", "talker_2"))
        np.testing.assert_allclose(first + second, pair.clean, atol=2e-4)
        start, end = (round(pair.info[name] * RATE) for name in ("overlap_start", "overlap_end"))
        assert not first[end:].any()
        assert not second[:start].any()
        assert 0.29 < (end - start) / len(first) < 0.71
        ratio_db = 20 * np.log10(active_rms(first[:end]) / active_rms(second[start:]))
        assert ratio_db == pytest.approx(pair.info["talker_ratio_db"], abs=0.3)
        assert len(set(pair.info["speaker_id"].split("+"))) == 2
        if index % 2:
            assert snr_db(pair.clean, pair.noisy) == pytest.approx(pair.info["snr_db"], abs=0.1)
        else:
            np.testing.assert_allclose(pair.noisy, pair.clean, atol=1e-4)
            assert (pair.info["snr_db"], pair.info["noise"]) == (None, "none")


def test_a_room_has_an_early_and_a_late_part(sources, tmp_path):
    pairs = made(sources, "rooms", tmp_path, "--number", "2")
    assert [pair.info["reverberation_time"] for pair in pairs] == [0.2, 0.4]
    for pair in pairs:
        assert 0.5 <= pair.info["distance"] <= 6
        reverberant = sound(pair, "reverberant")
        assert snr_db(reverberant, pair.noisy) == pytest.approx(pair.info["snr_db"], abs=0.1)
        late = reverberant - pair.clean
        assert 0.01 < np.sqrt(np.mean(late**2) / np.mean(pair.clean**2)) < 1
        first_sound = np.flatnonzero(np.abs(pair.clean) > 3e-4)[0]
        assert not (np.abs(late[: first_sound + len(early_part(late, RATE)) - 20]) > 2e-4).any()


def test_a_third_talker_speaks_where_both_do(sources, tmp_path):
    for pair in made(sources, "three", tmp_path, "--number", "2"):
        *_, third = tracks = [sound(pair, f"talker_{one}") for one in (1, 2, 3)]
        np.testing.assert_allclose(sum(tracks), pair.clean, atol=3e-4)
        start, end = (round(pair.info[name] * RATE) for name in ("overlap_start", "overlap_end"))
        assert third[start:end].any()
        assert not third[:start].any()
        assert not third[end:].any()
        assert sorted(pair.info["speaker_id"].split("+")) == ["a", "b", "c"]
        row = measures([pair])[0](pair, 0.5 * pair.noisy)
        assert [row[name] for name in ("louder_db", "softer_db", "lowest_db")] == pytest.approx([-6.02] * 3, abs=0.3)


@pytest.mark.parametrize("name", ["talkers", "rooms"])
def test_the_same_seed_gives_the_same_bytes(sources, tmp_path, name):
    number = {"talkers": "3", "rooms": "1"}[name]
    for folder, arguments in {"a": [], "b": [], "c": ["--seed", "5"]}.items():
        made(sources, name, tmp_path / folder, "--number", number, *arguments)
    a, b, c = ((tmp_path / folder / f"{name}.parquet").read_bytes() for folder in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--number", "0"], "--number must be at least 1"),
        (["--output", "pairs.wav"], "--output must end in .parquet"),
        (["--minimum-dynamic-range", "90"], "no recordings left"),
        (["--noise", "nothing.parquet"], "no file matches 'nothing.parquet'"),
    ],
)
def test_mistakes_get_one_line(sources, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(["talkers", *sources, "--output", str(tmp_path / "pairs.parquet"), *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_measures_of_talkers_and_rooms(sources, tmp_path):
    pair = made(sources, "talkers", tmp_path, "--number", "1")[0]
    row, group, headings = measures([pair])
    same, halved = row(pair, pair.noisy), row(pair, 0.5 * sound(pair, "talker_1") + sound(pair, "talker_2"))
    assert (same["noise"], same["lowest_db"], same["largest_step_db"]) == (
        "without noise",
        0,
        pytest.approx(0, abs=0.01),
    )
    assert halved["lowest_db"] == pytest.approx(-6.02, abs=0.1)
    assert sorted([halved["softer_db"], halved["louder_db"]]) == pytest.approx([-6.02, 0], abs=0.1)
    assert set(headings) | {group} == set(same)
    pair = made(sources, "rooms", tmp_path, "--number", "1")[0]
    row, group, headings = measures([pair])
    dry = row(pair, pair.clean)
    assert dry["late_db"] < -15
    assert set(headings) | {group} == set(dry)
    assert component_levels_db(pair.clean, [pair.clean])[0] == pytest.approx(0, abs=0.01)


@pytest.mark.slow
def test_report(sources, tiny_model, dial_model, tmp_path, capsys):
    made(sources, "talkers", tmp_path, "--number", "2")
    pairs, output = str(tmp_path / "talkers.parquet"), str(tmp_path / "r")
    measure_components(["--pairs", pairs, "--model", str(tiny_model), "--output", output, "--steps", "2"])
    assert "| with noise (1 files) |" in (tmp_path / "r.md").read_text()
    with pytest.raises(SystemExit):
        measure_components(["--pairs", sources[1].replace("speech", "nothing"), "--model", str(tiny_model)])
    made(sources, "rooms", tmp_path, "--number", "2")
    rooms = ["--pairs", str(tmp_path / "rooms.parquet"), "--output", output, "--dereverb", "0", "0.5"]
    measure_components([*rooms, "--model", str(dial_model)])
    assert "## With the dial for reverberation at 0.5" in (tmp_path / "r.md").read_text()
    with pytest.raises(SystemExit):
        measure_components([*rooms, "--model", str(tiny_model)])
    assert "not trained to remove reverberation" in capsys.readouterr().err


def test_words_have_every_clean_utterance_at_every_ratio(sources, tmp_path, capsys):
    pairs = made(sources, "words", tmp_path)
    assert "words.parquet: 25 pairs" in capsys.readouterr().out
    assert list(pairs[0].info) == ["id", "utterance", "snr_db", "noise", "speaker_id", "duration", "licence"]
    assert [pair.id for pair in pairs[4:6]] == ["words_000_17.5dB", "words_001_-2.5dB"]
    speech = AudioSource(SourceConfig(sources[1]), RATE)
    for row in range(5):  # the sixth utterance is not clean
        of_utterance = [pair for pair in pairs if pair.info["utterance"] == f"words_{row:03d}"]
        assert [pair.info["snr_db"] for pair in of_utterance] == [-2.5, 2.5, 7.5, 12.5, 17.5]
        assert len({(pair.info["noise"], pair.info["speaker_id"], pair.info["licence"]) for pair in of_utterance}) == 1
        for pair in of_utterance:
            np.testing.assert_array_equal(pair.clean, of_utterance[0].clean)
            assert snr_db(pair.clean, pair.noisy) == pytest.approx(pair.info["snr_db"], abs=0.1)
            assert np.abs(pair.noisy).max() < 1
        assert np.corrcoef(of_utterance[0].clean, speech[row])[0, 1] > 0.999
        noises = [(pair.noisy - pair.clean) * 10 ** (pair.info["snr_db"] / 20) for pair in of_utterance]
        assert all(np.corrcoef(noises[0], other)[0, 1] > 0.98 for other in noises)
    first = (tmp_path / "words.parquet").read_bytes()
    few = made(sources, "words", tmp_path, "--overwrite", "--number", "7")
    assert [pair.id for pair in few] == [pair.id for pair in pairs[:7]]
    np.testing.assert_array_equal(few[6].noisy, pairs[6].noisy)
    made(sources, "words", tmp_path, "--overwrite")
    assert (tmp_path / "words.parquet").read_bytes() == first
    with pytest.raises(SystemExit):
        made(sources, "words", tmp_path, "--overwrite", "--number", "26")
    assert "5 clean utterances give 25 pairs, got --number 26" in capsys.readouterr().err.splitlines()[-1]
