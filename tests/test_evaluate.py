import json

import numpy as np
import pytest
from conftest import noise

from training.evaluate import markdown, noise_reduction_db, score, summarise, true_mel, untouched
from training.reports import write_report
from training.validation import Pair


@pytest.fixture
def pair() -> Pair:
    clean = noise(32000)
    clean[:16000] = 0
    return Pair("a", clean + 0.1 * noise(32000, seed=1), clean, {"snr_db": 20.0, "speaker_id": "x"})


def test_noise_reduction_looks_at_pauses_only(pair):
    assert noise_reduction_db(pair.noisy, pair) == pytest.approx(0)
    halved_in_pauses = pair.noisy.copy()
    halved_in_pauses[:16384] *= 0.5
    assert noise_reduction_db(halved_in_pauses, pair) == pytest.approx(6.02, abs=0.01)
    halved_in_speech = pair.noisy.copy()
    halved_in_speech[16384:] *= 0.5
    assert noise_reduction_db(halved_in_speech, pair) == pytest.approx(0, abs=0.01)
    assert np.isnan(noise_reduction_db(pair.noisy, Pair("b", pair.noisy, noise(32000), {})))


def test_scores_and_report(pair, tmp_path):
    results = {"noisy": score(untouched([pair]), [pair]), "ceiling": score(true_mel([pair]), [pair])}
    assert summarise(results["ceiling"])["si_sdr"] > summarise(results["noisy"])["si_sdr"]
    text = markdown(results, "title")
    assert "| ceiling | 1 |" in text
    write_report(str(tmp_path / "new" / "report"), {**results, "odd": [{"x": float("inf"), "y": float("nan")}]}, text)
    stored = json.loads((tmp_path / "new" / "report.json").read_text(), parse_constant=pytest.fail)
    assert stored["odd"] == [{"x": "inf", "y": "nan"}]
    assert stored["noisy"][0]["id"] == "a"
    assert (tmp_path / "new" / "report.md").read_text() == text
