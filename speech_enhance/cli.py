"""The command `speech-enhance INPUT OUTPUT`."""

import argparse
import contextlib
import importlib.util
import math
import os
import sys
from pathlib import Path

from .audio_files import AudioFileError, check_input, open_audio
from .audio_writer import check_output
from .file_enhancement import BACKENDS, FileReport, PipelineChoice, UserError, check_places, enhance_file
from .folders import FolderJob, Outcome, counted, named
from .schedulers import PRESETS, SCHEDULERS
from .standard_streams import run_command, say, show, spooled_input, spooled_output


class OneLineParser(argparse.ArgumentParser):
    """Raises [`UserError`] instead of printing usage and ending the process."""

    def error(self, message: str):
        raise UserError(f"{message} (see --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 some files of a folder failed, 2 wrong input, 130 interrupted, 141 the
    reader of stdout has left."""
    return run_command(lambda: run(build_parser().parse_args(arguments)), "interrupted, no file is left half-written")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="speech-enhance",
        description="Turn down the noise in a recording of speech. The output has the input's sampling rate, "
        "channels, length, level and tags.",
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="audio file (WAV, FLAC, Ogg, Opus, MP3, …); with ffmpeg also others, and videos; a folder of them; - for stdin",
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help="file to write, its extension chooses the format; a folder for a folder; - for stdout",
    )
    add_pipeline_options(parser)
    parser.add_argument(
        "--plot", metavar="IMAGE", type=_image, help="also draw before, after and the gain (.png, .pdf, .svg)"
    )
    parser.add_argument(
        "--format", choices=("wav", "flac", "ogg", "mp3"), default="wav", help="of stdout (default: wav)"
    )
    parser.add_argument(
        "--workers", type=number(int, 1, 256), default=1, metavar="N", help="processes for a folder (default: 1)"
    )
    parser.add_argument("--version", action="version", version=_version())
    return parser


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """The options that [`pipeline_choice`] reads."""
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="balanced",
        help="speed against quality (default: %(default)s); the next three options change parts of it",
    )
    parser.add_argument("--scheduler", choices=SCHEDULERS, metavar="NAME", help=f"one of {', '.join(SCHEDULERS)}")
    parser.add_argument("--steps", type=number(int, 1, 1000), metavar="N", help="steps of the scheduler")
    parser.add_argument("--estimates", type=number(int, 1, 1000), metavar="N", help="generated mels to average")
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), default=0, metavar="N", help="default: 0")
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="pipeline folder or Hub id (default: the bundled one)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, … (default: a GPU if there is one)")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="torch",
        help="what runs the network: torch, or on the CPU onnx, faster on many for more than a minute of sound (default: %(default)s)",
    )
    parser.add_argument(
        "--attenuation-limit",
        type=number(float, 0, 1000),
        metavar="DB",
        help="turn nothing down by more than this many dB (default: no limit)",
    )
    parser.add_argument(
        "--mix",
        type=number(float, 0, 1),
        default=1.0,
        metavar="0..1",
        help="share of the enhanced signal (default: 1)",
    )
    parser.add_argument(
        "--independent-channels",
        action="store_true",
        help="enhance each channel by itself, for channels with different talkers (default: one gain for all)",
    )


def pipeline_choice(options: argparse.Namespace, device: str | None = None) -> PipelineChoice:
    """What the options say, on `device` unless they name another."""
    return PipelineChoice(
        options.model, options.device or device, options.preset, options.scheduler, options.steps, options.estimates,
        options.seed, options.attenuation_limit, options.mix, options.independent_channels, options.backend,
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Do what the options ask for; returns the exit code."""
    choice = pipeline_choice(options)
    if os.path.isdir(options.input):
        if options.plot:
            raise UserError("--plot draws one file, not a folder")
        if options.output == "-":
            raise UserError("a folder needs a folder for its output, not stdout")
        return run_folder(options, choice)
    with contextlib.ExitStack() as stack:
        source = check_input(stack.enter_context(spooled_input()) if options.input == "-" else options.input)
        target = stack.enter_context(spooled_output(options.format)) if options.output == "-" else options.output
        target = check_output(target)
        check_places(source, target, options.plot)
        open_audio(source)  # a bad file is told before the model is loaded
        pipeline, settings = choice.load()
        with ProgressBar() as progress:
            try:
                report = enhance_file(pipeline, source, target, choice.generator(), progress, options.plot, **settings)
            except AudioFileError:
                raise
            except ValueError as error:
                raise UserError(f"{options.input}: {error}") from error
    tell(report, options.output, pipeline, settings)
    return 0


def run_folder(options: argparse.Namespace, choice: PipelineChoice) -> int:
    """Enhance the recordings under `options.input`; exit code 1 if any failed."""
    job = FolderJob(Path(options.input), Path(options.output), choice)
    plan = job.plan()
    if plan.kept:
        say(f"{counted(len(plan.kept))} done already")
    if plan.left_out:
        say(
            f"left out, as no recordings, links to folders or of a format that cannot be written: {named(plan.left_out)}"
        )
    outcomes = []
    for outcome in job.run(plan, options.workers):
        outcomes.append(outcome)
        done = f"{outcome.duration:.1f} s in {outcome.seconds:.1f} s" if outcome.error is None else outcome.error
        number = f"[{len(outcomes)}/{len(plan.waiting) + len(plan.unreadable)}]"
        show(f"{number} {outcome.file}: {done}")
        for loss in losses(outcome, Path(outcome.file).suffix):
            show(f"{number} {outcome.file}: {loss}")
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    say(
        f"{counted(len(outcomes) - len(failed))} enhanced, {len(failed)} failed, {len(plan.kept)} done before, "
        f"{len(plan.left_out)} left out ({job.report_path})"
    )
    return 1 if failed else 0


class ProgressBar:
    """Seconds of audio done and the time that is left, on a terminal; called by [`enhance_file`]."""

    def __enter__(self) -> "ProgressBar":
        self._bar = None
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, stage: str, seconds: float, duration: float) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            form = "{desc}{percentage:3.0f}% |{bar}| {n:.0f} of {total:.0f} s of audio, {remaining} left"
            if math.isnan(duration):
                duration, form = None, "{desc}{n:.0f} s of audio in {elapsed}"
            known = os.get_terminal_size(sys.stderr.fileno()).columns  # 0 in some containers: tqdm would show nothing
            size = {} if known else {"ncols": 80, "nrows": 24}
            self._bar = tqdm(total=duration, bar_format=form, leave=False, **size)
        if self._bar.desc.removesuffix(": ") != stage:
            self._bar.reset()
            self._bar.set_description(stage)
        self._bar.update(seconds - self._bar.n)


def tell(report: FileReport, name: str, pipeline, settings: dict) -> None:
    """Say on stderr what was done, and what of the recording could not be kept."""
    for loss in losses(report, report.target.suffix):
        say(loss)
    done = (
        f"{name}: {report.duration:.1f} s of audio enhanced in {report.seconds:.1f} s "
        f"({type(pipeline.scheduler).__name__}, {settings['num_inference_steps']} step(s), "
        f"{settings['num_estimates']} estimate(s))"
    )
    show(done)


def losses(report: FileReport | Outcome, extension: str) -> list[str]:
    """What of a recording could not be read or kept in a file of this extension, a sentence each."""
    sentences = list(report.notes)
    if report.num_limited:
        sentences.append(f"{report.num_limited} samples over full scale were limited")
    if report.lost_tags:
        sentences.append(f"tags that {extension} cannot hold were left out: {', '.join(report.lost_tags)}")
    return sentences


def number(kind: type, lowest: float, highest: float):
    """An argument's type: a number in a range."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            word = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"expected a {word} from {lowest} to {highest}, got {text!r}")
        return value

    return parse


def _image(text: str) -> str:
    if Path(text).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png, .pdf or .svg, got {text!r}")
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {Path(text).parent} does not exist")
    if importlib.util.find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError('needs matplotlib: pip install "speech-enhance[plot]"')
    return text


def _version() -> str:
    from . import __version__

    return f"speech-enhance {__version__}"
