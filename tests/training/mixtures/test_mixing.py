from dataclasses import replace

import numpy as np
import pytest
import soundfile
from conftest import ROOT, noise, power, source, spectrum_share

from training.corpora.shards import flac as flac_entry
from training.mixtures.augment import active_rms, direct_path_first, presence, shift_pitch, slow_gain
from training.mixtures.mixing import MixtureDataset, draw_dereverb, mix, speech_track
from training.mixtures.mixing_config import MixingConfig
from training.mixtures.sources import SourceConfig, SourceMix

RATE = 16000
PLAIN = {
    "clean_share": 0.0,
    "noise_only_share": 0.0,
    "second_noise_share": 0.0,
    "synthetic_share": 0.0,
    "babble_share": 0.0,
    "reverb_share": 0.0,
    "equalize_share": 0.0,
    "band_limit_share": 0.0,
}
EVERYTHING = {
    "high_snr_share": 0.2,
    "second_noise_share": 0.5,
    "effect_share": 0.3,
    "music_share": 0.2,
    "babble_share": 0.2,
    "babble_talkers": (4, 12),
    "distant_talker_share": 0.4,
    "noise_gain_share": 0.5,
    "noise_gate_share": 0.5,
    "reverb_share": 0.5,
    "room_share": 0.5,
    "pitch_share": 0.5,
    "level_share": 0.5,
    "clip_share": 0.4,
    "channel_share": 0.4,
}
# (clean @ w, noisy @ w) of the mixtures 0 to 19 that the defaults made before there was a share that is 0 by default.
# Number 17 is by .0002 of itself from what it was: the level of an utterance is measured before its speed changes.
DEFAULTS_BEFORE = [
    (12.87992, 17.38982),
    (-7.89062, -5.25465),
    (0.0, 3.50797),
    (-3.17374, -9.13542),
    (-33.23472, -69.5501),
    (14.23276, 28.01028),
    (4.47635, -1.09844),
    (43.18252, 45.21268),
    (0.06352, 6.60265),
    (-6.04772, -6.04772),
    (-3.61979, -5.50656),
    (5.13748, 3.46536),
    (2.59159, 1.16219),
    (-0.01542, 17.99031),
    (6.76977, 13.48192),
    (-0.23179, -16.75933),
    (-3.03999, -18.40774),
    (23.71599, 26.42683),
    (-19.88553, -35.02996),
    (-18.28352, -25.18038),
]


def write(folder, recordings) -> str:
    folder.mkdir(exist_ok=True)
    for index, audio in enumerate(recordings):
        soundfile.write(folder / f"{index:02d}.wav", audio, RATE, subtype="PCM_24")
    return source(folder)


@pytest.fixture(scope="module")
def speech(corpus):
    return source(corpus / "speech")


@pytest.fixture(scope="module")
def sounds(corpus):
    return source(corpus / "noise-*.parquet")


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """Speech: the clean sample recording, seven seconds."""
    return write(tmp_path_factory.mktemp("talker"), [soundfile.read(ROOT / "samples" / "clean.wav")[0]])


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """A room of a direct path after 5 ms and one echo 100 ms later."""
    response = np.zeros(4000)
    response[80], response[1680] = 0.8, -0.4
    return write(tmp_path_factory.mktemp("rooms"), [response])


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Twelve recordings, each of one pitch, 500 to 6000 Hz."""
    time = np.arange(RATE) / RATE
    return write(tmp_path_factory.mktemp("tones"), [0.3 * np.sin(2 * np.pi * 500 * (i + 1) * time) for i in range(12)])


def example(speech, sounds, seed=1, rooms=None, **settings):
    return mix(speech, sounds, MixingConfig(**{**PLAIN, **settings}), np.random.default_rng(seed), rooms)


def snr_db(clean: np.ndarray, noisy: np.ndarray) -> float:
    active = power(clean)[power(clean) >= power(clean).mean()].mean()
    return 10 * np.log10(active / np.mean((noisy - clean) ** 2))


def lag(audio: np.ndarray, reference: np.ndarray) -> int:
    """Samples by which `audio` lies behind `reference`."""
    product = np.fft.rfft(audio, 2 * len(audio)) * np.fft.rfft(reference, 2 * len(audio)).conj()
    peak = int(np.fft.irfft(product).argmax())
    return peak if peak < len(audio) else peak - 2 * len(audio)


def scale_between(audio: np.ndarray, reference: np.ndarray) -> float:
    """The factor that makes `reference` into `audio`, which must differ by nothing else."""
    factor = float(audio @ reference / (reference @ reference))
    np.testing.assert_allclose(audio, factor * reference, atol=1e-5)
    return factor


def test_the_defaults_make_the_mixtures_they_always_made(speech, sounds):
    direction = np.cos(np.arange(16000) ** 2 / 7.0)
    mixtures = MixtureDataset(speech, sounds, MixingConfig(seconds=1.0), seed=3, length=40)
    found = [[mixtures[index][name] @ direction for name in ("clean", "noisy")] for index in range(20)]
    np.testing.assert_allclose(found, DEFAULTS_BEFORE, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["defaults", "everything on"])
def test_mixtures_depend_on_seed_and_index_alone(speech, sounds, rooms, settings):
    config = MixingConfig(seconds=0.5, **settings)
    mixtures = MixtureDataset(speech, sounds, config, seed=3, length=200, rooms=rooms)
    again = MixtureDataset(speech, sounds, config, seed=3, length=200, rooms=rooms)
    other = MixtureDataset(speech, sounds, config, seed=4, length=200, rooms=rooms)
    for index in range(200):
        item = mixtures[index]
        assert item["clean"].shape == item["noisy"].shape == (8000,)
        assert item["clean"].dtype == item["noisy"].dtype == np.float32
        assert np.isfinite(item["noisy"]).all()
        assert np.isfinite(item["clean"]).all()
        assert max(np.abs(item["noisy"]).max(), np.abs(item["clean"]).max()) <= 1 + 1e-6
        if index % 5 == 0:
            np.testing.assert_array_equal(item["noisy"], again[index]["noisy"])
            np.testing.assert_array_equal(item["clean"], again[index]["clean"])
            assert not np.array_equal(item["noisy"], other[index]["noisy"])


def test_mixtures_keep_the_promised_ratio(speech, sounds):
    for ratio in (-5.0, 15.0):
        clean, noisy = example(speech, sounds, seconds=4.0, snr_db=(ratio, ratio))
        assert snr_db(clean, noisy) == pytest.approx(ratio, abs=0.1)
    clean, noisy = example(speech, sounds, clean_share=1.0)
    np.testing.assert_array_equal(clean, noisy)
    clean, noisy = example(speech, sounds, noise_only_share=1.0)
    assert not clean.any()
    assert noisy.any()


def test_a_share_of_high_ratios(speech, sounds):
    ratios = [
        snr_db(*example(speech, sounds, seed, seconds=1.0, snr_db=(-5.0, 5.0), high_snr_share=0.5))
        for seed in range(60)
    ]
    high = np.array(ratios) > 12
    assert 18 <= high.sum() <= 42
    assert np.array(ratios)[high].min() > 19.9
    assert 30 < np.max(ratios) < 40.1


def test_pitch_moves_and_time_does_not():
    time = np.arange(3 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * time) * ((time > 1) & (time < 2))).astype(np.float32)
    for semitones in (-4.0, 3.0):
        shifted = shift_pitch(tone, RATE, semitones)
        assert shifted.shape == tone.shape
        peak = np.abs(np.fft.rfft(shifted[20000:28000] * np.hanning(8000))).argmax() * RATE / 8000
        assert peak == pytest.approx(440 * 2 ** (semitones / 12), abs=4)
        assert spectrum_share(shifted[20000:28000], peak - 20, peak + 20) > 0.98
        loud = np.flatnonzero(power(shifted) > 0.25 * power(shifted).max()) * 320 / RATE
        assert loud[[0, -1]] == pytest.approx([1, 2], abs=0.05)


def test_speech_is_mixed_at_another_pitch(tmp_path, sounds):
    tone = write(tmp_path / "tone", [0.3 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)])
    octave = {"pitch_share": 1.0, "pitch_semitones": (12.0, 12.0), "speed_range": (1.0, 1.0)}
    clean, noisy = example(tone, sounds, seconds=2.0, snr_db=(10.0, 10.0), **octave)
    assert spectrum_share(clean, 1900, 2100) > 0.95
    assert snr_db(clean, noisy) == pytest.approx(10, abs=0.1)


def test_clipping_spares_the_target(talker, sounds):
    for seed in range(4):
        clean, noisy = example(talker, sounds, seed, seconds=2.0)
        target, clipped = example(talker, sounds, seed, seconds=2.0, clip_share=1.0)
        factor = scale_between(target, clean)
        limit = np.abs(clipped).max()
        at_limit = np.abs(clipped) >= limit - 1e-6
        assert 0.0002 < at_limit.mean() < 0.04
        np.testing.assert_allclose(clipped, (factor * noisy).clip(-limit, limit), atol=1e-5)
        assert np.abs(factor * noisy[at_limit]).max() > 1.01 * limit


@pytest.mark.slow
def test_mixture_and_target_pass_the_same_channel(talker, sounds):
    narrow = 0
    for seed in range(12):
        options = {"seed": seed, "seconds": 3.0, "snr_db": (10.0, 10.0)}
        clean, noisy = example(talker, sounds, **options)
        coded_clean, coded_noisy = example(talker, sounds, **options, channel_share=1.0)
        assert not np.allclose(coded_clean, clean, atol=1e-3)
        assert lag(coded_clean, clean) == lag(coded_noisy, noisy) == lag(coded_noisy, coded_clean) == 0
        assert 4 < snr_db(coded_clean, coded_noisy) < 16
        if spectrum_share(coded_noisy, 4200, 8000) < 1e-4 < spectrum_share(noisy, 4200, 8000):
            assert spectrum_share(coded_clean, 4200, 8000) < 1e-4
            narrow += 1
        same_clean, same_noisy = example(talker, sounds, **options, channel_share=1.0, clean_share=1.0)
        np.testing.assert_array_equal(same_clean, same_noisy)
        silent, _ = example(talker, sounds, **options, channel_share=1.0, noise_only_share=1.0)
        assert not silent.any()
    assert 2 <= narrow <= 10  # telephone and GSM are half of the channels


def test_rooms_are_drawn_and_stay_in_the_target(talker, sounds, rooms):
    options = {"seconds": 2.0, "clean_share": 1.0}
    dry, _ = example(talker, sounds, **options)
    clean, noisy = example(talker, sounds, rooms=rooms, **options, reverb_share=1.0, room_share=1.0)
    np.testing.assert_array_equal(clean, noisy)
    wet = dry.copy()
    wet[1600:] -= 0.5 * dry[:-1600]
    scale_between(clean, wet)
    with pytest.raises(ValueError, match="no `rooms` to draw from"):
        example(talker, sounds, **options, reverb_share=1.0, room_share=1.0)


def test_impulse_responses_begin_with_the_direct_path_even_if_a_reflection_is_higher():
    response = np.array([0, 0.01, 0.4, 0, -0.5, 0.1])
    np.testing.assert_allclose(direct_path_first(response), [0.8, 0, -1, 0.2])
    assert not direct_path_first(np.zeros(3)).any()


def test_babble_has_as_many_talkers_as_asked_for(tones, sounds):
    def pitches(seed, **settings):
        _, noisy = example(tones, sounds, seed, seconds=1.0, noise_only_share=1.0, babble_share=1.0, **settings)
        spectrum = np.abs(np.fft.rfft(noisy))
        return (spectrum[500:6001:500] > 0.1 * spectrum.max()).sum()

    assert {pitches(seed, babble_talkers=(1, 1)) for seed in range(6)} == {1}
    assert max(pitches(seed, babble_talkers=(2, 2)) for seed in range(6)) == 2  # the same may be drawn twice
    assert min(pitches(seed, babble_talkers=(12, 12)) for seed in range(6)) >= 5


def test_distant_talkers_are_muffled(speech, sounds):
    def high(**settings):
        _, noisy = example(speech, sounds, 3, seconds=2.0, noise_only_share=1.0, babble_share=1.0, **settings)
        return spectrum_share(noisy, 5000, 8000)

    assert high() > 0.3
    assert high(distant_talker_share=1.0) < 0.1 < high(distant_talker_share=0.5, babble_talkers=(12, 12)) < 0.3


def test_noise_wanders_starts_and_stops(talker, sounds):
    for seed in range(6):
        clean, noisy = example(talker, sounds, seed, seconds=4.0)
        for share in ("noise_gain_share", "noise_gate_share"):
            other_clean, other_noisy = example(talker, sounds, seed, seconds=4.0, **{share: 1.0})
            factor = scale_between(other_clean, clean)
            before, after = power(factor * (noisy - clean)), power(other_noisy - other_clean)
            ratio = np.sqrt(after / before)
            if share == "noise_gain_share":
                assert ratio.max() / ratio.min() > 1.2
                assert np.abs(np.diff(20 * np.log10(ratio))).max() < 4
            else:
                assert (ratio < 1e-3).mean() > 0.05  # 64000 samples hold 200 frames
                assert ratio.max() < 1.001
                assert ratio.max() > 0.9 or ratio.mean() < 0.3


def test_gates_and_gains_stay_in_bounds():
    kinds = set()
    for seed in range(50):
        gate = presence(RATE, RATE, np.random.default_rng(seed))
        assert gate.min() == 0
        assert gate.max() <= 1
        kinds.add((gate[0] > 0, gate[-1] > 0))
        gain = 20 * np.log10(slow_gain(5 * RATE, RATE, np.random.default_rng(seed)))
        assert np.abs(gain).max() < 10.01
    assert kinds == {(True, False), (False, True), (False, False)}


def test_utterances_differ_in_level(tmp_path, sounds):
    short = write(tmp_path / "short", [noise(8000, seed=2)])
    options = {"seconds": 12.0, "clean_share": 1.0, "speed_range": (1.0, 1.0)}

    def spread_db(share):
        clean, _ = example(short, sounds, 8, **options, level_share=share)
        active = power(clean)[power(clean) > 1e-5]
        return 10 * np.log10(np.quantile(active, 0.9) / np.quantile(active, 0.1))

    assert spread_db(0.0) < 1.5
    assert spread_db(1.0) > 5


# Rooms, a second talker, rumble


def test_what_is_off_changes_no_other_draw(talker, sounds, rooms):
    """Whether a new setting is at its default or draws without an effect, the mixture has the same bits."""
    options = {"seconds": 2.0, "rooms": rooms, "reverb_share": 1.0, "room_share": 1.0}
    for seed in range(4):
        before = example(talker, sounds, seed, **options)
        rng = np.random.default_rng(seed)
        config = MixingConfig(
            **{**PLAIN, "seconds": 2.0, "reverb_share": 1.0, "room_share": 1.0, "dereverb_share": 1.0}
        )
        for first, second in zip(before, mix(talker, sounds, config, rng, rooms, dereverb=0.0), strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dial", [0.0, 0.25, 1.0])
def test_a_dial_takes_the_late_part_out_of_the_target_alone(talker, sounds, rooms, dial):
    """The echo of the room comes after 100 ms, so it is the late part."""
    options = {**PLAIN, "seconds": 2.0, "clean_share": 1.0}
    dry, _ = example(talker, sounds, **options)
    config = MixingConfig(**{**options, "reverb_share": 1.0, "room_share": 1.0})
    clean, noisy = mix(talker, sounds, config, np.random.default_rng(1), rooms, dial)
    wanted, heard = dry.copy(), dry.copy()
    wanted[1600:] -= (1 - dial) * 0.5 * dry[:-1600]
    heard[1600:] -= 0.5 * dry[:-1600]
    assert scale_between(clean, wanted) == pytest.approx(scale_between(noisy, heard), rel=1e-4)


def test_dials_are_drawn(talker, sounds, rooms):
    options = {**PLAIN, "seconds": 3.0, "reverb_share": 1.0, "room_share": 1.0, "clean_share": 1.0}
    mixtures = MixtureDataset(talker, sounds, MixingConfig(**options, dereverb_share=0.6), 0, 200, rooms)
    rng = np.random.default_rng(0)
    dials = np.array([draw_dereverb(mixtures.config, rng) for _ in range(1000)])
    assert (dials == 0).mean() == pytest.approx(0.4, abs=0.05)
    assert (dials == 1).mean() == pytest.approx(0.3, abs=0.05)
    between = dials[(dials > 0) & (dials < 1)]
    assert np.quantile(between, [0.25, 0.75]) == pytest.approx([0.25, 0.75], abs=0.1)
    for item in (mixtures[index] for index in range(20)):
        assert np.array_equal(item["clean"], item["noisy"]) == (item["dereverb"] == 0)
    assert MixtureDataset(talker, sounds, MixingConfig(**options), 0, 1, rooms)[0]["dereverb"] == 0


def test_noise_is_in_the_same_room(talker, sounds, tmp_path):
    """An impulse as noise, in a room whose response of noise has an echo that the talker's has not."""
    from datasets import Dataset

    responses = np.zeros((2, 3000))
    responses[:, 40] = 0.9
    responses[1, 2040] = 0.45
    columns = {
        name: [flac_entry(response, RATE, "r", subtype="PCM_24")]
        for name, response in zip(("audio", "noise_audio"), responses, strict=True)
    }
    Dataset.from_dict(columns).to_parquet(tmp_path / "rooms.parquet")
    both = SourceMix([SourceConfig(str(tmp_path / "rooms.parquet"))], RATE, ("audio", "noise_audio"))
    options = {"seconds": 2.0, "reverb_share": 1.0, "room_share": 1.0, "rooms": both}
    clean, noisy = example(talker, sounds, **options)
    wet_clean, wet_noisy = example(talker, sounds, **options, noise_room_share=1.0)
    scale_between(wet_clean, clean)
    dry = noisy - clean
    echoed = dry.copy()
    echoed[2000:] += 0.5 * dry[:-2000]
    scale_between(wet_noisy - wet_clean, echoed)
    with pytest.raises(ValueError, match="noise_room_share needs a room_share above 0"):
        MixingConfig(noise_room_share=0.1)


def test_a_second_talker_is_part_of_the_target(tones, sounds):
    """What is added to the first talker's track stands in one stretch of it, at the level asked for, and is target."""
    alone = MixingConfig(**{**PLAIN, "speed_range": (1.0, 1.0)})
    both = replace(alone, second_talker_share=1.0, second_talker_db=(-6.0, -6.0))
    lengths = []
    for seed in range(12):
        first = speech_track(tones, alone, 6 * RATE, np.random.default_rng(seed)).heard
        track = speech_track(tones, both, 6 * RATE, np.random.default_rng(seed))
        assert track.target is track.heard
        second = track.heard - first
        if not np.abs(second).max() > 1e-3:
            continue  # the stretch lies in a pause of the second talker
        spoken = np.flatnonzero(np.abs(second) > 1e-3)
        lengths.append((spoken[-1] - spoken[0]) / (6 * RATE))
        assert 20 * np.log10(active_rms(second) / active_rms(first)) == pytest.approx(-6, abs=1)
    assert len(lengths) >= 9
    assert min(lengths) < 0.6
    assert max(lengths) > 0.5
    options = {"seconds": 3.0, "second_talker_share": 1.0}
    np.testing.assert_array_equal(*example(tones, sounds, **options, clean_share=1.0))
    assert snr_db(*example(tones, sounds, **options, snr_db=(10.0, 10.0))) == pytest.approx(10, abs=0.1)


def test_a_third_talker_joins_the_second_one(tones, sounds):
    """The third talker changes nothing of the first two, is added to them, and belongs to the target."""
    two = MixingConfig(**{**PLAIN, "speed_range": (1.0, 1.0)}, second_talker_share=1.0)
    three = replace(two, third_talker_share=1.0)
    heard = 0
    for seed in range(8):
        pair, trio = (speech_track(tones, config, 6 * RATE, np.random.default_rng(seed)) for config in (two, three))
        assert trio.target is trio.heard
        heard += np.abs(trio.heard - pair.heard).max() > 1e-3
    assert heard >= 6  # else the stretch lies in a pause of the third talker
    options = {"seconds": 3.0, "clean_share": 1.0}
    alone, joined = (example(tones, sounds, **options, third_talker_share=share) for share in (0.0, 1.0))
    np.testing.assert_array_equal(alone, joined)  # without a second talker there is no third


def test_rumble_leaves_the_target_and_nothing_else_does(tmp_path, sounds):
    time = np.arange(4 * RATE) / RATE
    low, high = (0.2 * np.sin(2 * np.pi * frequency * time) for frequency in (20, 300))
    rumbling = write(tmp_path / "rumbling", [low + high])
    options = {"seconds": 2.0, "clean_share": 1.0, "speed_range": (1.0, 1.0)}
    clean, noisy = example(rumbling, sounds, 2, **options)
    np.testing.assert_array_equal(clean, noisy)
    filtered, kept = example(rumbling, sounds, 2, **options, target_high_pass_hz=60.0)
    scale_between(kept, noisy)
    assert spectrum_share(filtered, 10, 30) < 0.03 < 0.3 < spectrum_share(kept, 10, 30)
    assert lag(filtered, kept) == 0
    with pytest.raises(ValueError, match=r"target_high_pass_hz must be above 0 to 500"):
        MixingConfig(target_high_pass_hz=0.0)
