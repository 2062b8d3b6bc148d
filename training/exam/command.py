"""The exam: one command for systems that people know, judges that no system here was trained on, and counts of words.

    OMP_NUM_THREADS=1 python -m training.exam --output training/results/exam
    python -m training.exam --output training/results/exam --speed
    python -m training.exam --output my/exam --sets pairs-valid --systems untouched --system mine=my/outputs

The plan, `configs/exam.yaml`, says which sets, systems and judges there are. A run goes on where it was stopped:
OUTPUT.runs.jsonl holds the scores, the plan's `output_dir` the sound. Writes OUTPUT.json (means with 95 % intervals)
and OUTPUT.md (tables, the short one first), and prints the latter. `--speed` measures speed alone, on an idle machine,
into OUTPUT-speed.json and OUTPUT-speed.md, which the next report shows.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from training.config import read_config
from training.evaluation.evaluate import named
from training.evaluation.reports import write_report
from training.exam.plan import PLAN, SIGNAL, ExamPlan
from training.exam.runs import Runs
from training.exam.speed import measure_speed, speed_markdown
from training.exam.tables import figures, report


def judge_maker(asr_model: str | None) -> Callable:
    """Makes judges of `judges.py` by name.

    Args:
        asr_model: Name or folder of the speech recogniser.
    """

    def make(name: str) -> Callable:
        from training.evaluation.judges import JUDGES, JudgeOptions

        if name not in JUDGES:
            raise ValueError(f"unknown judge {name!r}; known are {SIGNAL}, {', '.join(JUDGES)}")
        return JUDGES[name](JudgeOptions(asr_model=asr_model))

    return make


def chosen(plan: ExamPlan, options: argparse.Namespace) -> dict[str, tuple[list[str], list[str]]]:
    """`(systems, judges)` of every set that the options name.

    Raises:
        ValueError: for a set that the plan does not have.
    """
    names = list(plan.sets) if options.sets is None else options.sets
    if unknown := [name for name in names if name not in plan.sets]:
        raise ValueError(f"--sets: the plan has no {', '.join(unknown)}; it has {', '.join(plan.sets)}")
    work = {}
    for name in names:
        systems = plan.systems_of(name) if options.systems is None else options.systems
        judges = plan.judges_of(name) if options.judges is None else options.judges
        work[name] = [*systems, *dict(options.system)], judges
    return work


def on_hub(plan: ExamPlan, dataset: str) -> ExamPlan:
    """The plan with sets that are configurations of a dataset on the Hub, of the same names."""
    sets = {name: dataclasses.replace(item, pairs=dataset, name=name, split="test") for name, item in plan.sets.items()}
    return dataclasses.replace(plan, sets=sets)


def parse(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="path of the report without extension")
    parser.add_argument(
        "--plan", default=str(PLAN), help="YAML file, see ExamPlan for its fields (default: training/configs/exam.yaml)"
    )
    parser.add_argument("--sets", nargs="+", metavar="SET", help="only these sets of the plan")
    parser.add_argument(
        "--systems",
        nargs="*",
        metavar="SYSTEM",
        help='these systems instead of the plan\'s: names of systems.py, or "MODEL, PRESET" such as "ours, fast"',
    )
    parser.add_argument(
        "--judges",
        nargs="+",
        metavar="JUDGE",
        help="these judges instead of the plan's: signal, dnsmos, distillmos, visqol, wer",
    )
    parser.add_argument(
        "--system",
        type=named,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="stored output of any other system: FOLDER/SET/ID.wav, or of a single set FOLDER/ID.wav, in any format "
        "libsndfile reads",
    )
    parser.add_argument(
        "--dataset",
        metavar="USER/NAME",
        help="read the sets from this dataset on the Hub, whose configurations have their names",
    )
    parser.add_argument(
        "--no-variants", dest="variants", action="store_false", help="leave out the plan's limits and mixes"
    )
    parser.add_argument("--asr-model", help="name or folder of a Whisper model for word error rates")
    parser.add_argument("--limit", type=int, help="only this many pairs of each set, evenly spread")
    parser.add_argument("--report-only", action="store_true", help="run nothing, report the scores that there are")
    parser.add_argument("--speed", action="store_true", help="measure the speed of every system instead")
    parser.add_argument("--repeats", type=int, default=5, help="of --speed; the median counts (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name in ("limit", "repeats"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    return parser, options


def main(arguments: list[str] | None = None) -> None:
    parser, options = parse(arguments)
    try:
        plan = read_config(ExamPlan, options.plan)
        if options.dataset:
            plan = on_hub(plan, options.dataset)
        if options.speed:
            systems = plan.systems if options.systems is None else options.systems
            speed = measure_speed(options.plan, systems, options.repeats)
            write_report(f"{options.output}-speed", speed, speed_markdown(speed))
            return
        runs = Runs(
            plan,
            Path(f"{options.output}.runs.jsonl"),
            options.limit,
            dict(options.system),
            judge_maker(options.asr_model),
            options.asr_model,
        )
        take = runs.latest if options.report_only else runs.run
        results = {}
        for name, (systems, judges) in chosen(plan, options).items():
            results[name] = take(name, systems, judges)
            if options.report_only:  # what has not been run yet has no row
                results[name] = {system: rows for system, rows in results[name].items() if rows}
            if options.variants and plan.main_system in systems:
                asked = [judge for judge in judges if judge in plan.variant_judges]
                tried = take(name, [plan.main_system, *plan.variants()], asked)
                results[name] |= {system: tried[system] for system in plan.variants()}
    except (OSError, ValueError, RuntimeError) as error:
        parser.error(" ".join(str(error).split()))
    stored_speed = Path(f"{options.output}-speed.json")
    speed = json.loads(stored_speed.read_text(encoding="utf-8")) if stored_speed.exists() else None
    write_report(options.output, figures(plan, results), report(plan, results, runs.missing, speed))
