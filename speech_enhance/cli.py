"""The command `speech-enhance INPUT... OUTPUT`, which also starts `speech-enhance live`."""

import argparse
import importlib.util
import math
import sys
from pathlib import Path

from .jobs.file import BACKENDS, PRECISIONS, PipelineChoice, UserError
from .jobs.runs import run
from .jobs.standard_streams import run_command
from .models.schedulers import PRESETS, SCHEDULERS


class OneLineParser(argparse.ArgumentParser):
    """Raises [`UserError`] instead of printing usage and ending the process."""

    def error(self, message: str):
        raise UserError(f"{message} (see --help)")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0 for done, 1 if some files of a folder failed, 2 for wrong input, 130
    if it was interrupted, 141 if the reader of stdout has left."""

    def work() -> int:
        given = list(sys.argv[1:] if arguments is None else arguments)
        if given[:1] == ["live"]:
            from .live.command import run_live

            return run_live(given[1:])
        options = parse(given)
        return run(options, pipeline_choice(options))

    return run_command(work, "interrupted, no file is left half-written")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the options, among them the list `input` and the string `output`. Options may stand between the inputs;
    everything after `--` is the name of a file."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = build_parser()
    options = parser.parse_intermixed_args(arguments[:end])
    paths = options.paths + arguments[end + 1 :]
    if len(paths) < 2:
        parser.error("expected INPUT and OUTPUT")
    options.input, options.output = paths[:-1], paths[-1]
    return options


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="speech-enhance",
        usage="speech-enhance INPUT [INPUT ...] OUTPUT [options]",
        description="Turn down the noise in a recording of speech. The output has the input's sampling rate, "
        "channels, length, level and tags. For a microphone: speech-enhance live --help (a file of that name "
        "is ./live).",
    )
    parser.add_argument(
        "paths",
        metavar="INPUT [INPUT ...] OUTPUT",
        nargs="*",
        help="INPUT: audio file (WAV, FLAC, Ogg, Opus, MP3, …), or several; with ffmpeg also others, and videos; a "
        "folder of them; - for stdin. OUTPUT: file to write, its extension chooses the format; a folder for a "
        "folder, for several files, or for the same name; - for stdout",
    )
    add_pipeline_options(parser)
    parser.add_argument(
        "--plot", metavar="IMAGE", type=_image, help="also draw before, after and the gain (.png, .pdf, .svg)"
    )
    parser.add_argument(
        "--save-removed", metavar="FILE", help="also write what was taken away: input minus output, sample by sample"
    )
    parser.add_argument(
        "--preview",
        type=number(float, 0.1, 86400),
        metavar="SECONDS",
        help="enhance only this much, where most speech is",
    )
    parser.add_argument("--quiet", action="store_true", help="say only what failed and what could not be kept")
    parser.add_argument(
        "--format", choices=("wav", "flac", "ogg", "mp3"), default="wav", help="of stdout (default: wav)"
    )
    parser.add_argument(
        "--workers", type=number(int, 1, 256), default=1, metavar="N", help="processes for a folder (default: 1)"
    )
    parser.add_argument("--version", action="version", version=_version())
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that files and live sound share."""
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), default=0, metavar="N", help="default: 0")
    parser.add_argument("--model", metavar="FOLDER_OR_ID", help="pipeline folder or Hub id (default: the bundled one)")
    parser.add_argument(
        "--device", metavar="NAME", help="of the network: cpu, cuda, cuda:1, … (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--attenuation-limit",
        type=number(float, 0, 1000),
        metavar="DB",
        help="turn nothing down by more than this many dB (default: no limit)",
    )


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that [`pipeline_choice`] reads."""
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="balanced",
        help="speed against quality (default: %(default)s); the next three options change parts of it",
    )
    parser.add_argument("--scheduler", choices=SCHEDULERS, metavar="NAME", help=f"one of {', '.join(SCHEDULERS)}")
    parser.add_argument("--steps", type=number(int, 1, 1000), metavar="N", help="steps of the scheduler")
    parser.add_argument("--estimates", type=number(int, 1, 1000), metavar="N", help="generated mels to average")
    add_model_options(parser)
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="torch",
        help="what runs the network: torch, or on the CPU onnx, faster on many for more than a minute of sound "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="number format of the network: bfloat16 is faster on GPUs and on CPUs with AMX or AVX-512 BF16, int8 (by "
        "ONNX Runtime) on other CPUs; both change the result by rounding (default: %(default)s)",
    )
    parser.add_argument(
        "--mix",
        type=number(float, 0, 1),
        default=1.0,
        metavar="0..1",
        help="share of the enhanced signal (default: 1)",
    )
    parser.add_argument(
        "--dereverb",
        type=number(float, 0, 1),
        default=0.0,
        metavar="0..1",
        help="share of the late sound of the room to take away, with a model that was trained for it (default: 0)",
    )
    parser.add_argument(
        "--independent-channels",
        action="store_true",
        help="enhance each channel by itself, for channels with different talkers (default: one gain for all)",
    )


def pipeline_choice(options: argparse.Namespace, device: str | None = None) -> PipelineChoice:
    """Return the choice that the options describe. It uses `device` unless the options name another."""
    return PipelineChoice(
        options.model,
        options.device or device,
        options.preset,
        options.scheduler,
        options.steps,
        options.estimates,
        options.seed,
        options.attenuation_limit,
        options.mix,
        options.independent_channels,
        options.backend,
        options.dereverb,
        options.precision,
    )


def number(kind: type, lowest: float, highest: float):
    """Return an argument type that accepts numbers in a range."""

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
        raise argparse.ArgumentTypeError("needs matplotlib: pip install matplotlib")
    return text


def _version() -> str:
    from . import __version__

    return f"speech-enhance {__version__}"


if __name__ == "__main__":
    sys.exit(main())
