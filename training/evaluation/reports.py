"""Reports as two files side by side: `.json` for programs, `.md` for people."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from speech_enhance.pending_files import write_text


def write_report(stem: str | None, results, text: str) -> None:
    """Print `text` and how it was made; with a `stem`, write them to `stem.md` and `results` to `stem.json`, numbers
    rounded to 4 digits and what is not finite (`nan`, `inf`) as a string, since JSON has no such numbers."""
    text = f"{text.rstrip()}\n\n{provenance()}\n"
    print(text)
    if stem:
        Path(stem).parent.mkdir(parents=True, exist_ok=True)
        write_text(stem + ".json", json.dumps(_plain(results), indent=1) + "\n")
        write_text(stem + ".md", text)


def provenance() -> str:
    """The command that is running, and the commit of the code it runs, if git knows it."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    name = module.name.removesuffix(".__main__") if module else ""
    program = f"python -m {name}" if name.startswith("training.") else Path(sys.argv[0]).name
    return f"Made by `{shlex.join([*program.split(), *sys.argv[1:]])}` at commit {_commit()}."


def _commit() -> str:
    """Hash of the commit, `-dirty` if files other than reports were changed since."""
    git = ["git", "-C", str(Path(__file__).resolve().parents[2])]
    changes = ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!training/results"]
    try:
        head, changed = (
            subprocess.run([*git, *arguments], capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (["rev-parse", "--short=10", "HEAD"], changes)
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changed else head


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else str(value)
    return value
