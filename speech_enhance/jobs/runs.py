"""Runs the command `speech-enhance` for one recording, for several, or for a folder."""

import argparse
import contextlib
import os
from pathlib import Path

from ..audio import ffmpeg
from ..audio.files import AudioFileError, check_input, open_audio
from ..audio.writer import FORMATS, check_output
from ..wording import clock_time, counted
from .file import FileReport, PipelineChoice, UserError, check_places, enhance_file
from .folder import FolderJob, Outcome, named
from .standard_streams import say, show, spooled_input, spooled_output
from .terminal_progress import ProgressBar, say_loading

_ONE_FILE_OPTIONS = ("plot", "save_removed", "preview")


def run(options: argparse.Namespace, choice: PipelineChoice) -> int:
    """Do what the options ask for and return the exit code."""
    folders = [path for path in options.input if os.path.isdir(path)]
    if len(options.input) == 1 and not folders:
        return run_file(options, choice)
    for name in _ONE_FILE_OPTIONS:
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} takes one file, not {'a folder' if folders else 'several'}")
    if folders and len(options.input) > 1:
        raise UserError(f"{folders[0]}: is a folder; give one folder alone, or files")
    if options.output == "-":
        raise UserError(f"{'a folder needs' if folders else 'several files need'} a folder for the output, not stdout")
    return run_folder(options, choice) if folders else run_files(options, choice)


def run_file(options: argparse.Namespace, choice: PipelineChoice) -> int:
    """Enhance one recording, which may come from stdin and go to stdout."""
    (name,) = options.input
    with contextlib.ExitStack() as stack:
        source = check_input(stack.enter_context(spooled_input()) if name == "-" else name)
        if options.output == "-":
            shown, target = "-", stack.enter_context(spooled_output(options.format))
        else:
            shown = target = place_for(name, options.output)
        target = check_output(target)
        if options.preview and target.suffix.lower() not in FORMATS:
            raise UserError(f"{target}: a preview is sound alone; give an output such as preview.wav")
        removed = check_output(options.save_removed) if options.save_removed else None
        check_places(source, target, picture=options.plot, removed=removed)
        open_audio(source)  # reports a bad file before the model is loaded
        say_loading(options.quiet)
        pipeline, settings = choice.load()
        extras = {"picture": options.plot, "removed": removed, "preview_seconds": options.preview}
        report = enhance_one(pipeline, name, source, target, choice, options.quiet, settings | extras)
    tell(report, shown, pipeline, settings, options.quiet)
    return 0


def run_files(options: argparse.Namespace, choice: PipelineChoice) -> int:
    """Enhance several recordings into a folder, one after the other. The exit code is 1 if any failed."""
    if "-" in options.input:
        raise UserError("stdin has no name and cannot be one of several files")
    if options.workers > 1:
        raise UserError("--workers is for a folder: put the files into one")
    folder = Path(options.output)
    if not folder.is_dir() and (folder.exists() or folder.suffix.lower() in {*FORMATS, *ffmpeg.CONTAINERS}):
        raise UserError(f"{folder}: is no folder; the last name is where {len(options.input)} files are to go")
    names: dict[str, str] = {}
    for name in options.input:
        key = os.path.basename(name).casefold()  # some systems treat a.wav and A.wav as one file
        if key in names:
            raise UserError(f"{names[key]} and {name} would both become {folder / os.path.basename(name)}")
        names[key] = name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror})") from error
    say_loading(options.quiet)
    pipeline, settings = choice.load()
    failed, total = 0, len(options.input)
    for number, name in enumerate(options.input, 1):
        target = folder / os.path.basename(name)
        try:
            source = check_input(name)
            check_places(source, check_output(target))
            report = enhance_one(pipeline, name, source, target, choice, options.quiet, settings)
        except (AudioFileError, UserError) as error:
            show(f"[{number}/{total}] {error}")
            failed += 1
            continue
        tell(report, target, pipeline, settings, options.quiet, f"[{number}/{total}] ")
    if failed or not options.quiet:
        say(f"{counted(total - failed)} enhanced, {failed} failed")
    return 1 if failed else 0


def place_for(name: str, output: str) -> str:
    """Return the path of the enhanced file: `output`, or the recording's own name in `output` if that is a folder.

    Raises:
        UserError: if the input is stdin and `output` is a folder.
    """
    if not (os.path.isdir(output) or output.endswith(("/", os.sep))):
        return output
    if name == "-":
        raise UserError(f"{output}: is a folder, and stdin has no name; give the name of a file in it")
    return os.path.join(output, os.path.basename(name))


def enhance_one(
    pipeline, name: str, source: Path, target: str | Path, choice: PipelineChoice, quiet: bool, settings: dict
) -> FileReport:
    """Run [`enhance_file`] with a progress bar on a terminal. A wrong setting becomes a [`UserError`] about `name`."""
    with ProgressBar(quiet) as progress:
        try:
            return enhance_file(pipeline, source, target, choice.generator(), progress, **settings)
        except AudioFileError:
            raise
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error


def run_folder(options: argparse.Namespace, choice: PipelineChoice) -> int:
    """Enhance the recordings under a folder. The exit code is 1 if any failed."""
    job = FolderJob(Path(options.input[0]), Path(options.output), choice)
    plan = job.plan()
    note = (lambda text: None) if options.quiet else say
    if plan.kept:
        note(f"{counted(len(plan.kept))} done already")
    if plan.left_out:
        note(
            "left out, as no recordings, links to folders or of a format that cannot be written: "
            f"{named(plan.left_out)}"
        )
    if plan.waiting:
        say_loading(options.quiet)
    outcomes = []
    with ProgressBar(options.quiet) as progress:
        for outcome in job.run(plan, options.workers, progress):
            progress.clear()
            outcomes.append(outcome)
            number = f"[{len(outcomes)}/{len(plan.waiting) + len(plan.unreadable)}]"
            if outcome.error is not None:
                show(f"{number} {outcome.file}: {outcome.error}")
            elif not options.quiet:
                show(f"{number} {outcome.file}: {time_taken(outcome)}")
            for loss in losses(outcome, Path(outcome.file).suffix):
                show(f"{number} {outcome.file}: {loss}")
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed or not options.quiet:
        say(
            f"{counted(len(outcomes) - len(failed))} enhanced, {len(failed)} failed, {len(plan.kept)} done before, "
            f"{len(plan.left_out)} left out ({job.report_path})"
        )
    return 1 if failed else 0


def tell(report: FileReport, name: str, pipeline, settings: dict, quiet: bool = False, number: str = "") -> None:
    """Write to stderr what was done, unless `quiet`, and what could not be kept."""
    for loss in losses(report, report.target.suffix):
        show(f"{number}{name}: {loss}") if number else say(loss)
    if quiet:
        return
    part = (
        f", from {clock_time(report.start)} to {clock_time(report.start + report.duration)}"
        if report.start is not None
        else ""
    )
    steps, estimates = settings["num_inference_steps"], settings["num_estimates"]
    show(
        f"{number}{name}: {time_taken(report)}{part} ({type(pipeline.scheduler).__name__}, {counted(steps, 'step')}, "
        f"{counted(estimates, 'estimate')})"
    )


def time_taken(report: FileReport | Outcome) -> str:
    """Return a text with the length of a recording and its computing time."""
    return f"{report.duration:.1f} s of audio enhanced in {report.seconds:.1f} s"


def losses(report: FileReport | Outcome, extension: str) -> list[str]:
    """Return sentences about what could not be read, or not be kept in a file with this extension."""
    sentences = list(report.notes)
    if report.num_limited:
        sentences.append(
            f"{counted(report.num_limited, 'sample')} over full scale "
            f"{'was' if report.num_limited == 1 else 'were'} limited"
        )
    if report.lost_tags:
        sentences.append(f"tags that {extension} cannot hold were left out: {', '.join(report.lost_tags)}")
    return sentences
