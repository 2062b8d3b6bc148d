import json

import pytest

from training import benchmark
from training.benchmark import main, markdown


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_preset_by_both_backends(tiny_pipeline, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(benchmark, "SECONDS", 6.0)
    tiny_pipeline.save_pretrained(tmp_path / "model")
    main(["--model", str(tmp_path / "model"), "--runs", "1", "--presets-only", "--output", str(tmp_path / "r")])
    results = json.loads((tmp_path / "r.json").read_text())
    for rows in results["real_time_factor"].values():
        assert list(rows) == ["fast", "balanced", "best"]
        assert 0 < rows["fast"]["real_time_factor"] < rows["best"]["real_time_factor"]
    assert "seconds of audio" not in (tmp_path / "r.md").read_text()


def test_lengths_batches_and_memory_are_shown_where_they_were_measured():
    factors = {"fast": {"scheduler": "ddim", "num_inference_steps": 1, "num_estimates": 1, "real_time_factor": 0.03, "slowest": 0.04}}  # fmt: skip
    results = {"machine": "M", "real_time_factor": {"torch": factors, "onnx": factors}}
    assert markdown(results).splitlines()[-1] == "| fast | ddim | 1 | 1 | 0.030 | 0.040 | 0.030 | 0.040 |"
    results["real_time_factor_by_seconds"] = {10: 0.2, 60: 0.1}
    results["real_time_factor_by_window_batch_size"] = {1: 0.3}
    results["peak_memory_mb"] = {"1 h": 612.4}
    text = markdown(results)
    assert "| seconds of audio | 10 | 60 |" in text
    assert "| real-time factor, `balanced` | 0.300 |" in text
    assert text.endswith("| 1 h | 612 MB |\n")
