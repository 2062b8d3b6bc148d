"""The command `speech-enhance INPUT OUTPUT`."""

import argparse
import math
import os
import sys
import time
from pathlib import Path

from .audio_files import AudioFileError, check_input, check_output, read_audio, write_audio
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
        "channels, length and level.",
    )
    parser.add_argument("input", metavar="INPUT", help="audio file (WAV, FLAC, Ogg, Opus, MP3, …)")
    parser.add_argument("output", metavar="OUTPUT", help="audio file to write; its extension chooses the format")
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
    parser.add_argument("--version", action="version", version=_version())
    return parser


def run(options: argparse.Namespace) -> None:
    """Enhance `options.input` into `options.output`."""
    source, target = check_input(options.input), check_output(options.output)
    if target.exists() and os.path.samefile(source, target):
        raise UserError(f"{target}: output and input are the same file")
    recording = read_audio(source)

    pipeline = load_pipeline(options.model, options.device)
    settings = choose_settings(pipeline, options)
    from torch import Generator

    started = time.perf_counter()
    try:
        enhanced = pipeline(
            recording.audio,
            recording.sampling_rate,
            **settings,
            generator=Generator().manual_seed(options.seed),
            attenuation_limit_db=options.attenuation_limit,
            mix=options.mix,
        ).audios
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    seconds = time.perf_counter() - started
    num_limited = write_audio(target, enhanced, recording.sampling_rate, recording.subtype)
    if num_limited:
        print(f"speech-enhance: {num_limited} samples over full scale were limited", file=sys.stderr)
    duration = recording.audio.shape[1] / recording.sampling_rate
    print(
        f"{target}: {duration:.1f} s of audio enhanced in {seconds:.1f} s "
        f"({type(pipeline.scheduler).__name__}, {settings['num_inference_steps']} step(s), "
        f"{settings['num_estimates']} estimate(s))",
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
    pipeline.set_progress_bar_config(disable=not sys.stderr.isatty(), leave=False, desc="enhancing")
    return pipeline


def choose_settings(pipeline, options: argparse.Namespace) -> dict[str, int]:
    """Give the pipeline the scheduler the options ask for; returns the other arguments of its call."""
    config = pipeline.scheduler.config
    pipeline.scheduler, settings = preset_settings(options.preset, config)
    if options.scheduler:
        pipeline.scheduler = make_scheduler(options.scheduler, config)
    chosen = {"num_inference_steps": options.steps, "num_estimates": options.estimates}
    return settings | {name: value for name, value in chosen.items() if value is not None}


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
