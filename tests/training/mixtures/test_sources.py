import io

import numpy as np
import pytest
import soundfile
from conftest import flac, noise, source

from speech_enhance.audio.datasets import load_audio_dataset
from training.mixtures.loading import decode
from training.mixtures.sources import AudioSource, SourceConfig, SourceMix, StreamingSource
from training.validation import load_pairs


def test_folder_and_parquet_give_the_same_kind_of_audio(corpus):
    for path, length in ((corpus / "speech", 24000), (corpus / "noise-*.parquet", 4000)):
        recordings = AudioSource(SourceConfig(str(path)), 16000)
        assert recordings[0].dtype == np.float32
        assert recordings[0].shape == (length,)
        np.testing.assert_allclose(
            recordings[0], AudioSource(SourceConfig(str(path)), 16000, cache=False)[0], atol=1e-4
        )
        np.testing.assert_array_equal(recordings[0], recordings[0])


def mp3(num_samples: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(num_samples), 16000, format="MP3")
    return file.getvalue()


def flac_without_length(num_samples: int) -> bytes:
    content = bytearray(flac(noise(num_samples)))
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
    return bytes(content)


@pytest.mark.parametrize("content", [mp3(20000) + mp3(10000), flac_without_length(30000), 2 * flac(noise(15000))])
def test_a_row_is_decoded_to_its_end(content):
    """libsndfile alone reads the first of joined files; out of memory no MP3 without a tag, and no FLAC of unknown
    length."""
    audio = decode({"bytes": content, "path": None}, 16000)
    assert audio.shape == (30000,)
    assert audio.dtype == np.float32


def test_folders_with_and_without_metadata(tmp_path):
    (tmp_path / "test" / "deep").mkdir(parents=True)
    for name in ("test/a.wav", "test/deep/b.flac", "ignored.wav"):
        soundfile.write(tmp_path / name, noise(1000 + len(name)), 16000)
    (tmp_path / "test" / "notes.txt").write_text("no audio")
    assert len(load_audio_dataset(str(tmp_path), "test", ["audio"])) == 2
    (tmp_path / "test" / "metadata.csv").write_text("clean_file_name,noisy_file_name,id\na.wav,a.wav,x\n")
    (pair,) = load_pairs(str(tmp_path))
    assert (pair.id, len(pair.noisy)) == ("x", 1010)
    (tmp_path / "test" / "metadata.csv").write_text("clean_file_name,noisy_file_name\na.wav,gone.wav\n")
    with pytest.raises(FileNotFoundError, match=r"1 files that do not exist.*gone\.wav"):
        load_pairs(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no audio files"):
        load_audio_dataset(str(tmp_path / "empty"), "test", ["audio"])


def test_other_rates_are_resampled(corpus):
    assert AudioSource(SourceConfig(str(corpus / "speech")), 8000)[0].shape == (12000,)


def test_rows_below_a_minimum_are_left_out(corpus):
    assert len(AudioSource(SourceConfig(str(corpus / "speech"), minimum={"score": 2}), 16000)) == 2
    with pytest.raises(ValueError, match="no recordings left"):
        AudioSource(SourceConfig(str(corpus / "speech"), minimum={"score": 9}), 16000)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_only_rows_of_a_value(corpus, streaming):
    def drawn(**choice):
        config = SourceConfig(str(corpus / "speech"), streaming=streaming, **choice)
        source = (StreamingSource if streaming else AudioSource)(config, 16000)
        source.seek(0)
        rng = np.random.default_rng(0)
        return {float(source.draw(rng).std()) for _ in range(40)}

    assert len(drawn(only={"corpus": "a"})) == 2
    assert len(drawn(only={"corpus": "a"}, minimum={"score": 1})) == 1
    with pytest.raises(ValueError, match=r"no recordings left .*only: \{'corpus': 'c'\}"):
        drawn(only={"corpus": "c"})
    with pytest.raises(ValueError, match="no column language"):
        drawn(only={"language": "de"})


def test_balance_draws_by_group(corpus):
    balanced = AudioSource(SourceConfig(str(corpus / "speech"), balance_by="corpus", minimum={"score": 1}), 16000)
    rng = np.random.default_rng(0)
    single = sum(balanced.draw(rng).std() == balanced[1].std() for _ in range(400))
    assert 180 < single / (np.sqrt(1) / (np.sqrt(1) + np.sqrt(2))) / 2 < 220  # one row of three, in a group of its own


def test_wrong_sources_are_named(corpus):
    with pytest.raises(FileNotFoundError, match=r"nothing-\*\.parquet"):
        source(corpus / "nothing-*.parquet")
    with pytest.raises(ValueError, match="no column sound; it has audio"):
        source(corpus / "noise-0.parquet", column="sound")
    with pytest.raises(ValueError, match="at least one source"):
        SourceMix([], 16000)


def test_a_stream_moves_on_and_repeats(corpus):
    config = SourceConfig(str(corpus / "noise-0.parquet"), streaming=True, buffer_size=1, refresh=1.0)
    stream, rng = StreamingSource(config, 16000), np.random.default_rng(0)
    whole = AudioSource(SourceConfig(str(corpus / "noise-0.parquet")), 16000, cache=False)
    for index in (0, 1, 2, 3, 1, 6):
        stream.seek(index)
        np.testing.assert_array_equal(stream.draw(rng), whole[index % 2])


def test_a_stream_leaves_out_rows_below_a_minimum(corpus):
    wanted = {"minimum": {"duration": 0.5}, "streaming": True, "buffer_size": 3}
    stream = StreamingSource(SourceConfig(str(corpus / "noise-0.parquet"), **wanted), 16000)
    stream.seek(0)
    assert {len(stream.draw(np.random.default_rng(seed))) for seed in range(9)} == {13000}
    with pytest.raises(ValueError, match="no recordings left"):
        StreamingSource(
            SourceConfig(str(corpus / "noise-0.parquet"), **{**wanted, "minimum": {"duration": 9}}), 16000
        ).seek(0)


def test_a_folder_can_be_streamed(corpus):
    stream = StreamingSource(SourceConfig(str(corpus / "speech"), streaming=True), 16000)
    stream.seek(0)
    assert stream.draw(np.random.default_rng(0)).shape == (24000,)


def test_sources_that_make_no_sense_are_refused(corpus):
    with pytest.raises(ValueError, match="balance_by"):
        SourceConfig("x", streaming=True, balance_by="corpus")
    with pytest.raises(ValueError, match="weight"):
        SourceConfig("x", weight=0.0)
    with pytest.raises(ValueError, match="no column quality; it has audio"):
        source(corpus / "noise-0.parquet", minimum={"quality": 1})


def test_pairs_of_unequal_length_are_refused(tmp_path):
    for name, length in {"clean.wav": 100, "noisy.wav": 101}.items():
        soundfile.write(tmp_path / name, noise(length), 16000)
    (tmp_path / "metadata.csv").write_text("clean_file_name,noisy_file_name\nclean.wav,noisy.wav\n")
    pairs = AudioSource(SourceConfig(str(tmp_path)), 16000, columns=("clean", "noisy"))
    with pytest.raises(ValueError, match=r"row 0: clean and noisy differ in length: \[100, 101\]"):
        pairs[0]


def test_paired_folders(tmp_path):
    for name in ("clean/a.wav", "noisy/a.wav", "clean/deep/b.flac", "noisy/deep/b.flac", "clean/unused.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, noise(500, seed=ord(name[0])), 16000)
    pairs = load_pairs(str(tmp_path))
    assert [pair.id for pair in pairs] == ["a", "deep_b"]
    assert not np.array_equal(pairs[1].clean, pairs[1].noisy)
    (tmp_path / "clean" / "a.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of the files.*a\.wav"):
        load_pairs(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_preloaded_sources_draw_the_same(corpus, streaming):
    config = SourceConfig(str(corpus / "noise-*.parquet"), streaming=streaming)
    draws = []
    for preload in (False, True):
        sources = SourceMix([config], 16000, preload=preload)
        sources.seek(0)
        draws.append([sources.draw(np.random.default_rng(seed)) for seed in range(5)])
    for recordings in zip(*draws, strict=True):
        np.testing.assert_array_equal(*recordings)


def test_a_mistake_in_a_recording_shows_when_it_is_preloaded(tmp_path):
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", noise(1000 if number else 0), 16000)
    with pytest.raises(ValueError, match=r"row 0: the recording is empty"):
        SourceMix([SourceConfig(str(tmp_path))], 16000, preload=True)
