"""Reports as two files side by side, `.json` for programs and `.md` for people: their tables, writing and reading."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from speech_enhance.pending_files import write_text


def table(headings: Sequence, rows: Iterable[Sequence]) -> list[str]:
    """The lines of a Markdown table; a cell is anything that becomes text."""
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (headings, *rows)]
    return [lines[0], "|---" * len(headings) + "|", *lines[1:]]


def stored_rows(path: Path | None) -> list[dict]:
    """The rows that an earlier run has stored with [`append_row`], if any."""
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
    return [json.loads(line) for line in lines]


def append_row(path: Path, row: dict) -> None:
    """Store a row as a line of JSON, so that a run that is stopped can go on there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_report(stem: str | None, results, text: str) -> None:
    """Print `text` and how it was made. With a `stem`, write them to `stem.md`, and `results` to `stem.json`. There,
    numbers are rounded to 4 digits; `nan` and `inf` become strings, since JSON has no such numbers."""
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


class Reports:
    """A folder of reports, each `NAME.json` with the results and `NAME.md`, whose last line says how it was made."""

    def __init__(self, folder: str | Path, names: list[str]):
        self.folder, self.names = Path(folder), names
        missing = [
            f"{name}{end}" for name in names for end in (".json", ".md") if not (self.folder / (name + end)).is_file()
        ]
        if missing:
            raise FileNotFoundError(
                f"{self.folder} lacks {', '.join(missing)}: nothing is published without its evaluation; measure first "
                "(training/README.md, Figures)"
            )

    def results(self, name: str):
        """What `NAME.json` holds."""
        with open(self.folder / f"{name}.json", encoding="utf-8") as file:
            return json.load(file)

    def provenance(self, name: str) -> tuple[str, str]:
        """`(command, commit)` that `NAME.md` states."""
        text = (self.folder / f"{name}.md").read_text(encoding="utf-8")
        found = re.search(r"^Made by `(.+)` at commit (\S+)\.\s*\Z", text, flags=re.MULTILINE)
        if not found:
            raise ValueError(f"{self.folder / name}.md does not end by saying how it was made; write it anew")
        command = found.group(1)
        if not command.startswith("python "):  # a script, by its name alone
            command = f"python training/{command}"
        return command, found.group(2)

    def check_model(self, model: str | Path, default: str | Path, root: str | Path) -> None:
        """Refuse reports that say they measured another checkpoint than `model`.

        Args:
            model: Folder that is to be published.
            default: Folder that the scripts measure when their command names no `--model`.
            root: Folder to which paths in the commands are relative.
        """
        for name in self.names:
            command = shlex.split(self.provenance(name)[0])
            if Path(command[1]).name == "train.py":  # measured what it had just trained
                continue
            measured = command[command.index("--model") + 1] if "--model" in command else default
            if (Path(root) / measured).resolve() != Path(model).resolve():
                raise ValueError(
                    f"{self.folder / name}.md is about {measured}, not about {model}; measure this one: "
                    "python -m training.evaluation.evaluate --model FOLDER"
                )
