"""The runs of an exam: outputs of every system on every set, and what every judge says of them, each made once.

Outputs are kept as sound in the plan's `output_dir`, scores in a file with one line of JSON for each set, system and
judge, so a stopped exam goes on where it was. Both are made anew if the pairs or the model have changed.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..evaluation.evaluate import described, save_outputs, score
from ..evaluation.reports import append_row, stored_rows
from ..evaluation.systems import stored
from ..validation import Pair
from .plan import SIGNAL, ExamPlan, mix_of, stored_folder

CHUNK = 20
"""Number of files that a system gets at once. Their outputs are kept as soon as they are there."""


@dataclass
class Runs:
    """Scores by set, system and judge.

    Args:
        plan: Plan of what is compared.
        path: The file of scores.
        limit: Number of pairs used of each set.
        stored: Folders of outputs of further systems, by name.
        make_judge: Function that makes a judge other than `signal` by its name.
        asr_model: Recogniser of the judge `wer`, if not the usual one.
    """

    plan: ExamPlan
    path: Path
    limit: int | None = None
    stored: dict[str, str] = field(default_factory=dict)
    make_judge: Callable[[str], Callable] | None = None
    asr_model: str | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Systems and judges that are not available here, and the error."""

    def __post_init__(self):
        self.lines = stored_rows(self.path)
        self._digests: dict[str, str] = {}
        self._judges: dict[str, Callable] = {}
        self._loaded: tuple[str, list[Pair]] = ("", [])

    def run(self, name: str, systems: list[str], judges: list[str]) -> dict[str, list[dict]]:
        """What the judges say of the systems on a set, one row for each file; no rows for a system that is missing."""
        if self._loaded[0] != name:
            self._loaded = name, self.plan.load_set(name, self.limit)
        pairs = self._loaded[1]
        made_by = {system: digest([self._pairs_digest(pairs), self._identity(name, system)]) for system in systems}
        self._make_outputs(name, pairs, made_by, judges)
        for judge in judges:
            self._ask(judge, name, pairs, made_by)
        return {system: self._rows(name, system, judges, made_by[system]) for system in systems}

    def latest(self, name: str, systems: list[str], judges: list[str]) -> dict[str, list[dict]]:
        """The stored scores, even if the pairs and models have changed since."""
        results = {}
        for system in systems:
            made_by = [line["made_by"] for line in self.lines if (line["set"], line["system"]) == (name, system)]
            results[system] = self._rows(name, system, judges, made_by[-1]) if made_by else []
        return results

    def _make_outputs(self, name: str, pairs: list[Pair], made_by: dict[str, str], judges: list[str]) -> None:
        """Run every system whose outputs some judge lacks, one after the other."""
        for system, identity in made_by.items():
            if system in self.stored or mix_of(system):
                continue
            if all(self._line(name, system, judge, identity) for judge in judges):
                continue
            folder = self._folder(name, system, identity)
            left = [pair for pair in pairs if not (folder / f"{pair.id}.wav").exists()]
            if not left or system in self.missing:
                continue
            print(f"… {name}: {system}", file=sys.stderr)
            try:
                process = self.plan.make_system(system)
                for chunk in chunks(left):
                    save_outputs(folder, process(chunk), chunk)
            except ImportError as error:
                self.missing[system] = str(error)

    def _made(self, judge: str) -> Callable:
        """A judge by its name."""
        if judge == SIGNAL:
            return score
        if self.make_judge is None:
            raise ValueError(f"no `make_judge` to make the judge {judge}")
        return self.make_judge(judge)

    def _ask(self, judge: str, name: str, pairs: list[Pair], made_by: dict[str, str]) -> None:
        """Let a judge score what it has not scored yet."""
        left = [s for s, identity in made_by.items() if not self._line(name, s, judge, identity) and not self._lacks(s)]
        if not left or judge in self.missing:
            return
        try:
            if judge not in self._judges:  # kept, since it remembers the texts of the clean recordings
                self._judges[judge] = self._made(judge)
            ask = self._judges[judge]
        except ImportError as error:
            self.missing[judge] = str(error)
            return
        for system in left:
            print(f"… {name}: {judge} of {system}", file=sys.stderr)
            rows = ask(self._outputs(name, system, pairs, made_by), pairs)
            files = [described(pair) | row for pair, row in zip(pairs, rows, strict=True)]
            line = {
                "set": name,
                "system": system,
                "judge": self._judge_name(judge),
                "made_by": made_by[system],
                "files": files,
            }
            self.lines.append(line)
            append_row(self.path, line)

    def _outputs(self, name: str, system: str, pairs: list[Pair], made_by: dict[str, str]) -> list[np.ndarray]:
        if mixed := mix_of(system):
            base, mix = mixed
            whole = self._outputs(name, base, pairs, made_by)
            return [
                np.float32(mix) * output + np.float32(1 - mix) * pair.noisy
                for output, pair in zip(whole, pairs, strict=True)
            ]
        if system in self.stored:
            return stored(str(stored_folder(self.stored[system], name)))(pairs)
        return stored(str(self._folder(name, system, made_by[system])))(pairs)

    def _lacks(self, system: str) -> bool:
        mixed = mix_of(system)
        return (mixed[0] if mixed else system) in self.missing

    def _folder(self, name: str, system: str, identity: str) -> Path:
        readable = re.sub(r"[^\w.]+", "-", system)
        return Path(self.plan.output_dir) / name / f"{readable}-{identity[:12]}"

    def _line(self, name: str, system: str, judge: str, identity: str) -> dict | None:
        wanted = (name, system, self._judge_name(judge), identity)
        keys = ("set", "system", "judge", "made_by")
        return next((line for line in self.lines if tuple(line[key] for key in keys) == wanted), None)

    def _judge_name(self, judge: str) -> str:
        """Name of a judge, with that of the recogniser if it is not the usual one."""
        return f"{judge} by {self.asr_model}" if judge == "wer" and self.asr_model else judge

    def _rows(self, name: str, system: str, judges: list[str], identity: str) -> list[dict]:
        """What all judges say, file by file."""
        lines = [line for judge in judges if (line := self._line(name, system, judge, identity))]
        columns = [line["files"] for line in lines]
        return [{key: value for row in rows for key, value in row.items()} for rows in zip(*columns, strict=True)]

    def _identity(self, name: str, system: str) -> list:
        """What the outputs of a system depend on beside the pairs."""
        if mixed := mix_of(system):
            return ["mix", mixed[1], self._identity(name, mixed[0])]
        if system in self.stored:
            return ["stored", self._folder_digest(stored_folder(self.stored[system], name))]
        found = self.plan.model_of(system)
        return ["model", self._folder_digest(Path(found[0])), found[1]] if found else ["package", system]

    def _folder_digest(self, folder: Path) -> str:
        """Digest of a folder's files, or of the name if there is no such folder, as of a model on the Hub."""
        key = str(folder)
        if key not in self._digests:
            files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
            self._digests[key] = digest([key] if not files else (path.read_bytes() for path in files))
        return self._digests[key]

    def _pairs_digest(self, pairs: list[Pair]) -> str:
        return digest(part for pair in pairs for part in (pair.id, pair.noisy.tobytes(), pair.clean.tobytes()))


def digest(parts: Iterable) -> str:
    """SHA-256 of parts, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        piece = part if isinstance(part, bytes) else json.dumps(part).encode()
        total.update(hashlib.sha256(piece).digest())
    return total.hexdigest()


def chunks(pairs: list[Pair]) -> list[list[Pair]]:
    """Lists of at most `CHUNK` pairs."""
    return [pairs[first : first + CHUNK] for first in range(0, len(pairs), CHUNK)]
