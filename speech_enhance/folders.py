"""All recordings under a folder, in any number of processes; what is done stays done."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import ffmpeg
from .audio_files import AudioFileError, reason
from .audio_writer import FORMATS
from .file_batches import GROUP_FILES, Result, enhance_files, group_by_size
from .file_enhancement import FileReport, PipelineChoice, UserError, first_line

REPORT_NAME = "speech-enhance.jsonl"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a line of the report.

    Args:
        file: Its path under the folder.
        status: `"enhanced"` or `"failed"`.
        error: Why it failed, in one line, or `None`.
        duration: Seconds of audio.
        seconds: It took; of files that were enhanced together, its share by length.
        real_time_factor: The one by the other, `None` for a file that failed.
        source: Size and time of modification (ns) of the recording.
        choice: How it was enhanced.
        num_limited, lost_tags, notes: See [`FileReport`].
    """

    file: str
    status: str
    error: str | None
    duration: float
    seconds: float
    real_time_factor: float | None
    source: list[int]
    choice: dict
    num_limited: int = 0
    lost_tags: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def outcome_fields(result: Result) -> dict:
    """What [`enhance_files`] gave for a recording, as the fields of a report."""
    if not isinstance(result, FileReport):
        fields = {"status": "failed", "error": first_line(result), "duration": 0.0, "seconds": 0.0}
        return fields | {"real_time_factor": None}
    return {
        "status": "enhanced",
        "error": None,
        "duration": result.duration,
        "seconds": round(result.seconds, 4),
        "real_time_factor": round(result.seconds / result.duration, 4),
        "num_limited": result.num_limited,
        "lost_tags": result.lost_tags,
        "notes": result.notes,
    }


@dataclass(frozen=True)
class Plan:
    """Paths, relative to the folder, of all recordings in it; of those that are to be enhanced; and of those that need
    not be: which were enhanced before in the same way, are still there, and have not changed since. `unreadable` are
    folders that could not be looked into, with the reason."""

    files: list[str]
    waiting: list[str]
    kept: list[str]
    unreadable: dict[str, str]


@dataclass(frozen=True)
class FolderJob:
    """Enhance everything under `source` into the same places under `target`.

    Files that libsndfile or ffmpeg know by their extension count as recordings. `speech-enhance.jsonl` in `target` gets a
    line for each file as it is finished.

    Args:
        source, target: Folders; `target` is made if need be.
        choice: The pipeline.
    """

    source: Path
    target: Path
    choice: PipelineChoice

    @property
    def report_path(self) -> Path:
        return self.target / REPORT_NAME

    def plan(self) -> Plan:
        """See [`Plan`].

        Raises:
            UserError: if there are no recordings, or `target` is no place for a folder.
        """
        if os.path.exists(self.target) and not os.path.isdir(self.target):
            raise UserError(f"{self.target}: is no folder, and {self.source} is one")
        if os.path.exists(self.target) and os.path.samefile(self.source, self.target):
            raise UserError(f"{self.target}: output and input are the same folder")
        unreadable: dict[str, str] = {}
        files = list(self._recordings(unreadable))
        if not files and not unreadable:
            raise UserError(f"{self.source}: holds no audio files")
        done = self._done()
        kept = {file for file in files if self._is_current(file, done.get(file))}
        waiting = [file for file in files if file not in kept]
        return Plan(files, waiting, sorted(kept), unreadable)

    def run(self, plan: Plan, workers: int = 1) -> Iterator[Outcome]:
        """Enhance what waits, in processes of their own if `workers` is above 1; each outcome as it comes.

        Short files share the network's batches, in groups (see [`group_by_size`]) of all files of the plan: one that is
        missing is computed with the same neighbours as the first time, so it gets the same bytes.

        Raises:
            UserError: if the pipeline cannot be loaded, or the folder not be written; also if a process is killed.
        """
        try:
            self.target.mkdir(parents=True, exist_ok=True)
            report = open(self.report_path, "a", encoding="utf-8")  # noqa: SIM115 - closed below
        except OSError as error:
            raise UserError(f"{self.target}: cannot be written ({error.strerror})") from error
        with report:
            for outcome in self._outcomes(plan, workers):
                report.write(json.dumps(dataclasses.asdict(outcome)) + "\n")  # ASCII: a name may be no text at all
                report.flush()
                yield outcome

    def _outcomes(self, plan: Plan, workers: int) -> Iterator[Outcome]:
        for folder, why in plan.unreadable.items():
            error = AudioFileError(f"{self.source / folder}: cannot be read ({why})")
            yield self._outcome(folder, error)
        groups = self._groups(plan, workers)
        workers = min(workers, len(groups))
        if workers <= 1:
            loaded = self.choice.load() if groups else None
            for group in groups:
                yield from self._enhance(group, loaded)
            return
        context = multiprocessing.get_context("spawn")
        threads = max(1, (os.cpu_count() or 1) // workers)
        with ProcessPoolExecutor(workers, context, _start_worker, (self.choice, threads)) as pool:
            tasks = [pool.submit(partial(_enhance_in_worker, self), group) for group in groups]
            try:
                for task in as_completed(tasks):
                    yield from task.result()
            except BrokenProcessPool:
                raise UserError("a worker process died (out of memory?); the same command goes on") from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _groups(self, plan: Plan, workers: int) -> list[list[tuple[str, bool]]]:
        """Files that are enhanced together, and whether each is one that waits; groups where none does are left out."""
        waiting = set(plan.waiting)
        most = GROUP_FILES if workers == 1 else max(1, min(GROUP_FILES, len(plan.files) // (2 * workers)))
        groups = group_by_size(plan.files, lambda file: (self._facts(file) or [0])[0], most)
        marked = ([(file, file in waiting) for file in group] for group in groups)
        return [group for group in marked if any(waits for _, waits in group)]

    def _enhance(self, group: list[tuple[str, bool]], loaded) -> list[Outcome]:
        """Enhance those of a group that wait, with the pipeline and settings `loaded`."""
        pipeline, settings = loaded
        facts = {file: self._facts(file) for file, _ in group}
        places = [(self.source / file, self.target / file if waits else None) for file, waits in group]
        for _, target in places:
            if target is not None:
                # a file may be where a folder is to be: writing says so, for the recordings it concerns
                with contextlib.suppress(OSError):
                    target.parent.mkdir(parents=True, exist_ok=True)
        results = enhance_files(pipeline, places, self.choice.generator, **settings)
        return [
            self._outcome(file, result, facts[file])
            for (file, waits), result in zip(group, results, strict=True)
            if waits
        ]

    def _outcome(self, file: str, result: Result, facts: list[int] | None = None) -> Outcome:
        choice = dataclasses.asdict(self.choice)
        return Outcome(file, source=facts or [], choice=choice, **outcome_fields(result))

    def _recordings(self, unreadable: dict[str, str]) -> Iterator[str]:
        """Recordings in order of folders and names; links to folders are not followed, so no loop is endless."""
        extensions = {*FORMATS, *ffmpeg.CONTAINERS}
        target = self.target.resolve()

        def on_error(error: OSError) -> None:
            unreadable[os.path.relpath(error.filename, self.source)] = reason(error)

        for folder, folders, names in os.walk(self.source, onerror=on_error):
            folders[:] = sorted(name for name in folders if (Path(folder) / name).resolve() != target)
            for name in sorted(names):
                if Path(name).suffix.lower() in extensions and not name.startswith("."):
                    yield str((Path(folder) / name).relative_to(self.source))

    def _facts(self, file: str) -> list[int]:
        """Size and time of modification; nothing for a file that is not there."""
        try:
            status = (self.source / file).stat()
        except OSError:
            return []
        return [status.st_size, status.st_mtime_ns]

    def _done(self) -> dict[str, dict]:
        """The last line of the report about every file; a line that was cut off does not count."""
        done = {}
        if os.path.exists(self.report_path):
            for line in self.report_path.read_text(encoding="utf-8").splitlines():
                try:
                    outcome = json.loads(line)
                    done[outcome["file"]] = outcome
                except (ValueError, KeyError, TypeError):
                    continue
        return done

    def _is_current(self, file: str, outcome: dict | None) -> bool:
        return (
            outcome is not None
            and outcome.get("error") is None
            and outcome.get("source") == self._facts(file)
            and outcome.get("choice") == dataclasses.asdict(self.choice)
            and (self.target / file).is_file()
        )


_worker = {}


def _start_worker(choice: PipelineChoice, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _worker["loaded"] = choice.load()


def _enhance_in_worker(job: FolderJob, group: list[tuple[str, bool]]) -> list[Outcome]:
    return job._enhance(group, _worker["loaded"])
