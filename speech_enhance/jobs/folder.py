"""Enhances all recordings under a folder in any number of processes. A new run keeps what an earlier one finished."""

import contextlib
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from ..audio import ffmpeg
from ..audio.files import AudioFileError, reason
from ..audio.writer import FORMATS
from ..wording import counted
from .batches import GROUP_FILES, Result, enhance_files, group_by_size
from .file import FileReport, PipelineChoice, UserError, first_line
from .folder_report import FolderReport

REPORT_NAME = "speech-enhance.jsonl"


@dataclass(frozen=True)
class Outcome:
    """The result for one file, which is a line of the report.

    Args:
        file: Path of the file under the folder.
        status: Result, `"enhanced"` or `"failed"`.
        error: Reason of the failure in one line, or `None`.
        duration: Seconds of audio.
        seconds: Seconds of computing time. Files that were enhanced together share it in proportion to their length.
        real_time_factor: Seconds of computing per second of audio, `None` for a file that failed.
        source: Size and time of modification (ns) of the recording.
        choice: Pipeline and settings that were used.
        num_limited, lost_tags, notes: Fields of [`FileReport`].
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
    """Convert the result of [`enhance_files`] for one recording into fields of a report."""
    assert result is not None  # every file has a target
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
    """The work to do in a folder. All paths are relative to the folder.

    Args:
        files: All recordings.
        waiting: Recordings to enhance.
        kept: Recordings that need no work: they were enhanced before in the same way, have not changed since, and
            their enhanced files still exist.
        unreadable: Folders that could not be read, with the reason.
        left_out: Files that are not recordings or whose format cannot be written, and links to folders.
    """

    files: list[str]
    waiting: list[str]
    kept: list[str]
    unreadable: dict[str, str]
    left_out: list[str]


@dataclass(frozen=True)
class FolderJob:
    """Enhances every recording under `source` into the same place under `target`.

    A file counts as a recording if its extension names a format that can be written. A link to a file outside `source`
    is not followed and counts as a failed file. `speech-enhance.jsonl` in `target` gets a line for each finished file.

    Args:
        source, target: Folders of the recordings and of the enhanced files; `target` is made if it does not exist.
        choice: Pipeline and settings to use.
    """

    source: Path
    target: Path
    choice: PipelineChoice

    @property
    def report_path(self) -> Path:
        return self.target / REPORT_NAME

    def plan(self) -> Plan:
        """Find out what there is to do, see [`Plan`].

        Raises:
            UserError: if there are no recordings, if `target` is `source` or not a folder, or if its report is not a
                regular file.
        """
        if os.path.exists(self.target) and not os.path.isdir(self.target):
            raise UserError(f"{self.target}: is no folder, and {self.source} is one")
        if os.path.exists(self.target) and os.path.samefile(self.source, self.target):
            raise UserError(f"{self.target}: output and input are the same folder")
        unreadable: dict[str, str] = {}
        files, left_out = [], []
        for file, known in self._files(unreadable):
            (files if known else left_out).append(file)
        if not files and not unreadable:
            found = f" of a format that can be written, only {named(left_out)}" if left_out else ""
            raise UserError(f"{self.source}: holds no audio files{found}")
        kept = self._kept(files)
        waiting = [file for file in files if file not in kept]
        return Plan(files, waiting, sorted(kept), unreadable, left_out)

    def run(
        self, plan: Plan, workers: int = 1, on_progress: Callable[[str, float, float], None] | None = None
    ) -> Iterator[Outcome]:
        """Enhance the waiting files and yield each outcome as it comes. Worker processes are started if `workers` is
        above 1.

        Short files share the network's batches. The groups (see [`group_by_size`]) are formed from all files of the
        plan, so a missing file is computed with the same neighbours as the first time and gets the same bytes.

        Args:
            plan: Work to do.
            workers: Number of processes.
            on_progress: Function that is called while a file or a group is enhanced, see [`enhance_files`]; only used
                with one process.

        Raises:
            UserError: if the pipeline cannot be loaded, the folder cannot be written, or a process is killed.
        """
        try:
            self.target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.target}: cannot be written ({reason(error)})") from error
        report = FolderReport(self.report_path)
        report.check()
        for outcome in self._outcomes(plan, workers, on_progress):
            report.add(dataclasses.asdict(outcome))
            yield outcome

    def _outcomes(self, plan: Plan, workers: int, on_progress) -> Iterator[Outcome]:
        for folder, why in plan.unreadable.items():
            error = AudioFileError(f"{self.source / folder}: cannot be read ({why})")
            yield self._outcome(folder, error)
        groups = self._groups(plan, workers)
        workers = min(workers, len(groups))
        if workers <= 1:
            loaded = self.choice.load() if groups else None
            for group in groups:
                yield from self._enhance(group, loaded, on_progress)
            return
        context = multiprocessing.get_context("spawn")
        threads = max(1, (os.cpu_count() or 1) // workers)
        with ProcessPoolExecutor(workers, context, _start_worker, (self.choice, threads)) as pool:
            tasks = [pool.submit(functools.partial(_enhance_in_worker, self), group) for group in groups]
            try:
                for task in as_completed(tasks):
                    yield from task.result()
            except BrokenProcessPool:
                raise UserError("a worker process died (out of memory?); the same command goes on") from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _groups(self, plan: Plan, workers: int) -> list[list[tuple[str, bool]]]:
        """Return groups of files to enhance together, each file with whether it waits. Groups without a waiting file
        are left out."""
        waiting = set(plan.waiting)
        most = GROUP_FILES if workers == 1 else max(1, min(GROUP_FILES, len(plan.files) // (2 * workers)))
        groups = group_by_size(plan.files, lambda file: (self._facts(file) or [0])[0], most)
        marked = ([(file, file in waiting) for file in group] for group in groups)
        return [group for group in marked if any(waits for _, waits in group)]

    def _enhance(self, group: list[tuple[str, bool]], loaded, on_progress=None) -> list[Outcome]:
        """Enhance the waiting files of a group with the pipeline and settings `loaded`."""
        pipeline, settings = loaded
        outside = [file for file, waits in group if waits and self._leads_outside(file)]
        group = [(file, waits) for file, waits in group if file not in outside]
        facts = {file: self._facts(file) for file, _ in group}
        places = [(self.source / file, self.target / file if waits else None) for file, waits in group]
        for _, target in places:
            if target is not None:
                # a file may stand where the folder should be: writing then reports it for the recordings concerned
                with contextlib.suppress(OSError):
                    target.parent.mkdir(parents=True, exist_ok=True)
        results = enhance_files(pipeline, places, self.choice.generator, on_progress, **settings)
        why = "is a link to a file outside the folder, which is not followed; put the file itself there"
        refused = [self._outcome(file, AudioFileError(f"{self.source / file}: {why}")) for file in outside]
        return refused + [
            self._outcome(file, result, facts[file])
            for (file, waits), result in zip(group, results, strict=True)
            if waits
        ]

    def _outcome(self, file: str, result: Result, facts: list[int] | None = None) -> Outcome:
        fields = outcome_fields(result)
        if fields["error"] is not None:
            fields["error"] = fields["error"].removeprefix(f"{self.source / file}: ")
        return Outcome(file, source=facts or [], choice=dataclasses.asdict(self.choice), **fields)

    def _files(self, unreadable: dict[str, str]) -> Iterator[tuple[str, bool]]:
        """Yield files in order of folders and names, each with whether it is a recording. Links to folders are yielded
        as non-recordings and not followed, so that no loop is endless. Hidden files are not recordings: some systems
        keep notes in them."""
        target, extensions = os.path.realpath(self.target), {*FORMATS, *ffmpeg.CONTAINERS}

        def on_error(error: OSError) -> None:
            unreadable[os.path.relpath(error.filename, self.source)] = reason(error)

        for folder, folders, names in os.walk(self.source, onerror=on_error):
            place = Path(folder).relative_to(self.source)
            folders[:] = sorted(name for name in folders if os.path.realpath(Path(folder) / name) != target)
            links = [name for name in folders if os.path.islink(Path(folder) / name)]
            for name in sorted(names):
                known = Path(name).suffix.lower() in extensions and not name.startswith(".")
                yield str(place / name), known
            yield from ((str(place / name), False) for name in links)

    def _leads_outside(self, file: str) -> bool:
        """Return whether `file` is a link that leads out of this folder, or lies behind such a link."""
        return not Path(os.path.realpath(self.source / file)).is_relative_to(os.path.realpath(self.source))

    def _facts(self, file: str) -> list[int]:
        """Return size and time of modification, or an empty list if the file does not exist."""
        try:
            status = (self.source / file).stat()
        except OSError:
            return []
        return [status.st_size, status.st_mtime_ns]

    def _kept(self, files: list[str]) -> set[str]:
        """Return the members of `files` that are done according to their last line in the report."""
        choice, known = dataclasses.asdict(self.choice), set(files)
        facts = functools.cache(self._facts)
        done = {}
        for outcome in FolderReport(self.report_path).outcomes(len(files)):
            file = outcome["file"]
            if file in known:
                in_this_way = outcome.get("status") == "enhanced" and outcome.get("choice") == choice
                done[file] = in_this_way and outcome.get("error") is None and outcome.get("source") == facts(file) != []
        return {file for file, is_done in done.items() if is_done and os.path.isfile(self.target / file)}


def named(files: list[str], most: int = 5) -> str:
    """Return a text with the number of files and the names of the first ones."""
    more = ", …" if len(files) > most else ""
    return f"{counted(len(files))} ({', '.join(files[:most])}{more})"


_worker = {}


def _start_worker(choice: PipelineChoice, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _worker["loaded"] = choice.load()


def _enhance_in_worker(job: FolderJob, group: list[tuple[str, bool]]) -> list[Outcome]:
    return job._enhance(group, _worker["loaded"])
