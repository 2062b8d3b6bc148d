"""How good a checkpoint is on noisy/clean pairs, beside the existing approaches, all through the same code.

    python -m training.evaluation.evaluate --pairs 'data/pairs-valid-*.parquet' --output training/results/pairs-valid
    python -m training.evaluation.evaluate --pairs JacobLinCool/VoiceBank-DEMAND-16k --split test
    python -m training.evaluation.evaluate --clean 'data/speech-valid-*.parquet' --output training/results/speech-valid

Writes OUTPUT.json (every file, means with 95 % intervals) and OUTPUT.md (tables), and prints the latter.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from speech_enhance.jobs.file import PRECISIONS, UserError
from speech_enhance.metrics import reference as metrics
from speech_enhance.wording import counted
from training.evaluation.judges import JUDGES, Judge, JudgeOptions
from training.evaluation.reports import write_report
from training.evaluation.score_tables import GROUPS, UTTERANCE, markdown, summarise
from training.evaluation.systems import (
    DEFAULT_SYSTEMS,
    SYSTEMS,
    LiveSystem,
    System,
    diffusion,
    make_system,
    stored,
    vocoded,
)
from training.validation import Pair, load_pairs

FRAME = 512
SILENT_DB = 40


def noise_reduction_db(output: np.ndarray, pair: Pair) -> float:
    """Fall of the level in frames without speech, in dB; `nan` if a file has less than ten. These are 32 ms frames in
    which the clean reference lies 40 dB or more below its active mean and the noisy input does not vanish."""

    def power(audio):
        return np.square(audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)).mean(axis=1)

    clean, noisy, enhanced = power(pair.clean), power(pair.noisy), power(output)
    active = clean[clean >= clean.mean()].mean() if clean.any() else 0.0
    silent = (clean <= active * 10 ** (-SILENT_DB / 10)) & (noisy > 1e-10)
    if silent.sum() < 10:
        return float("nan")
    return float(10 * np.log10(noisy[silent].sum() / max(enhanced[silent].sum(), 1e-12)))


def described(pair: Pair) -> dict:
    """Columns of a row that describe its file: the id, and the columns that group files."""
    return {"id": pair.id} | {field: pair.info[field] for field in (*GROUPS, UTTERANCE) if field in pair.info}


def score(outputs: list[np.ndarray], pairs: list[Pair], judges: Sequence[Judge] = ()) -> list[dict]:
    """One row of measures per file, with the columns of `judges` (see `judges.py`)."""
    rows = []
    for output, pair in zip(outputs, pairs, strict=True):
        row = described(pair) | metrics.score(output, pair.clean)
        rows.append(row | {"noise_reduction_db": noise_reduction_db(output, pair)})
    for judge in judges:
        rows = [row | columns for row, columns in zip(rows, judge(outputs, pairs), strict=True)]
    return rows


def chosen_judges(options: argparse.Namespace) -> list[Judge]:
    """The judges that `--judges` and `--dnsmos` name; one whose package is missing is left out with a warning."""
    chosen, judges = JudgeOptions(asr_model=options.asr_model, dnsmos_path=options.dnsmos), []
    names: list[str] = [*(["dnsmos"] if options.dnsmos else []), *options.judges]
    for name in dict.fromkeys(names):
        try:
            judges.append(JUDGES[name](chosen))
        except ImportError as error:
            print(f"{name}: not available here: {error}", file=sys.stderr)
    return judges


def chosen_systems(options: argparse.Namespace) -> dict[str, Callable[[], System]]:
    """Makers of the systems by name, so that checkpoints are loaded one after the other."""
    from speech_enhance import PRESETS

    systems: dict[str, Callable[[], System]] = {name: partial(make_system, name) for name in options.systems}
    systems |= {name: partial(stored, folder) for name, folder in options.system}
    settings = asdict(PRESETS[main_preset(options.presets)])
    systems |= {name: partial(diffusion, model, **settings) for name, model in options.other_model}
    for precision in options.precision:
        systems[f"ours, {precision}"] = partial(diffusion, options.model, precision=precision, **settings)
    for dial in options.dereverb:
        systems[f"ours, dereverb {dial:g}"] = partial(diffusion, options.model, **settings, dereverb=dial)
    for steps in options.steps:
        settings = {"num_inference_steps": steps, "num_estimates": 1}
        systems[f"ours, {options.scheduler}, {counted(steps, 'step')}"] = partial(
            diffusion, options.model, options.scheduler, **settings
        )
    systems |= {live_name(steps): partial(LiveSystem, options.model, steps) for steps in options.live}
    if options.vocoder:
        for name, from_true_mel in {"ours, through the vocoder": False, "true mel, through the vocoder": True}.items():
            systems[name] = partial(vocoded, options.model, options.vocoder, from_true_mel)
    return systems | {
        f"ours, {name}": partial(diffusion, options.model, **asdict(PRESETS[name])) for name in options.presets
    }


def live_name(num_inference_steps: int) -> str:
    """Name of the model as a live system with this number of steps."""
    return "ours, live" if num_inference_steps == 1 else f"ours, live, {num_inference_steps} steps"


def main_preset(presets: list[str]) -> str:
    """The preset whose gains a report shows. Other models run with it too."""
    return "balanced" if "balanced" in presets else (presets or ["fast"])[-1]


def save_outputs(folder: Path, outputs: list[np.ndarray], pairs: list[Pair]) -> None:
    """One WAV file per pair, named by its id, as `--system` reads them."""
    from speech_enhance import write_audio

    folder.mkdir(parents=True, exist_ok=True)
    for output, pair in zip(outputs, pairs, strict=True):
        if Path(pair.id).name != pair.id:
            raise ValueError(f"the id {pair.id!r} of a pair cannot name a file")
        write_audio(folder / f"{pair.id}.wav", output[None], 16000, subtype="FLOAT")


def named(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"expected NAME=PATH, got {text!r}")
    return name, value


def parse(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    from speech_enhance import DEFAULT_CHECKPOINT, PRESETS, SCHEDULERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--pairs", help="dataset with columns clean and noisy: Parquet pattern, folder or Hub name")
    data.add_argument("--clean", help="dataset with a column audio of clean speech that must pass")
    parser.add_argument("--split", default="test", help="split of a folder or Hub dataset")
    parser.add_argument("--limit", type=int, help="only this many pairs, evenly spread")
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT), help="pipeline folder or Hub id")
    parser.add_argument("--presets", nargs="*", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--scheduler", choices=SCHEDULERS, default="ddim", help="for --steps")
    parser.add_argument("--steps", type=int, nargs="*", default=[])
    parser.add_argument(
        "--dereverb",
        type=float,
        nargs="*",
        default=[],
        metavar="DIAL",
        help="also with the dial for reverberation at these values, and the preset that other models run with",
    )
    parser.add_argument(
        "--precision",
        nargs="*",
        choices=PRECISIONS,
        default=[],
        help="also with the network in these number formats, and the preset that other models run with",
    )
    parser.add_argument(
        "--live", type=int, nargs="*", default=[], metavar="STEPS", help="live, in blocks of 16 ms, with these steps"
    )
    parser.add_argument(
        "--systems",
        nargs="*",
        choices=SYSTEMS,
        help="existing approaches; by default all but spectral_subtraction and wpe for --pairs",
    )
    parser.add_argument(
        "--other-model",
        type=named,
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="another pipeline, with the preset balanced if that is among --presets, else the last of them, else fast",
    )
    parser.add_argument(
        "--system",
        type=named,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="stored output of any other system, one audio file per pair named by its id",
    )
    parser.add_argument(
        "--vocoder", metavar="FOLDER", help="a vocoder of the model's mel: score what it makes of that, too"
    )
    parser.add_argument(
        "--judges", nargs="*", choices=JUDGES, default=[], help="further measures; see training/evaluation/judges.py"
    )
    parser.add_argument("--asr-model", metavar="MODEL", help="Whisper model of the judge wer, name or folder")
    parser.add_argument(
        "--dnsmos", metavar="FILE", help="the judge dnsmos with this sig_bak_ovr.onnx of the DNS challenge"
    )
    parser.add_argument("--save", metavar="FOLDER", help="write every output there, one folder per system")
    parser.add_argument("--output", help="path of the report without extension")
    options = parser.parse_args(arguments)
    if options.systems is None:
        options.systems = list(DEFAULT_SYSTEMS) if options.pairs else ["untouched"]
    return parser, options


def main(arguments: list[str] | None = None) -> None:
    parser, options = parse(arguments)
    systems = chosen_systems(options)
    if not systems:
        parser.error("nothing to evaluate: name --systems, --presets, --steps, --system or --other-model")
    results = {}
    try:
        columns = ("audio",) if options.clean else ("noisy", "clean")
        pairs = load_pairs(options.clean or options.pairs, options.limit, split=options.split, columns=columns)
        judges = chosen_judges(options)
        for name, make in systems.items():
            print(f"… {name}", file=sys.stderr)
            try:
                system = make()
            except ImportError as error:
                print(f"{name}: not available here: {error}", file=sys.stderr)
                results[name] = []
                continue
            outputs = system(pairs)
            if options.save:
                save_outputs(Path(options.save) / name.replace("/", "-"), outputs, pairs)
            results[name] = score(outputs, pairs, judges)
    except (OSError, ValueError, UserError) as error:
        parser.error(str(error))
    available = [name for name, rows in results.items() if rows]
    if not available:
        parser.error("none of the systems is available here")
    main_system = available[-1]
    if options.presets:
        main_system = f"ours, {main_preset(options.presets)}"
    elif options.live:
        main_system = live_name(options.live[0])
    report = markdown(results, main_system, f"{options.clean or options.pairs} ({len(pairs)} files)")
    stored_results = {name: {"summary": summarise(rows), "files": rows} for name, rows in results.items()}
    write_report(options.output, stored_results, report)


if __name__ == "__main__":
    main()
