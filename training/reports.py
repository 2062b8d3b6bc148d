"""Reports as two files side by side: `.json` for programs, `.md` for people."""

import json
from pathlib import Path

import numpy as np


def write_report(stem: str | None, results, text: str) -> None:
    """Print `text`; with a `stem`, write it to `stem.md` and `results` to `stem.json`, numbers rounded to 4 digits and
    what is not finite (`nan`, `inf`) as a string, since JSON has no such numbers."""
    print(text)
    if stem:
        Path(stem).parent.mkdir(parents=True, exist_ok=True)
        Path(stem + ".json").write_text(json.dumps(_plain(results), indent=1) + "\n", encoding="utf-8")
        Path(stem + ".md").write_text(text, encoding="utf-8")


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else str(value)
    return value
