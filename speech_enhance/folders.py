"""All recordings under a folder, in any number of processes; what is done stays done."""

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
from .audio_writer import FORMATS
from .file_enhancement import PipelineChoice, UserError, enhance_file, first_line

REPORT_NAME = "speech-enhance.jsonl"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a line of the report.

    Args:
        file: Its path under the folder.
        duration: Seconds of audio.
        seconds: It took.
        error: Why it failed, in one line, or `None`.
        source: Size and time of modification (ns) of the recording.
        choice: How it was enhanced.
        num_limited, lost_tags: See [`FileReport`].
    """

    file: str
    duration: float
    seconds: float
    error: str | None
    source: list[int]
    choice: dict
    num_limited: int = 0
    lost_tags: list[str] = dataclasses.field(default_factory=list)


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

    def plan(self) -> tuple[list[str], list[str]]:
        """Paths under `source` of the recordings that are to be enhanced, and of those that need not be: which were
        enhanced before in the same way, are still there, and have not changed since.

        Raises:
            UserError: if there are no recordings, or `target` is no place for a folder.
        """
        if self.target.exists() and not self.target.is_dir():
            raise UserError(f"{self.target}: is no folder, and {self.source} is one")
        if self.target.exists() and os.path.samefile(self.source, self.target):
            raise UserError(f"{self.target}: output and input are the same folder")
        files = list(self._recordings())
        if not files:
            raise UserError(f"{self.source}: holds no audio files")
        done = self._done()
        kept = [file for file in files if self._is_current(file, done.get(file))]
        return [file for file in files if file not in set(kept)], kept

    def run(self, files: list[str], workers: int = 1) -> Iterator[Outcome]:
        """Enhance `files`, in processes of their own if `workers` is above 1; each outcome as it comes.

        Raises:
            UserError: if the pipeline cannot be loaded, or the folder not be written; also if a process is killed.
        """
        try:
            self.target.mkdir(parents=True, exist_ok=True)
            report = open(self.report_path, "a", encoding="utf-8")  # noqa: SIM115 - closed below
        except OSError as error:
            raise UserError(f"{self.target}: cannot be written ({error.strerror})") from error
        with report:
            for outcome in self._outcomes(files, workers):
                report.write(json.dumps(dataclasses.asdict(outcome), ensure_ascii=False) + "\n")
                report.flush()
                yield outcome

    def _outcomes(self, files: list[str], workers: int) -> Iterator[Outcome]:
        workers = min(workers, len(files))
        if workers <= 1:
            loaded = self.choice.load() if files else None
            yield from (self._enhance(file, loaded) for file in files)
            return
        context = multiprocessing.get_context("spawn")
        threads = max(1, (os.cpu_count() or 1) // workers)
        with ProcessPoolExecutor(workers, context, _start_worker, (self.choice, threads)) as pool:
            tasks = [pool.submit(partial(_enhance_in_worker, self), file) for file in files]
            try:
                for task in as_completed(tasks):
                    yield task.result()
            except BrokenProcessPool:
                raise UserError("a worker process died (out of memory?); the same command goes on") from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _enhance(self, file: str, loaded) -> Outcome:
        """Enhance one file with the pipeline and settings `loaded`."""
        pipeline, settings = loaded
        choice, facts = dataclasses.asdict(self.choice), self._facts(file)
        try:
            target = self.target / file
            target.parent.mkdir(parents=True, exist_ok=True)
            report = enhance_file(pipeline, self.source / file, target, self.choice.generator(), **settings)
        except Exception as error:  # one file, whatever is wrong with it, does not stop the others
            return Outcome(file, 0.0, 0.0, first_line(error), facts, choice)
        return Outcome(file, report.duration, report.seconds, None, facts, choice, report.num_limited, report.lost_tags)

    def _recordings(self) -> Iterator[str]:
        extensions = {*FORMATS, *ffmpeg.CONTAINERS}
        target = self.target.resolve()
        for folder, folders, names in os.walk(self.source):
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
        if self.report_path.exists():
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


def _enhance_in_worker(job: FolderJob, file: str) -> Outcome:
    return job._enhance(file, _worker["loaded"])
