"""Bootstrap intervals of means over files (Efron & Tibshirani 1993): what another draw of files might have given."""

from collections.abc import Sequence
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
    return bootstrap_ratio(values, [1.0] * len(values), seed=seed)


def bootstrap_ratio(
    numerators: list[float], denominators: list[float], groups: list[str] | None = None, seed: int = 0
) -> Mean:
    """Sum of `numerators` over the sum of `denominators`, such as wrong words over words, with its 95 % interval.

    Files of one group, such as one utterance in several noises, are drawn together; by default each file is a group.
    Undefined files and infinite values count as in [`bootstrap_mean`]. A single group has no interval.
    """
    above, below = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    defined = ~np.isnan(above) & ~np.isnan(below)
    above, below = above[defined], below[defined]
    count = len(above)
    if not count or not below.sum():
        return Mean(float("nan"), float("nan"), float("nan"), count)
    mean = float(above.sum() / below.sum())
    if not np.isfinite(above).all():
        return Mean(mean, float("nan"), float("nan"), count)
    if groups is not None:
        group = np.unique(np.asarray(groups)[defined], return_inverse=True)[1]
        above, below = np.bincount(group, above), np.bincount(group, below)
    if len(above) < 2:  # one group says nothing about another draw
        return Mean(mean, float("nan"), float("nan"), count)
    drawn = np.random.default_rng(seed).integers(len(above), size=(NUM_RESAMPLES, len(above)))
    with np.errstate(invalid="ignore"):  # a draw without a word
        low, high = np.nanpercentile(above[drawn].sum(axis=1) / below[drawn].sum(axis=1), [2.5, 97.5])
    return Mean(mean, float(low), float(high), count)


def bootstrap_gain(values: Sequence[float], baseline: Sequence[float], seed: int = 0) -> Mean:
    """Mean of the differences `values − baseline`, paired by file. It is a finding if its interval lies above 0."""
    return bootstrap_mean([value - base for value, base in zip(values, baseline, strict=True)], seed)
