import numpy as np
import pytest

from training.evaluation.bootstrap import bootstrap_gain, bootstrap_mean


def test_the_interval_is_that_of_the_normal_approximation_for_many_values():
    values = list(np.random.default_rng(3).normal(2.0, 1.0, 400))
    result = bootstrap_mean(values)
    half = 1.96 * np.std(values) / 20
    assert result.mean == pytest.approx(np.mean(values))
    assert result.low == pytest.approx(result.mean - half, abs=0.01)
    assert result.high == pytest.approx(result.mean + half, abs=0.01)
    assert result == bootstrap_mean(values)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_mean(list(rng.normal(1.0, 1.0, 40))) for _ in range(200)]
    assert 0.89 < np.mean([item.low < 1.0 < item.high for item in intervals]) < 0.99


def test_undefined_values_do_not_count_and_infinite_ones_show():
    assert bootstrap_mean([1.0, float("nan"), 3.0]).mean == 2.0
    assert bootstrap_mean([1.0, float("nan"), 3.0]).count == 2
    silent = bootstrap_mean([1.0, float("-inf")])
    assert silent.mean == float("-inf")
    assert np.isnan(silent.low)
    nothing = bootstrap_mean([float("nan")])
    assert nothing.count == 0
    assert np.isnan(nothing.mean)


def test_a_gain_is_paired():
    baseline = list(np.random.default_rng(1).normal(0, 5.0, 30))
    gain = bootstrap_gain([value + 0.1 for value in baseline], baseline)
    assert gain.low == pytest.approx(0.1)
    assert gain.high == pytest.approx(0.1)
    assert bootstrap_gain([float("nan"), 2.0], [1.0, 1.0]).count == 1
