import json

import numpy as np
import pytest
from conftest import noise

from speech_enhance.models.int8 import recording_int8_ranges
from speech_enhance.models.precision import is_bfloat16_fast
from training.evaluation import benchmark
from training.evaluation.benchmark import main, markdown, peak_memory_mb


@pytest.mark.slow
def test_every_preset_in_every_way(tiny_pipeline, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(benchmark, "SECONDS", 6.0)
    with recording_int8_ranges(tiny_pipeline.unet):
        tiny_pipeline(noise(9000), 16000, 1)
    tiny_pipeline.save_pretrained(tmp_path / "model")
    main(["--model", str(tmp_path / "model"), "--runs", "1", "--presets-only", "--output", str(tmp_path / "r")])
    results = json.loads((tmp_path / "r.json").read_text())
    expected = ["torch", "onnx", *(["bfloat16"] if is_bfloat16_fast("cpu") else []), "int8"]
    assert list(results["real_time_factor"]) == expected
    for rows in results["real_time_factor"].values():
        assert list(rows) == ["fast", "balanced"]
        assert all(0 < row["real_time_factor"] <= row["slowest"] for row in rows.values())
    assert "seconds of audio" not in (tmp_path / "r.md").read_text()


@pytest.mark.slow
def test_peak_memory_is_that_of_the_command_alone(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    ballast = np.ones(3 << 27, np.float32)  # 1.5 GiB, more than the command needs
    assert 100 < peak_memory_mb(str(tmp_path / "model"), 16000, 1, 2.0) < ballast.nbytes / 2**20


def test_lengths_batches_and_memory_are_shown_where_they_were_measured():
    factors = {
        "fast": {
            "scheduler": "ddim",
            "num_inference_steps": 1,
            "num_estimates": 1,
            "real_time_factor": 0.03,
            "slowest": 0.04,
        }
    }
    results = {"machine": "M", "real_time_factor": {"torch": factors, "onnx": factors}}
    assert markdown(results).splitlines()[-1] == "| fast | ddim | 1 | 1 | 0.030 | 0.040 | 0.030 | 0.040 |"
    results["real_time_factor_by_seconds"] = {10: 0.2, 60: 0.1}
    results["real_time_factor_by_window_batch_size"] = {1: 0.3}
    results["peak_memory_mb"] = {"1 h": 612.4}
    text = markdown(results)
    assert "| seconds of audio | 10 | 60 |" in text
    assert "| real-time factor, `balanced` | 0.300 |" in text
    assert text.endswith("| 1 h | 612 MB |\n")
