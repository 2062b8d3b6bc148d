"""Scores of a variant on several sets at several numbers of steps, and which differences from the first variant
count."""

import numpy as np

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.metrics.reference import mean_score
from speech_enhance.models.schedulers import Preset

from ..validation import Pair
from .bootstrap import Mean, bootstrap_gain
from .compare_schedulers import measure, scores
from .measures import BASIC_MEASURES, headings
from .reports import table


def score_sets(
    pipeline: SpeechEnhancementPipeline, sets: dict[str, list[Pair]], steps: list[int], dereverb: dict[str, float]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Scores of every file, by set, number of steps of DDIM (as a string) and measure. Sets in `dereverb` are enhanced
    with that much less reverberation, if the model was trained for it."""
    figures = {}
    for name, pairs in sets.items():
        dial = dereverb.get(name, 0.0) if pipeline.config.with_dereverb else 0.0
        rows = {str(number): measure(pipeline, Preset("ddim", number, 1), pairs, dial) for number in steps}
        figures[name] = {number: {item: scores(row, item) for item in BASIC_MEASURES} for number, row in rows.items()}
    return figures


def paired_tables(runs: dict[str, list[dict]], first: str) -> list[str]:
    """Markdown lines: a table for each set of the `runs` (per variant, one for each seed), in which a difference is
    bold where the paired 95 % interval over files lies on the same side of 0 for every seed."""
    lines = []
    for name, by_steps in runs[first][0]["figures"].items():
        cells = []
        for variant, rows in runs.items():
            for number in by_steps:
                scored = (_cell(rows, runs[first], name, number, item, variant == first) for item in BASIC_MEASURES)
                cells.append([variant, number, *scored])
        lines += ["", f"## {name}", "", *table(["variant", "steps", *headings(BASIC_MEASURES)], cells)]
    return lines


def _cell(rows: list[dict], base: list[dict], name: str, number: str, item: str, is_first: bool) -> str:
    values, others = ([row["figures"][name][number][item] for row in group] for group in (rows, base))
    form = BASIC_MEASURES[item].fine_form
    average = np.mean([mean_score(files) for files in values])
    if is_first:
        return f"{average:{form}}"
    gains = [bootstrap_gain(files, other) for files, other in zip(values, others, strict=True)]
    mark = "**" if counts(gains) else ""
    difference = np.mean([gain.mean for gain in gains])
    intervals = ", ".join(f"[{gain.low:+{form}}, {gain.high:+{form}}]" for gain in gains)
    return f"{average:{form}} ({mark}{difference:+{form}}{mark} {intervals})"


def counts(gains: list[Mean]) -> bool:
    """Whether the intervals of all seeds lie on the same side of 0."""
    return all(gain.low > 0 for gain in gains) or all(gain.high < 0 for gain in gains)
