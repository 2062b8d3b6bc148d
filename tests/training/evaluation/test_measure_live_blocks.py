import argparse
import itertools

import numpy as np
import pytest
from causal import make_pipeline
from conftest import noise

from training.evaluation import measure_live_blocks
from training.evaluation.measure_live_blocks import enhance, markdown, measure, minutes_of
from training.evaluation.measure_live_stream import best_lag
from training.validation import Pair


def test_minutes_go_on_where_the_last_one_ended():
    parts = minutes_of(iter([np.arange(5), np.arange(5, 7), np.arange(7, 30)]), 10)
    assert np.array_equal(np.concatenate([next(parts), next(parts)]), np.arange(20))


def test_the_delay_is_found():
    sound = noise(4000)
    assert best_lag(sound, np.concatenate([np.zeros(77), sound])[:4000], 500)[0] == 77


def test_a_block_of_another_length_ends_it():
    class Wrong:
        def process(self, block):
            return block[:-1]

    with pytest.raises(RuntimeError, match="a block of 10 samples came back as"):
        enhance(Wrong(), noise(100), itertools.repeat(10))


@pytest.mark.slow
def test_both_streams_agree_and_the_report_says_so(monkeypatch):
    monkeypatch.setattr(measure_live_blocks, "MINUTE_SECONDS", 1)
    monkeypatch.setattr(measure_live_blocks, "CORRELATED_SECONDS", 1)
    options = argparse.Namespace(rate=48000, latency=None, minutes=3, compared=2, model="tiny", pairs="pairs")
    rows = measure(make_pipeline(), [Pair("a", noise(9000), noise(9000), {})], options)
    assert [row["minute"] for row in rows] == [1, 2, 3]
    assert all(row["difference"] < 1e-5 for row in rows[:2])
    assert rows[2]["difference"] is None
    assert all(row["memory_mb"] > 0 and row["load"] > 0 for row in rows)
    text = markdown(rows, 59.8125, options)
    assert "Over 2 minutes, the output in blocks of 16 ms" in text
    assert "`live.latency` is 59.81 ms" in text
    assert "| 1 | " in text
