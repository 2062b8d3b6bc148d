"""The page of a metric's Space, which shows the scores of two recordings. The same file serves every metric."""

import math
from pathlib import Path
from typing import Any, cast

import evaluate
import gradio

HERE = Path(__file__).resolve().parent
(SCRIPT,) = (path for path in HERE.glob("*.py") if path.name != "app.py")
METRIC = cast(Any, evaluate.load(str(SCRIPT)))  # the metric has more than its base class


def score(prediction: str | None, reference: str | None) -> dict[str, float | str]:
    """Return the scores of one recording by name. JSON has no undefined or infinite numbers, so they become words."""
    if not prediction or not reference:
        raise gradio.Error("Give both recordings.")
    try:
        values = METRIC.compute(predictions=[prediction], references=[reference])
    except ValueError as error:
        raise gradio.Error(str(error)) from error
    scores = {name: float(values[name]) for name in METRIC.names}
    return {name: round(value, 4) if math.isfinite(value) else str(value) for name, value in scores.items()}


demo = gradio.Interface(
    score,
    [gradio.Audio(type="filepath", sources=["upload"], label=name) for name in ("Enhanced", "Clean reference")],
    gradio.JSON(label="Scores"),
    title=METRIC.title_text,
    description=METRIC.description_text,
    article=METRIC.values_text,
    api_name="score",
    flagging_mode="never",
)

if __name__ == "__main__":
    demo.launch()
