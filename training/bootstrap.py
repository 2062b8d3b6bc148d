"""Bootstrap intervals of means over files (Efron & Tibshirani 1993): what another draw of files might have given."""

from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Mean:
    """A mean over `count` files with its 95 % interval; `nan` without files."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap_mean(values: list[float], seed: int = 0) -> Mean:
    """Mean of `values` and the 95 % percentile interval of its bootstrap distribution.

    Undefined values (`nan`) do not count; `count` says how many did. Infinite ones make the mean infinite and leave
    the interval undefined.
    """
    values = np.asarray([value for value in values if not np.isnan(value)], dtype=float)
    if not np.isfinite(values).all() or len(values) == 0:
        mean = float(sum(values)) if len(values) else float("nan")
        return Mean(mean, float("nan"), float("nan"), len(values))
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(NUM_RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(float(values.mean()), float(low), float(high), len(values))


def bootstrap_gain(values: list[float], baseline: list[float], seed: int = 0) -> Mean:
    """Mean of the differences `values − baseline`, paired by file: above 0 with its interval, it is a finding."""
    return bootstrap_mean([value - base for value, base in zip(values, baseline, strict=True)], seed)
