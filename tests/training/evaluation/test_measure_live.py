import json

import pytest
from conftest import make_tiny_pipeline, noise, quiet

from speech_enhance import LiveTiming
from training.evaluation import measure_live
from training.validation import Pair


@pytest.fixture(scope="module")
def pipeline():
    return quiet(make_tiny_pipeline())


@pytest.fixture
def small_grid(monkeypatch):
    for name, values in {"LOOK_AHEADS_MS": (0, 64), "INTERVALS_MS": (64, 128), "WINDOWS_MS": (512,)}.items():
        monkeypatch.setattr(measure_live, name, values)


@pytest.mark.slow
def test_shared_runs_change_no_result_and_a_stopped_measure_goes_on(pipeline, small_grid, tmp_path, monkeypatch):
    pairs = [Pair("a", noise(16000), 0.5 * noise(16000, seed=1), {})]
    path = tmp_path / "runs.jsonl"
    facts = measure_live.measure(pipeline, pairs, measure_live.Rows(path, "tiny"))
    assert [row.get("way") for row in facts[:2]] == ["untouched", "file"]
    assert len(facts) == 2 + 4
    timing = LiveTiming(64, 64, 512)
    output = measure_live.enhance_live(pipeline, pairs[0].noisy, timing)
    row = next(json.loads(line) for line in path.read_text().splitlines() if "64/64/512" in line)
    assert row["si_sdr"] == pytest.approx(measure_live.BASIC_METRICS["si_sdr"](output, pairs[0].clean), abs=1e-3)
    monkeypatch.setattr(measure_live, "enhance_live", None)  # nothing is left to do
    assert measure_live.measure(pipeline, pairs, measure_live.Rows(path, "tiny")) == facts
    text = measure_live.markdown(facts, "pairs", [])
    assert "| 512 | 64 | 64 | 152 | 156 | 6.0 |" in text


def test_the_choice_is_the_best_within_the_delay_and_then_the_cheapest():
    rows = [
        {"delay_ms": 100, "computing": 8.0, "pesq": 2.0},
        {"delay_ms": 150, "computing": 12.0, "pesq": 2.3},
        {"delay_ms": 140, "computing": 6.0, "pesq": 2.297},
        {"delay_ms": 400, "computing": 4.0, "pesq": 2.5},
    ]
    chosen = measure_live.choose([{"way": "file", "pesq": 9.0}, *rows])
    assert chosen == {"low": rows[2], "quality": rows[3]}


def test_delay_and_computing_follow_from_the_timing(pipeline):
    timing = LiveTiming(64, 64, 512)
    assert measure_live.delay_ms(pipeline, timing) == pytest.approx(152, abs=0.1)
    assert measure_live.computing(pipeline, timing) == pytest.approx(8 / (64 / 48))


@pytest.mark.slow
def test_dnsmos_is_one_more_column(pipeline, small_grid):
    pytest.importorskip("speechmos")
    pairs = [Pair("a", noise(16000), 0.5 * noise(16000, seed=1), {})]
    facts = measure_live.measure(pipeline, pairs, measure_live.Rows(None, "tiny", with_dnsmos=True))
    assert all(1 <= row["dnsmos_ovrl"] <= 5 for row in facts)
    assert "DNSMOS OVRL |" in measure_live.markdown(facts, "pairs", [])
