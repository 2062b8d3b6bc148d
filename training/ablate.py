"""Train every variant of a plan for the same time and score what came out, quality and cost side by side.

    OMP_NUM_THREADS=1 python training/ablate.py --plan training/configs/ablations.yaml --output training/results/ablations

A run that is already in OUTPUT.runs.jsonl is not made again, so the command goes on where it was stopped. Writes
OUTPUT.json (every run) and OUTPUT.md (the table) of the variants whose runs are complete. Budget and cost are processor
time, which other work on the machine hardly changes; with more than one thread, threads that wait count too.
"""

import argparse
import copy
import json
import shutil
import subprocess
import sys
import time
import typing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance import SpeechEnhancementPipeline
from training.compare_schedulers import FIRST, QUALITY, mean, measure
from training.config import read_config
from training.reports import write_report
from training.validation import Pair, load_pairs

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class AblationPlan:
    """What is compared.

    Args:
        config: Training config that every run starts from.
        variants: Per name, the fields that differ; a dot steps into a mapping: `pipeline.target: residual`. The first
            should change nothing, the others are compared with it.
        common: Fields that differ in every run, such as what suits a short one.
        max_minutes: Budget of a run in processor time, from start to exported weights.
        seeds: Every variant is trained with each.
        pairs: Noisy/clean pairs to score, see [`load_pairs`].
        pairs_limit: Only this many, evenly spread.
        output_dir: Of the runs.
    """

    config: str
    variants: dict[str, dict[str, typing.Any]]
    common: dict[str, typing.Any] = field(default_factory=dict)
    max_minutes: float = 5.0
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    pairs: str = "data/pairs-valid-*.parquet"
    pairs_limit: int | None = None
    output_dir: str = "runs/ablations"

    def __post_init__(self):
        if not self.variants or not self.seeds:
            raise ValueError("variants and seeds: at least one each")


def variant_config(base: dict, changes: dict, **run) -> dict:
    """The plain training config `base` with `changes` (dotted names) and the fields of `run`."""
    config = copy.deepcopy(base) | run
    for name, value in changes.items():
        *path, last = name.split(".")
        place = config
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return config


def train_variant(config: dict) -> int:
    """Train in a process of its own; the number of steps that the budget was enough for.

    Raises:
        RuntimeError: if the run fails; its last words are in the message.
    """
    folder = Path(config["output_dir"])
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = [sys.executable, str(ROOT / "training" / "train.py"), "--config", str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{path}: training failed: {result.stderr.strip().splitlines()[-1]}")
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    log = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads(log[-1])["step"]


def score_model(folder: Path, pairs: list[Pair]) -> dict[str, float]:
    """Means over `pairs` at one step, PESQ at four, and seconds of processor time per second of audio at one."""
    pipeline = SpeechEnhancementPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    one_step = measure(pipeline, FIRST, pairs)
    scores = {name: mean(one_step, name) for name in QUALITY}
    scores |= {"cost": processor_time_factor(pipeline, pairs), "pesq_4_steps": float("nan")}
    if pipeline.config.initial_noise_scale > 0:  # a regressor has one step
        scores["pesq_4_steps"] = mean(measure(pipeline, replace(FIRST, num_inference_steps=4), pairs))
    return scores


def processor_time_factor(pipeline: SpeechEnhancementPipeline, pairs: list[Pair]) -> float:
    """Seconds of processor time that one step takes per second of audio."""
    rate, audio = pipeline.config.sampling_rate, np.concatenate([pair.noisy for pair in pairs[:8]])
    started = time.process_time()
    pipeline(audio, rate, num_inference_steps=1, num_estimates=1)
    return (time.process_time() - started) / (len(audio) / rate)


def run_plan(plan: AblationPlan, stored: Path, train: bool = True) -> list[dict]:
    """Every run of `plan` that `stored` lacks, appended to it one by one, or none without `train`; all runs of the plan."""
    common = plan.common | {"max_minutes": plan.max_minutes, "clock": "cpu", "validation_pairs": None}
    base = variant_config(yaml.safe_load(Path(plan.config).read_text(encoding="utf-8")), common)
    rows = [json.loads(line) for line in stored.read_text(encoding="utf-8").splitlines()] if stored.exists() else []
    rows = [row for row in rows if row["changes"] == plan.variants.get(row["variant"]) and row["common"] == common]
    done = {(row["variant"], row["seed"]) for row in rows}
    if not train:
        return rows
    pairs = load_pairs(plan.pairs, plan.pairs_limit)
    for name, changes in plan.variants.items():
        for seed in plan.seeds:
            if (name, seed) in done:
                continue
            print(f"… {name}, seed {seed}", file=sys.stderr)
            folder = f"{plan.output_dir}/{name}-{seed}"
            steps = train_variant(variant_config(base, changes, output_dir=folder, seed=seed))
            row = {"variant": name, "seed": seed, "changes": changes, "common": common, "steps": steps}
            rows.append(row | score_model(Path(folder) / "pipeline", pairs))
            stored.parent.mkdir(parents=True, exist_ok=True)
            with open(stored, "a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    return rows


def markdown(rows: list[dict], plan: AblationPlan) -> str:
    """Means over seeds, and the difference from the first variant beside the spread between seeds."""
    first = next(iter(plan.variants))
    lines = [
        f"# Variants of {plan.config}, {plan.max_minutes:g} minutes each, seeds {', '.join(map(str, plan.seeds))}",
        "",
        f"Minutes and cost (of one step, per second of audio) are processor time. Scores on {plan.pairs} at one step; in brackets the difference from the first row, **bold** where it is larger "
        "than the largest difference between two seeds of one variant.",
        "",
        "| variant | changes | steps | PESQ | ESTOI | SI-SDR (dB) | PESQ, 4 steps | cost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    forms = {"pesq": ".3f", "estoi": ".4f", "si_sdr": ".2f", "pesq_4_steps": ".3f"}
    by_name = {name: [row for row in rows if row["variant"] == name] for name in plan.variants}
    by_name = {name: runs for name, runs in by_name.items() if len(runs) == len(plan.seeds)}
    spread = {
        name: max(np.ptp([row[name] for row in runs]) for runs in by_name.values() if np.isfinite(runs[0][name]))
        for name in forms
    }
    for name, runs in by_name.items():
        cells = []
        for score, form in forms.items():
            average, base = (np.mean([row[score] for row in group]) for group in (runs, by_name[first]))
            if not np.isfinite(average):
                cells.append("–")
                continue
            mark = "**" if abs(average - base) > spread[score] else ""
            difference = f" ({mark}{average - base:+{form}}{mark})" if name != first else ""
            cells.append(f"{average:{form}}{difference}")
        changes = ", ".join(f"{key}: {value}" for key, value in plan.variants[name].items())
        steps, cost = (np.mean([row[key] for row in runs]) for key in ("steps", "cost"))
        lines.append(f"| {name} | {changes} | {steps:.0f} | {' | '.join(cells)} | {cost:.3f} |")
    spreads = ", ".join(f"{score} {value:{forms[score]}}" for score, value in spread.items())
    lines += ["", f"Largest difference between two seeds: {spreads}."]
    if missing := [name for name in plan.variants if name not in by_name]:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True, help="YAML file, see AblationPlan for its fields")
    parser.add_argument("--output", required=True, help="path of the report without extension")
    parser.add_argument("--report-only", action="store_true", help="train nothing, report the runs that there are")
    options = parser.parse_args(arguments)
    try:
        plan = read_config(AblationPlan, options.plan)
        rows = run_plan(plan, Path(options.output + ".runs.jsonl"), train=not options.report_only)
    except (OSError, ValueError, RuntimeError) as error:
        parser.error(str(error))
    write_report(options.output, rows, markdown(rows, plan))


if __name__ == "__main__":
    main()
