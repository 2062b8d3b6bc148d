import math
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import noise

from speech_enhance.metrics.composite import composite
from speech_enhance.metrics.reference import METRICS, estoi, mean_score, module_path, pesq, score, score_files, si_sdr


def test_si_sdr_of_hand_worked_cases():
    reference = np.array([1.0, -1.0, 1.0, -1.0])
    orthogonal = np.array([1.0, 1.0, -1.0, -1.0])
    assert si_sdr(reference + 0.1 * orthogonal, reference) == pytest.approx(20)
    assert si_sdr(5 * (reference + 0.1 * orthogonal) + 3, reference) == pytest.approx(20)
    assert si_sdr(-2 * reference, reference) == math.inf
    assert si_sdr(orthogonal, reference) == -math.inf
    assert math.isnan(si_sdr(reference, np.ones(4)))


def test_values_are_the_packages_own(sample_pair):
    import pesq as pesq_package
    import pystoi

    noisy, clean = sample_pair
    assert pesq(noisy, clean) == pytest.approx(pesq_package.pesq(16000, clean, noisy, "wb"))
    assert estoi(noisy, clean) == pytest.approx(pystoi.stoi(clean, noisy, 16000, extended=True))
    assert pesq(clean, clean) > 4.5
    assert estoi(clean, clean) == pytest.approx(1)


@pytest.mark.parametrize("name", METRICS)
def test_silent_references_have_no_value(name):
    assert math.isnan(METRICS[name](noise(16000), np.zeros(16000)))


@pytest.mark.parametrize("name", [name for name in METRICS if name != "si_sdr"])
def test_too_short_clips_have_no_value(name):
    assert math.isnan(METRICS[name](noise(800), noise(800)))


def test_silent_estimates_have_the_lowest_values(sample_pair):
    noisy, clean = sample_pair
    silent, noisy = score(np.zeros_like(clean), clean), score(noisy, clean)
    assert silent["pesq"] == pytest.approx(0.999 + 4 / (1 + math.exp(1.3669 * 0.5 + 3.8224)), abs=1e-4)
    assert silent["si_sdr"] == -math.inf
    assert silent["estoi"] < 0.2
    assert silent["csig"] < noisy["csig"]
    assert not any(math.isnan(value) for value in silent.values())


def words(count: int) -> np.ndarray:
    """Bursts of .22 s, one every .42 s: as many utterances for PESQ."""
    audio = np.zeros((count, 6720), np.float32)
    audio[:, :3520] = noise(3520, count)
    return audio.ravel()


def test_recordings_of_many_utterances_are_scored_in_parts(tmp_path):
    """In a process of its own, which the package would end: it has room for fifty utterances."""
    clean = words(64)
    noisy = clean + 0.01 * noise(len(clean))
    np.save(tmp_path / "pair.npy", np.stack([noisy, clean]))
    code = "import numpy, sys; from speech_enhance.metrics import pesq; print(pesq(*numpy.load(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path / "pair.npy")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    halves = zip(np.split(noisy, 2), np.split(clean, 2), strict=True)
    assert float(run.stdout) == pytest.approx(np.mean([pesq(*half) for half in halves]), abs=1e-4)


def test_pauses_in_long_recordings_do_not_count_for_pesq(sample_pair):
    noisy, clean = (audio[:48000] for audio in sample_pair)
    pause = 1e-5 * noise(19 * 16000 - 48000), 1e-5 * noise(19 * 16000), 1e-5 * noise(19 * 16000, seed=1)
    whole = (np.concatenate([noisy, pause[0], pause[1]]), np.concatenate([clean, pause[0], pause[2]]))
    first = [audio[: 19 * 16000] for audio in whole]
    assert pesq(*whole) == pytest.approx(pesq(*first))
    assert pesq(np.concatenate([whole[0][: 19 * 16000], np.zeros(19 * 16000)]), whole[1]) == pytest.approx(pesq(*first))


@pytest.mark.parametrize("level", [1e-200, 1e-30, 1e30, 1e200])
def test_the_level_alone_changes_no_measure_that_has_none(sample_pair, level):
    noisy, clean = (audio[:32000].astype(np.float64) for audio in sample_pair)
    names = ("pesq", "estoi", "si_sdr")
    expected = pytest.approx(score(noisy, clean, names), abs=1e-3)
    assert score(level * noisy, clean, names) == expected
    assert score(noisy, level * clean, names) == expected
    assert score(level * noisy, level * clean, names) == expected
    ratings = score(level * noisy, clean, ("csig", "cbak", "covl"))
    assert all(1 <= value <= 5 for value in ratings.values())


def test_score_agrees_with_the_single_measures(sample_pair):
    noisy, clean = (audio[:32000] for audio in sample_pair)
    values = score(noisy, clean)
    assert list(values) == list(METRICS)
    assert values == pytest.approx({name: metric(noisy, clean) for name, metric in METRICS.items()})
    assert values | composite(noisy, clean, pesq(noisy, clean)) == values
    assert score(noisy, clean, ("covl", "si_sdr")) == {name: values[name] for name in ("covl", "si_sdr")}
    with pytest.raises(ValueError, match="unknown metric stoi; there are pesq"):
        score(noisy, clean, ("stoi",))


def test_means_leave_out_what_is_undefined_and_nothing_else():
    assert mean_score([1.0, math.nan, 3.0]) == 2
    assert mean_score([1.0, -math.inf]) == -math.inf
    assert math.isnan(mean_score([math.nan]))


def test_files_of_other_rates_and_channels_are_scored(tmp_path, sample_pair):
    noisy, clean = (audio[:32000] for audio in sample_pair)
    soundfile.write(tmp_path / "clean.wav", clean, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "noisy.flac", np.stack([noisy, noisy], axis=1), 16000)
    paths = [str(tmp_path / "noisy.flac")], [str(tmp_path / "clean.wav")]
    result = score_files(*paths, ("si_sdr", "pesq"))
    assert result["si_sdr"] == result["si_sdr_values"][0] == pytest.approx(si_sdr(noisy, clean), abs=1e-3)
    soundfile.write(tmp_path / "noisy.flac", noisy[:16000], 16000)
    with pytest.raises(ValueError, match=r"noisy\.flac against .*clean\.wav: .*equal length"):
        score_files(*paths, ("si_sdr",))


def test_broken_samples_are_refused():
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            si_sdr(np.array([0.1, bad]), np.array([0.1, 0.2]))


@pytest.fixture(scope="module")
def offline_evaluate(tmp_path_factory):
    """Hugging Face Evaluate without network, its copies of modules in a folder of the tests."""
    import evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", tmp_path_factory.mktemp("modules"))
        patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield evaluate


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("pesq", ("pesq",)),
        ("estoi", ("estoi",)),
        ("si_sdr", ("si_sdr",)),
        ("composite", ("csig", "cbak", "covl")),
    ],
)
def test_evaluate_modules_load_offline_and_agree(module, names, tmp_path, offline_evaluate, sample_pair):
    noisy, clean = (audio[:32000] for audio in sample_pair)
    pairs = {"a": (noisy, clean), "b": (0.5 * noisy + 0.5 * clean, clean), "silent": (noisy, 0 * clean)}
    for name, audios in pairs.items():
        for kind, audio in zip(("noisy", "clean"), audios, strict=True):
            soundfile.write(tmp_path / f"{name}-{kind}.wav", audio, 16000, subtype="FLOAT")
    loaded = offline_evaluate.load(module_path(module), cache_dir=str(tmp_path / "cache"))
    for name in pairs:
        loaded.add(prediction=str(tmp_path / f"{name}-noisy.wav"), reference=str(tmp_path / f"{name}-clean.wav"))
    result = loaded.compute()
    assert set(result) == {*names, *(f"{name}_values" for name in names)}
    for name in names:
        expected = [METRICS[name](*audios) for audios in pairs.values()]
        np.testing.assert_allclose(result[f"{name}_values"], expected, rtol=1e-4)
        assert result[name] == pytest.approx(np.mean(expected[:2]), rel=1e-4)


@pytest.fixture(scope="module")
def files(tmp_path_factory, sample_pair) -> list[str]:
    """The paths of a clean recording and of silence, at 48 kHz and 16 kHz."""
    speech = sample_pair[1][: 2 * 16000]
    folder = tmp_path_factory.mktemp("files")
    soundfile.write(folder / "speech.wav", np.repeat(speech, 3), 48000)
    soundfile.write(folder / "silence.wav", 0 * speech, 16000)
    return [str(folder / "speech.wav"), str(folder / "silence.wav")]


@pytest.mark.slow
def test_the_module_wer_pools_over_files(files, offline_evaluate, tmp_path):
    module = load(offline_evaluate, tmp_path, "wer")
    result = module.compute(predictions=files, references=[files[0]] * 2, references_are="recordings")
    words = result["words_values"][0]
    assert result == {"wer": 0.5, "word_errors_values": [0, words], "words_values": [words, words]}
    texts = module.compute(predictions=[files[1]], references=["four words are here"])
    assert texts == {"wer": 1.0, "word_errors_values": [4], "words_values": [4]}
    with pytest.raises(ValueError, match='must be "texts" or "recordings"'):
        module.compute(predictions=files, references=files, references_are="paths")


@pytest.mark.slow
def test_the_module_visqol_compares_files(files, offline_evaluate, tmp_path):
    result = load(offline_evaluate, tmp_path, "visqol").compute(predictions=files, references=[files[0]] * 2)
    assert result["visqol_values"][0] > 4
    assert result["visqol_values"][1] == 1
    assert result["visqol"] == pytest.approx(np.mean(result["visqol_values"]))


@pytest.mark.slow
def test_the_module_dnsmos_needs_no_reference(offline_evaluate, tmp_path):
    from speech_enhance import DNSMOS

    path, audio = str(tmp_path / "noise.wav"), noise(144160)
    soundfile.write(path, audio, 16000, subtype="FLOAT")
    result = load(offline_evaluate, tmp_path, "dnsmos").compute(predictions=[path])
    expected = DNSMOS()(audio)
    assert result["dnsmos_ovrl"] == pytest.approx(expected["ovrl"], abs=1e-4)
    assert set(result) == {f"dnsmos_{name}{end}" for name in ("sig", "bak", "ovrl") for end in ("", "_values")}


def load(offline_evaluate, tmp_path, name):
    return offline_evaluate.load(module_path(name), cache_dir=str(tmp_path / "cache"))


def test_unknown_modules_are_named():
    with pytest.raises(
        ValueError, match="no module 'stoi'; there are composite, distillmos, dnsmos, estoi, pesq, si_sdr, visqol, wer"
    ):
        module_path("stoi")


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="equal length"):
        si_sdr(noise(10), noise(11))
    with pytest.raises(ValueError, match="16000"):
        pesq(noise(8000), noise(8000), sampling_rate=8000)
