"""The command `speech-enhance INPUT OUTPUT`."""

import argparse
import math
import os
import sys
import time
from pathlib import Path

from .audio_files import AudioFileError, AudioReader, check_input, open_audio
from .audio_writer import AudioWriter, check_output
from .schedulers import PRESETS, SCHEDULERS, make_scheduler, preset_settings


class UserError(Exception):
    """Something the caller can mend; its message is the one line they see."""


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UserError(f"{message} (see --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 2 wrong input, 130 interrupted."""
    try:
        run(build_parser().parse_args(arguments))
    except (UserError, AudioFileError) as error:
        print(f"speech-enhance: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("speech-enhance: interrupted, nothing written", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="speech-enhance",
        description="Turn down the noise in a recording of speech. The output has the input's sampling rate, "
        "channels, length, level and tags.",
    )
    parser.add_argument(
        "input", metavar="INPUT", help="audio file (WAV, FLAC, Ogg, Opus, MP3, …); with ffmpeg also others, and videos"
    )
    parser.add_argument("output", metavar="OUTPUT", help="file to write; its extension chooses the format")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="balanced",
        help="speed against quality (default: %(default)s); the next three options change parts of it",
    )
    parser.add_argument("--scheduler", choices=SCHEDULERS, metavar="NAME", help=f"one of {', '.join(SCHEDULERS)}")
    parser.add_argument("--steps", type=_number(int, 1, 1000), metavar="N", help="steps of the scheduler")
    parser.add_argument("--estimates", type=_number(int, 1, 1000), metavar="N", help="generated mels to average")
    parser.add_argument("--seed", type=_number(int, 0, 2**63 - 1), default=0, metavar="N", help="default: 0")
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="pipeline folder or Hub id (default: the bundled one)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, … (default: a GPU if there is one)")
    parser.add_argument(
        "--attenuation-limit",
        type=_number(float, 0, 1000),
        metavar="DB",
        help="turn nothing down by more than this many dB (default: no limit)",
    )
    parser.add_argument(
        "--mix",
        type=_number(float, 0, 1),
        default=1.0,
        metavar="0..1",
        help="share of the enhanced signal (default: 1)",
    )
    parser.add_argument(
        "--independent-channels",
        action="store_true",
        help="enhance each channel by itself, for channels with different talkers (default: one gain for all)",
    )
    parser.add_argument("--version", action="version", version=_version())
    return parser


def run(options: argparse.Namespace) -> None:
    """Enhance `options.input` into `options.output`."""
    source, target = check_input(options.input), check_output(options.output)
    if target.exists() and os.path.samefile(source, target):
        raise UserError(f"{target}: output and input are the same file")
    reader = open_audio(source)
    pipeline = load_pipeline(options.model, options.device)
    settings = choose_settings(pipeline, options)
    started = time.perf_counter()
    try:
        writer, num_samples = enhance_file(pipeline, reader, target, settings, options.seed)
    except AudioFileError:
        raise
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    seconds = time.perf_counter() - started
    report(writer, num_samples / reader.sampling_rate, seconds, pipeline, settings)


def enhance_file(pipeline, reader: AudioReader, target: Path, settings: dict, seed: int) -> tuple[AudioWriter, int]:
    """Enhance a recording into the file `target`, block by block; the finished writer and the number of samples."""
    import torch

    rate, num_samples = reader.sampling_rate, 0
    expected = 0 if math.isnan(reader.duration) else round(reader.duration * rate)
    generator = torch.Generator().manual_seed(seed)
    with (
        AudioWriter(target, rate, reader.num_channels, like=reader, num_samples=expected) as writer,
        progress_bar(reader.duration) as progress,
    ):
        passes = iter(["measuring", "enhancing"])

        def open_blocks():
            progress.reset()
            progress.set_description(next(passes))
            for block in reader.blocks():
                if progress.desc.startswith("measuring"):
                    progress.update(block.shape[1] / rate)
                yield block

        for block in pipeline.stream(open_blocks, rate, generator=generator, **settings):
            writer.write(block)
            num_samples += block.shape[1]
            progress.update(block.shape[1] / rate)
    return writer, num_samples


def progress_bar(duration: float):
    """Seconds of audio done and the time that is left, on a terminal."""
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}% |{bar}| {n:.0f} of {total:.0f} s of audio, {remaining} left"
    if math.isnan(duration):
        duration, form = None, "{desc}: {n:.0f} s of audio in {elapsed}"
    return tqdm(total=duration, desc="enhancing", bar_format=form, leave=False, disable=not sys.stderr.isatty())


def report(writer: AudioWriter, duration: float, seconds: float, pipeline, settings: dict) -> None:
    """Say on stderr what was done, and what of the recording could not be kept."""
    notes = []
    if writer.num_limited:
        notes.append(f"{writer.num_limited} samples over full scale were limited")
    if writer.lost_tags:
        notes.append(f"tags that {writer.path.suffix} cannot hold were left out: {', '.join(writer.lost_tags)}")
    for note in notes:
        print(f"speech-enhance: {note}", file=sys.stderr)
    print(
        f"{writer.path}: {duration:.1f} s of audio enhanced in {seconds:.1f} s ({type(pipeline.scheduler).__name__}, "
        f"{settings['num_inference_steps']} step(s), {settings['num_estimates']} estimate(s))",
        file=sys.stderr,
    )


def load_pipeline(model: str | None, device: str | None):
    """The pipeline of a folder or Hub id (`None`: the bundled checkpoint), on `device` (`None`: a GPU if any)."""
    import torch
    from diffusers.utils import logging

    from . import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    name = str(DEFAULT_CHECKPOINT) if model is None else model
    if Path(name).exists() and not (Path(name) / "model_index.json").is_file():
        raise UserError(f"{name}: is no pipeline folder (it has no model_index.json)")
    try:
        pipeline = SpeechEnhancementPipeline.from_pretrained(name)
    except Exception as error:  # the loaders of hub, safetensors and torch share no base class
        raise UserError(f"cannot load the model {name}: {_first_line(error)}") from error
    finally:
        logging.enable_progress_bar()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        pipeline.to(device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(f"cannot use the device {device!r}: {_first_line(error)}") from error
    pipeline.set_progress_bar_config(disable=True)  # the command shows seconds of audio instead of steps
    return pipeline


def choose_settings(pipeline, options: argparse.Namespace) -> dict:
    """Give the pipeline the scheduler the options ask for; returns the other settings of the request."""
    config = pipeline.scheduler.config
    pipeline.scheduler, settings = preset_settings(options.preset, config)
    if options.scheduler:
        pipeline.scheduler = make_scheduler(options.scheduler, config)
    chosen = {"num_inference_steps": options.steps, "num_estimates": options.estimates}
    settings |= {name: value for name, value in chosen.items() if value is not None}
    return settings | {
        "attenuation_limit_db": options.attenuation_limit,
        "mix": options.mix,
        "independent_channels": options.independent_channels,
    }


def _number(kind: type, lowest: float, highest: float):
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


def _version() -> str:
    from . import __version__

    return f"speech-enhance {__version__}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
