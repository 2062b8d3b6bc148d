import io
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
import yaml
from conftest import ROOT, noise
from datasets import Dataset

from training.config import read_config
from training.corpora.cleaning import dynamic_range_db, pieces, trim_gated_silence
from training.corpora.prepare_data import DataConfig, features, main
from training.corpora.shards import ShardWriter, flac
from training.corpora.sides import valid_units
from training.mixtures.augment import active_rms
from training.mixtures.sources import AudioSource, SourceConfig
from training.validation import load_pairs


def words(num_samples: int, seed: int = 0) -> np.ndarray:
    """Sound with the rhythm of speech: half a second loud, half a second 40 dB below."""
    loud = (np.arange(num_samples) // 8000) % 2 == 0
    return noise(num_samples, seed=seed) * np.where(loud, 1, 0.01).astype(np.float32)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A folder of eight talkers with some files that are no use, and Parquet noise with licences per row."""
    folder = tmp_path_factory.mktemp("corpora")
    for index in range(16):
        (folder / "speech" / f"talker{index % 8}").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "speech" / f"talker{index % 8}" / f"{index}.wav", words(32000, seed=index), 16000)
    broken = words(20000)
    broken[5] = np.nan
    soundfile.write(folder / "speech" / "nan.wav", broken, 16000, subtype="FLOAT")
    soundfile.write(folder / "speech" / "short.wav", words(7000), 16000)
    soundfile.write(folder / "speech" / "silent.wav", np.zeros(20000), 16000)
    (folder / "speech" / "text.wav").write_text("no sound")
    soundfile.write(folder / "speech" / "talker0" / "long.wav", words(8000 * 65), 8000)
    sounds = [flac(noise(24000, seed=50 + index), 16000, f"noise-{index}") for index in range(12)]
    licences = ["CC0", "CC BY 4.0", "CC BY-NC 4.0"] * 4
    columns = {"sound": sounds, "kind": ["hum"] * 12, "terms": licences, "upload": [i // 2 for i in range(12)]}
    Dataset.from_dict(columns).to_parquet(folder / "noise.parquet")
    return folder


def config(source, folder, **changes):
    speech = {
        "corpus": "voices",
        "kind": "speech",
        "path": str(source / "speech"),
        "licence": "CC BY 4.0",
        "speaker_pattern": "^(talker.)/",
        "valid_share": 0.4,
    }
    sounds = {
        "corpus": "sounds",
        "kind": "noise",
        "path": str(source / "noise.parquet"),
        "column": "sound",
        "label_column": "kind",
        "licence_column": "terms",
        "where": {"terms": ["CC0", "CC BY 4.0"]},
        "group_column": "upload",
        "valid_share": 0.4,
    }
    content = {"corpora": [speech, sounds], "pairs": {"number": 6, "babble": 2, "snr_db": [0, 10], "seconds": [1, 3]}}
    content.update(changes)
    folder.mkdir(exist_ok=True)
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return content, ["--config", str(folder / "data.yaml"), "--output", str(folder / "out")]


def table(folder, stem):
    files = sorted((folder / "out").glob(f"{stem}-*.parquet"))
    return [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]


def sound(row, column="audio"):
    return soundfile.read(io.BytesIO(row[column]["bytes"]), dtype="float32")


@pytest.fixture(scope="module")
def built(corpora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    main(config(corpora, folder)[1])
    return folder


def test_talkers_and_recordings_are_on_one_side(built):
    speech = {split: table(built, f"speech-{split}") for split in ("train", "valid")}
    talkers = {split: {row["speaker_id"] for row in rows} for split, rows in speech.items()}
    assert not talkers["train"] & talkers["valid"]
    assert talkers["train"] | talkers["valid"] == {f"voices-talker{index}" for index in range(8)}
    assert all(row["split"] == split for split, rows in speech.items() for row in rows)
    sounds = {split: {row["id"] for row in table(built, f"noise-{split}")} for split in ("train", "valid")}
    assert len(sounds["train"]) + len(sounds["valid"]) == 8
    uploads = {split: {int(name.split("-")[1]) // 2 for name in names} for split, names in sounds.items()}
    assert uploads["train"]
    assert uploads["valid"]
    assert not uploads["train"] & uploads["valid"]


def test_shares_are_kept_as_nearly_as_whole_talkers_allow(built):
    def units(kind, split):
        rows = table(built, f"{kind}-{split}")
        return {row["speaker_id"] if kind == "speech" else int(row["id"].split("-")[1]) // 2 for row in rows}

    assert [len(units("speech", split)) for split in ("train", "valid")] == [5, 3]  # 0.4 of 8 talkers
    assert [len(units("noise", split)) for split in ("train", "valid")] == [4, 2]  # 0.4 of 6 uploads


@pytest.mark.parametrize(
    ("number", "share", "expected"),
    [(12, 0.5, 6), (6, 0.3, 2), (3, 0.01, 1), (2, 0.99, 1), (1, 0.5, 0), (5, 0, 0), (5, 1, 5)],
)
def test_each_side_has_a_recording_where_there_are_two(number, share, expected):
    names = [f"recording {index}" for index in range(number)]
    chosen = valid_units(names, share, "0/mine")
    assert len(chosen) == expected
    assert chosen <= set(names)
    assert valid_units(reversed(names), share, "0/mine") == chosen


def test_rows_hold_what_they_say(built):
    for row in table(built, "speech-train") + table(built, "speech-valid"):
        audio, rate = sound(row)
        assert (rate, audio.ndim) == (16000, 1)
        assert row["duration"] == len(audio) / 16000
        assert 1 <= row["duration"] <= 30
        assert (row["licence"], row["corpus"]) == ("CC BY 4.0", "voices")
        assert row["dynamic_range_db"] == pytest.approx(40, abs=2)
    for row in table(built, "noise-train"):
        assert 20 * np.log10(np.abs(sound(row)[0]).max()) == pytest.approx(-6, abs=0.01)
        assert row["licence"] in ("CC0", "CC BY 4.0")
        assert row["label"] == "hum"


def test_long_recordings_are_cut_and_useless_ones_counted(built):
    names = {row["id"]: row["duration"] for row in table(built, "speech-train") + table(built, "speech-valid")}
    long = [names.pop(f"voices/talker0/long#{index}") for index in range(3)]
    assert sum(long) == pytest.approx(65)
    assert len(names) == 16
    text = (built / "out" / "README.md").read_text()
    for reason in ("2 unreadable", "1 too short", "1 silent"):
        assert f"voices: {reason}" in text
    assert "| speech | valid | voices | CC BY 4.0 |" in text
    assert not list((built / "out").glob(".partial*"))


def test_the_trainer_reads_the_result(built):
    speech = AudioSource(
        SourceConfig(
            str(built / "out" / "speech-train-*.parquet"), balance_by="corpus", minimum={"dynamic_range_db": 25}
        ),
        16000,
    )
    assert len(speech) == len(table(built, "speech-train"))
    assert speech.draw(np.random.default_rng(0)).dtype == np.float32
    pairs = load_pairs(str(built / "out" / "pairs-valid-*.parquet"))
    assert [pair.info["snr_db"] for pair in pairs] == [0, 10] * 3
    assert [pair.info["noise"] for pair in pairs].count("babble") == 2
    talkers = {row["speaker_id"] for row in table(built, "speech-valid")}
    for pair in pairs:
        assert pair.info["speaker_id"] in talkers
        assert pair.info["licence"].startswith("CC BY 4.0")
        background = np.sqrt(np.mean((pair.noisy - pair.clean) ** 2))
        assert 20 * np.log10(active_rms(pair.clean) / background) == pytest.approx(pair.info["snr_db"], abs=0.1)


def test_the_same_seed_gives_the_same_bytes(corpora, built, tmp_path):
    for name, seed in (("same", "0"), ("other", "1")):
        main([*config(corpora, tmp_path / name)[1], "--seed", seed])
    same = {file.name: file.read_bytes() for file in (tmp_path / "same" / "out").iterdir()}
    assert same == {file.name: file.read_bytes() for file in (built / "out").iterdir()}
    assert table(tmp_path / "other", "pairs-valid") != table(built, "pairs-valid")


def test_another_corpus_or_fewer_hours_reshuffle_nothing(corpora, built, tmp_path):
    content, arguments = config(corpora, tmp_path)
    content |= {"pairs": None}
    content["corpora"][0]["hours"] = 0.004
    content["corpora"].insert(0, {**content["corpora"][1], "corpus": "more", "stream": True})
    config(corpora, tmp_path, **content)
    main(arguments)
    before = {row["id"]: row["split"] for split in ("train", "valid") for row in table(built, f"speech-{split}")}
    after = {row["id"]: row["split"] for split in ("train", "valid") for row in table(tmp_path, f"speech-{split}")}
    assert 0 < len(after) < len(before)
    assert after.items() <= before.items()
    assert {row["corpus"] for row in table(tmp_path, "noise-train")} == {"more", "sounds"}


def test_no_talker_takes_all_the_hours(corpora, tmp_path):
    content, arguments = config(corpora, tmp_path, pairs=None)
    content["corpora"][0] |= {"hours_per_speaker": 0.0001, "valid_share": 0.0, "where": {}}
    config(corpora, tmp_path, **content)
    main(arguments)
    talkers = [row["speaker_id"] for row in table(tmp_path, "speech-train") if "#" not in row["id"]]
    assert len(talkers) == len(set(talkers)) >= 7


def test_a_shard_has_the_bytes_of_a_file_that_is_written_at_once(tmp_path):
    """Its rows come one by one, and Parquet's pages begin elsewhere where a column is in pieces."""
    sounds, draw = features("noise"), np.random.default_rng(0).bytes
    rows = [{"audio": {"bytes": draw(40000), "path": f"{i}.flac"}, "id": None, "duration": i} for i in range(100)]
    writer = ShardWriter(tmp_path, "noise", sounds, max_bytes=1 << 30)
    for row in rows:
        writer.write(row)
    (shard,) = writer.close()
    whole = pyarrow.Table.from_pylist(rows, schema=sounds.arrow_schema)
    pyarrow.parquet.write_table(whole, tmp_path / "whole")
    assert shard.read_bytes() == (tmp_path / "whole").read_bytes()


def test_shards_are_bounded(corpora, tmp_path):
    main([*config(corpora, tmp_path)[1], "--shard-mb", "0.2"])
    files = sorted((tmp_path / "out").glob("speech-train-*.parquet"))
    assert len(files) > 2
    assert files[-1].name == f"speech-train-{len(files) - 1:05d}-of-{len(files):05d}.parquet"
    assert all(file.stat().st_size < 0.2 * 2**20 + 1.2e6 for file in files)  # the last row may exceed it


@pytest.mark.slow
def test_nothing_is_overwritten_by_accident_or_by_a_failure(corpora, tmp_path, capsys):
    content, arguments = config(corpora, tmp_path)
    main(arguments)
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    with pytest.raises(SystemExit) as refusal:
        main(arguments)
    assert refusal.value.code == 2
    assert "--overwrite" in capsys.readouterr().err
    content["corpora"][1]["valid_share"] = 0
    config(corpora, tmp_path, **content)
    with pytest.raises(SystemExit):
        main([*arguments, "--overwrite"])
    assert "no noise went to validation" in capsys.readouterr().err
    assert before == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    del content["pairs"]
    config(corpora, tmp_path, **content, pairs=None)
    main([*arguments, "--overwrite"])
    assert not list((tmp_path / "out").glob("pairs-*"))
    assert len(table(tmp_path, "noise-train")) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "music"}, "corpora[0]: kind must be speech or noise, got 'music'"),
        ({"licence": None}, "give either licence or licence_column"),
        ({"licens": "x"}, "unknown field 'licens'"),
        ({"valid_share": 2}, "valid_share must be from 0 to 1"),
        ({"path": "nothing-*.parquet"}, "no file matches 'nothing-*.parquet'"),
        ({"speaker_pattern": None, "speaker_column": "who"}, "no column who; it has audio"),
        ({"where": {"audio": "x"}}, "no rows"),
        ({"hours_per_speaker": -1}, "hours_per_speaker must be above 0"),
    ],
)
def test_mistakes_get_one_line(corpora, tmp_path, capsys, change, message):
    content, arguments = config(corpora, tmp_path)
    content["corpora"][0].update(change)
    config(corpora, tmp_path, **content)
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_talker_of_two_entries_is_not_put_on_both_sides(corpora, tmp_path, capsys):
    content, arguments = config(corpora, tmp_path)
    content["corpora"].append({**content["corpora"][0], "valid_share": 1.0})
    config(corpora, tmp_path, **content)
    with pytest.raises(SystemExit):
        main(arguments)
    assert "would be in train and valid" in capsys.readouterr().err


def test_the_config_of_the_repository_is_valid():
    config = read_config(DataConfig, ROOT / "training" / "configs" / "data.yaml")
    assert {corpus.kind for corpus in config.corpora} == {"speech", "noise"}


def test_the_config_of_the_page_keeps_talkers_apart(tmp_path):
    """Each has a folder; of 5 talkers three tenths are 2 as nearly as whole ones allow, and of 3 noises 1."""
    page = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
    text = next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.S) if block.startswith("corpora:"))
    content = yaml.safe_load(text.replace("my/", f"{tmp_path.as_posix()}/")) | {"pairs": None}
    files = [f"speech/talker{index % 5}/{index}.wav" for index in range(15)] + [
        f"noise/{index}.wav" for index in range(3)
    ]
    for index, file in enumerate(files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / file, words(16000, seed=index), 16000)
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    main(["--config", str(tmp_path / "data.yaml"), "--output", str(tmp_path / "out")])
    train, valid = ({row["speaker_id"] for row in table(tmp_path, f"speech-{side}")} for side in ("train", "valid"))
    assert (len(train), len(valid)) == (3, 2)
    assert not train & valid
    assert [len(table(tmp_path, f"noise-{side}")) for side in ("train", "valid")] == [2, 1]


def test_dynamic_range_is_that_of_loud_over_quiet_frames():
    for quiet_db in (-20, -40):
        loud = (np.arange(64000) // 16000) % 2 == 0
        audio = noise(64000) * np.where(loud, 1, 10 ** (quiet_db / 20)).astype(np.float32)
        assert dynamic_range_db(audio, 16000) == pytest.approx(-quiet_db, abs=1.5)
    gated = noise(64000) * ((np.arange(64000) // 16000) % 2 == 0)
    assert dynamic_range_db(gated, 16000) > 60
    assert dynamic_range_db(gated, 16000, gated=True) < 5
    assert np.isfinite(dynamic_range_db(noise(10), 16000))


def test_muted_pauses_are_shortened_and_nothing_else():
    audio = noise(48000)
    np.testing.assert_array_equal(trim_gated_silence(audio, 16000), audio)
    audio[16000:32000] = 0
    trimmed = trim_gated_silence(audio, 16000)
    assert len(trimmed) == pytest.approx(32000 + 0.3 * 16000, abs=320)
    np.testing.assert_array_equal(trimmed[:16000], audio[:16000])
    np.testing.assert_array_equal(trimmed[-16000:], audio[-16000:])
    assert len(trim_gated_silence(0 * audio, 16000)) == 0


def test_pieces_are_equal_and_complete():
    audio = noise(1001)
    assert [len(part) for part in pieces(audio, 400)] == [334, 334, 333]
    np.testing.assert_array_equal(np.concatenate(pieces(audio, 400)), audio)
    assert [len(part) for part in pieces(audio[:0], 400)] == [0]
