import numpy as np
import pytest
from conftest import noise
from datasets import Dataset

from training.corpora.shards import flac
from training.mixtures.augment import active_rms
from training.mixtures.channels import (
    early_part,
    gsm,
    mp3,
    opus,
    reverberate,
    room_impulse_response,
    telephone,
)
from training.mixtures.filters import band_pass
from training.pairs.call_conditions import CONDITIONS, keyboard, room_tone, turns
from training.pairs.make_calls import main
from training.validation import load_pairs

RATE = 16000
CHANNELS = {
    "telephone": telephone,
    "gsm": gsm,
    "opus": opus,
    "opus at 10 kbit/s": lambda audio, rate: opus(audio, rate, 10000),
    "mp3": mp3,
    "mp3 at 16 kbit/s": lambda audio, rate: mp3(audio, rate, 0.95),
}


def lag(first: np.ndarray, second: np.ndarray) -> int:
    """Samples by which `second` comes later than `first`, from the peak of their cross-correlation."""
    size = 2 * len(first)
    correlation = np.fft.irfft(np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size)), size)
    return int((np.argmax(correlation) + len(first)) % size) - len(first)


def level_db(audio: np.ndarray, low: float, high: float) -> float:
    spectrum, frequency = np.abs(np.fft.rfft(audio)) ** 2, np.fft.rfftfreq(len(audio), 1 / RATE)
    return float(10 * np.log10(spectrum[(frequency >= low) & (frequency < high)].sum() + 1e-9))


@pytest.fixture(scope="module")
def speech():
    import soundfile
    from conftest import ROOT

    return soundfile.read(ROOT / "samples" / "clean.wav", dtype="float32")[0][: 3 * RATE + 1]


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_keep_length_and_time(name, speech):
    for length in (len(speech), 30001):
        heard = CHANNELS[name](speech[:length], RATE)
        assert heard.shape == (length,)
        assert heard.dtype == np.float32
        assert lag(speech[:length], heard) == 0
        assert 0.5 < np.corrcoef(speech[:length], heard)[0, 1] < 0.9999
    np.testing.assert_array_equal(CHANNELS[name](speech, RATE), CHANNELS[name](speech, RATE))
    assert CHANNELS[name](speech[:7], RATE).shape == (7,)


@pytest.mark.parametrize("channel", [telephone, gsm])
def test_telephones_are_narrow(channel):
    audio = noise(RATE)
    heard = channel(audio, RATE)
    assert level_db(heard, 4100, 8000) < level_db(audio, 4100, 8000) - 30
    assert level_db(heard, 0, 150) < level_db(audio, 0, 150) - 10
    assert abs(level_db(heard, 500, 3000) - level_db(audio, 500, 3000)) < 6


def test_channels_refuse_rates_they_do_not_have():
    with pytest.raises(ValueError, match=r"bitrate.*5000"):
        opus(noise(100), RATE, 5000)
    with pytest.raises(ValueError, match=r"compression_level.*1\.0"):
        mp3(noise(100), RATE, 1.0)


def test_band_pass_has_no_delay_and_its_edges_at_3_db():
    time = np.arange(RATE) / RATE
    for frequency, gain_db in ((1000, 0), (300, -3), (3400, -3)):
        tone = np.sin(2 * np.pi * frequency * time).astype(np.float32)
        middle = slice(4000, 12000)
        passed = band_pass(tone, RATE, 300, 3400)[middle]
        gain = (passed @ tone[middle]) / (tone[middle] @ tone[middle])
        assert 20 * np.log10(gain) == pytest.approx(gain_db, abs=0.1)
        np.testing.assert_allclose(passed, gain * tone[middle], atol=1e-2)


def test_rooms_begin_with_their_direct_path(speech):
    response = room_impulse_response(np.random.default_rng(3), RATE)
    np.testing.assert_array_equal(response, room_impulse_response(np.random.default_rng(3), RATE))
    assert (response[0], response.dtype) == (1, np.float32)
    assert np.abs(response).argmax() == 0
    late = np.sum(response[len(response) // 2 :] ** 2)
    assert 0 < late < 0.05 * np.sum(response**2)
    assert len(early_part(response, RATE)) == 800
    heard = reverberate(speech, response)
    assert heard.shape == speech.shape
    np.testing.assert_allclose(reverberate(speech, response[:1]), speech, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONDITIONS)
def test_noisy_and_reference_are_aligned(name, speech):
    for snr_db in (0.0, 15.0):
        sound = noise(len(speech), seed=5)
        reference, noisy = CONDITIONS[name](speech, sound, snr_db, np.random.default_rng(0), RATE)
        assert reference.shape == noisy.shape == speech.shape
        assert reference.dtype == noisy.dtype == np.float32
        assert max(np.abs(noisy).max(), np.abs(reference).max()) <= 1
        assert lag(reference, noisy) == 0
        again = CONDITIONS[name](speech, sound, snr_db, np.random.default_rng(0), RATE)
        np.testing.assert_array_equal(noisy, again[1])


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_reference_is_where_the_speech_was(name):
    """With white noise for speech the correlation has one peak, which a voice's periods and a room do not blur."""
    audio = noise(20000)
    reference, _ = CONDITIONS[name](audio, noise(20000, seed=5), 10.0, np.random.default_rng(0), RATE)
    assert lag(audio, reference) == 0


@pytest.mark.parametrize("name", ["two-talkers", "typing"])
def test_conditions_without_a_channel_keep_the_speech_and_the_ratio(name, speech):
    reference, noisy = CONDITIONS[name](speech, noise(len(speech)), 5.0, np.random.default_rng(0), RATE)
    np.testing.assert_allclose(reference / reference.max(), speech / speech.max(), atol=1e-5)
    background = np.sqrt(np.mean((noisy - reference) ** 2))
    assert 20 * np.log10(active_rms(reference) / background) == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize("name", ["telephone", "gsm", "opus"])
def test_without_noise_a_channel_has_nothing_to_remove(name, speech):
    reference, noisy = CONDITIONS[name](speech, 0 * speech, 5.0, np.random.default_rng(0), RATE)
    np.testing.assert_array_equal(reference, noisy)


def test_far_field_reference_has_no_late_reverberation(speech):
    ended = np.pad(speech[:16000], (0, 16000))
    reference, noisy = CONDITIONS["far-field"](ended, 0 * ended, 5.0, np.random.default_rng(0), RATE)
    tail = slice(16000 + 900, None)
    assert np.abs(reference[tail]).max() < 1e-5
    assert np.abs(noisy[tail]).max() > 1e-3


def test_two_talkers_speak_in_turn():
    first, second = np.full(6 * RATE, 1, np.float32), np.full(6 * RATE, -1, np.float32)
    track = turns(first, second, np.random.default_rng(0), RATE)
    assert track.shape == first.shape
    for part in (track > 0.1, track < -0.1, track == 0):
        assert part.mean() > 0.05
    changes = np.flatnonzero(np.diff(np.sign(track)))
    assert len(changes) < 20
    assert (first == 1).all()


def test_room_tone_and_keyboard_have_unit_level():
    for sound in (room_tone, keyboard):
        audio = sound(3 * RATE, np.random.default_rng(0), RATE)
        assert audio.shape == (3 * RATE,)
        assert np.sqrt(np.mean(audio**2)) == pytest.approx(1, abs=1e-3)
    crest = np.abs(keyboard(3 * RATE, np.random.default_rng(0), RATE)).max()
    assert crest > 8  # clicks, not a hiss


# The script


@pytest.fixture(scope="module")
def sources(tmp_path_factory, speech):
    folder = tmp_path_factory.mktemp("sources")
    voices = [flac(np.roll(speech, 9000 * index), RATE, f"{index}") for index in range(3)]
    columns = {
        "audio": voices,
        "speaker_id": ["a", "b", "c"],
        "licence": ["CC0"] * 3,
        "dynamic_range_db": [40.0, 40.0, 9.0],
    }
    Dataset.from_dict(columns).to_parquet(folder / "speech.parquet")
    Dataset.from_dict(
        {"audio": [flac(noise(9000, seed=9), RATE, "n")], "label": ["fan"], "licence": ["CC BY 4.0"]}
    ).to_parquet(folder / "noise.parquet")
    return ["--speech", str(folder / "speech.parquet"), "--noise", str(folder / "noise.parquet")]


@pytest.mark.slow
def test_a_set_of_calls_is_written_and_read(sources, tmp_path):
    main([*sources, "--output", str(tmp_path / "calls.parquet"), "--number", "2"])
    pairs = load_pairs(str(tmp_path / "calls.parquet"))
    assert [pair.info["condition"] for pair in pairs] == [name for name in CONDITIONS for _ in range(2)]
    assert list(pairs[0].info) == ["id", "condition", "snr_db", "noise", "speaker_id", "duration", "licence"]
    for pair in pairs:
        assert 4 * RATE <= len(pair.noisy) <= 8 * RATE
        assert pair.info["duration"] == len(pair.clean) / RATE
        assert set(pair.info["speaker_id"].split("+")) <= {"a", "b"}  # talker c is not clean
        assert lag(pair.clean, pair.noisy) == 0
    by_condition = {pair.info["condition"]: pair.info for pair in pairs}
    assert by_condition["gsm"]["licence"] == "CC0 + CC BY 4.0"
    assert by_condition["typing"]["licence"] == "CC0"
    assert len(by_condition["two-talkers"]["speaker_id"].split("+")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["calls.parquet"]


def test_a_pair_depends_on_seed_condition_and_index_alone(sources, tmp_path):
    for name, arguments in (
        ("a", ["--conditions", "telephone", "typing", "--number", "2"]),
        ("b", ["--conditions", "telephone", "typing", "--number", "2"]),
        ("c", ["--conditions", "typing", "--number", "1"]),
        ("d", ["--conditions", "typing", "--number", "1", "--seed", "1"]),
    ):
        main([*sources, "--output", str(tmp_path / f"{name}.parquet"), *arguments])
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    pairs = {name: load_pairs(str(tmp_path / f"{name}.parquet")) for name in "acd"}
    np.testing.assert_array_equal(pairs["a"][2].noisy, pairs["c"][0].noisy)
    assert not np.array_equal(pairs["c"][0].noisy, pairs["d"][0].noisy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--noise", "broken"], "broken.wav"),
        (["--speech", "nothing.parquet"], "no file matches 'nothing.parquet'"),
        (["--speech-column", "voice"], "no column voice; it has audio"),
        (["--minimum-dynamic-range", "90"], "no recordings left"),
        (["--output", "calls.wav"], "--output must end in .parquet"),
        (["--number", "0"], "--number must be at least 1"),
        (["--conditions", "two-talkers", "--minimum-dynamic-range", "1"], None),
    ],
)
def test_mistakes_get_one_line(sources, tmp_path, capsys, change, message):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.wav").write_text("no sound")
    change = [str(tmp_path / "broken") if option == "broken" else option for option in change]
    arguments = [*sources, "--output", str(tmp_path / "calls.parquet"), "--number", "1", *change]
    if message is None:
        main(arguments)
        change, message = ["--conditions", "typing"], "--overwrite"
    with pytest.raises(SystemExit) as error:
        main([*arguments, *change])
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
