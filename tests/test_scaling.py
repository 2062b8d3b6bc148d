import json

import pytest

from training import scaling


def test_the_estimate_is_arithmetic_on_what_was_measured():
    cost = {"network_operations": 8e12, "seconds_around": 36.0}
    on_paper = scaling.estimate(cost)
    assert on_paper["network_hours"] == pytest.approx(10_000 * 8e12 / (8 * 10e12) / 3600)
    assert on_paper["around_hours"] == pytest.approx(12.5)


@pytest.mark.slow
def test_every_figure_is_measured_on_a_tiny_load(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "SHORT", {0.5: 2})
    stem = str(tmp_path / "scaling")
    arguments = ["--files", "2", "--seconds", "1", "--processes", "1", "2", "--runs", "1", "--output", stem]
    monkeypatch.setattr("sys.argv", ["scaling.py", *arguments])
    scaling.main()
    results = json.loads((tmp_path / "scaling.json").read_text())
    assert results["cost_of_an_hour"]["network_operations"] > 1e12
    for times in results["commands"].values():
        assert sorted(times) == ["1", "2"]
        assert min(times.values()) > 0
    text = (tmp_path / "scaling.md").read_text()
    for row in ("| 0.5 | ", "| folder | 2 | ", "| corpus | 2 | "):
        assert row in text
