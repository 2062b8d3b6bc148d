"""Tables of scores: means over files with intervals, the best system, differences paired by file, means by group.

A result is a list of rows, one for each file, as `score` of `evaluate.py` and the judges give them.
"""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from .bootstrap import Mean, bootstrap_ratio
from .measures import COMPARED, MEASURES, headings
from .reports import table

Rows = list[dict]
GROUPS = ("snr_db", "condition", "reverberation_time", "speaker_id")
UTTERANCE = "utterance"
"""Column of the utterance, where several files hold the same one: a bootstrap draws them together."""


def has(rows: Rows, name: str) -> bool:
    """Whether rows have what a measure needs."""
    return bool(rows) and (MEASURES[name].counted or name) in rows[0]


def measured(results: dict[str, Rows], names: Sequence[str] = tuple(MEASURES)) -> list[str]:
    """Those of `names` that some result has."""
    return [name for name in names if any(has(rows, name) for rows in results.values())]


def average(rows: Rows, name: str) -> Mean:
    """A measure over all files, with its 95 % interval; `nan` where the rows lack it."""
    return _bootstrapped(rows, _counted(rows, name), name)


def difference(rows: Rows, others: Rows, name: str) -> Mean:
    """A measure minus that of another system, paired by file, with its 95 % interval."""
    values = zip(_counted(rows, name), _counted(others, name), strict=True)
    return _bootstrapped(rows, [value - other for value, other in values], name)


def _counted(rows: Rows, name: str) -> list[float]:
    return [row.get(MEASURES[name].counted or name, float("nan")) for row in rows]


def _bootstrapped(rows: Rows, values: list[float], name: str) -> Mean:
    among = MEASURES[name].among
    weights = [row.get(among, float("nan")) if among else 1.0 for row in rows]
    groups = [row[UTTERANCE] for row in rows] if rows and UTTERANCE in rows[0] else None
    return bootstrap_ratio(values, weights, groups)


def sure(value: Mean) -> bool:
    """Whether the interval of a difference excludes 0."""
    return value.low > 0 or value.high < 0


def better(value: Mean, name: str) -> bool:
    """Whether a difference is an improvement."""
    return (value.mean < 0) == MEASURES[name].smaller_is_better and value.mean != 0


def best_system(results: dict[str, Rows], name: str) -> str | None:
    """The system that is better than the next one, with a paired interval that excludes 0; `None` if there is none."""
    sign = -1 if MEASURES[name].smaller_is_better else 1
    means = {system: sign * average(rows, name).mean for system, rows in results.items()}
    ranked = sorted((system for system in means if np.isfinite(means[system])), key=means.__getitem__, reverse=True)
    if len(ranked) < 2:
        return None
    gain = difference(results[ranked[0]], results[ranked[1]], name)
    return ranked[0] if sure(gain) else None


def summarise(rows: Rows) -> dict[str, dict]:
    """Every measure over all files with its interval."""
    return {name: asdict(average(rows, name)) for name in measured({"": rows})}


def markdown(results: dict[str, Rows], main_system: str, title: str) -> str:
    """Means of every system, what the main one gains over the others, and means by group of files."""
    lines = [f"# {title}", "", "Means over files, with the 95 % interval of a bootstrap over files.", ""]
    lines += overview(results, measured(results), with_interval)
    if len(results) > 1:
        lines += ["", f"## What {main_system} gains over the others, paired by file", ""]
        lines += gains(results, main_system, measured(results, COMPARED))
    for field in GROUPS:
        for name in measured(results, COMPARED):
            lines += by_group(results, field, name)
    return "\n".join(lines) + "\n"


def overview(results: dict[str, Rows], names: list[str], cell, mark_best: bool = False) -> list[str]:
    """A table systems × measures; `cell` makes text of a mean and a format. The best system can be bold, see
    [`best_system`]. A system without rows is not available here."""
    best = {name: best_system(results, name) if mark_best else None for name in names}
    body = []
    for system, rows in results.items():
        texts = [cell(average(rows, name), MEASURES[name].form) if has(rows, name) else "–" for name in names]
        cells = [f"**{text}**" if best[name] == system else text for name, text in zip(names, texts, strict=True)]
        body.append([system, *(cells if rows else not_available(len(names)))])
    return table(["system", *headings(names)], body)


def not_available(width: int) -> list[str]:
    """The cells of a system that could not be run."""
    return ["not available here", *[""] * (width - 1)]


def gains(results: dict[str, Rows], main_system: str, names: list[str], mark_sure: bool = False) -> list[str]:
    """A table of the differences of the main system's measures from those of every other system. Sure differences can
    be bold."""
    body = []
    for system, rows in results.items():
        if system != main_system and rows:
            values = {name: difference(results[main_system], rows, name) for name in names}
            body.append([system, *difference_cells(values, mark_sure)])
    return table(["over", *headings(names)], body)


def difference_cells(values: dict[str, Mean], mark_sure: bool = False) -> list[str]:
    """The text of differences by measure."""
    texts = {name: with_interval(value, f"+{MEASURES[name].form}") for name, value in values.items()}
    return [f"**{text}**" if mark_sure and sure(values[name]) else text for name, text in texts.items()]


def by_group(results: dict[str, Rows], field: str, name: str) -> list[str]:
    """A table systems × groups of files of one measure; nothing if the files have one group or too many."""
    results = {system: rows for system, rows in results.items() if has(rows, name)}
    first = next(iter(results.values()), [])
    groups = sorted({row[field] for row in first if row.get(field) is not None})
    if not 1 < len(groups) <= 10:
        return []
    counts = [sum(row.get(field) == group for row in first) for group in groups]
    body = []
    for system, rows in results.items():
        means = [average(of_group(rows, field, group), name).mean for group in groups]
        body.append([system, *(f"{mean:{MEASURES[name].form}}" for mean in means)])
    columns = [f"{group} ({count} files)" for group, count in zip(groups, counts, strict=True)]
    return ["", f"## {MEASURES[name].heading} by {field}", "", *table(["system", *columns], body)]


def of_group(rows: Rows, field: str, group) -> Rows:
    """The rows of one group."""
    return [row for row in rows if row.get(field) == group]


def plain(value: Mean, form: str) -> str:
    """A mean without its interval; `–` where undefined."""
    return "–" if np.isnan(value.mean) else f"{value.mean:{form}}"


def with_interval(value: Mean, form: str) -> str:
    """A mean with its interval, where it has one; a dash for a mean of nothing."""
    if np.isnan(value.mean):
        return "–"
    mean, low, high = (f"{number:{form}}" for number in (value.mean, value.low, value.high))
    return f"{mean} [{low}, {high}]" if np.isfinite(value.low) else mean
