"""Train every variant of a plan at the same cost and score what came out, quality and speed side by side.

    OMP_NUM_THREADS=1 python -m training.evaluation.ablate --plan training/configs/ablations.yaml \\
        --output training/results/ablations

A run that is already in OUTPUT.runs.jsonl is not made again, so a stopped command goes on where it was. It may be
started once for each seed at the same time (`--seeds`). Writes OUTPUT.json (every run) and OUTPUT.md (the table) of the
variants whose runs are complete. The budget is counted in multiply-adds, so the runs of a plan may be made on different
machines, busy or not.
"""

import argparse
import copy
import shutil
import subprocess
import sys
import tempfile
import time
import typing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.models.schedulers import training_scheduler
from training.bounds import COUNT, SEED, check_numbers
from training.config import TrainingConfig, load_config, make_network, read_config, read_yaml
from training.evaluation.compare_schedulers import FIRST, mean, measure
from training.evaluation.measures import BASIC_MEASURES, Measure
from training.evaluation.paired_table import paired_tables, score_sets
from training.evaluation.reports import append_row, stored_rows, table, write_report
from training.validation import Pair, load_pairs

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class AblationPlan:
    """What is compared.

    Args:
        config: Training config that every run starts from.
        variants: Fields that differ, by name of the variant. A dot steps into a mapping: `pipeline.target: residual`.
            The first variant should change nothing; the others are compared with it.
        common: Fields that differ in every run, such as what suits a short one.
        steps: Optimiser steps of the first variant. The others get the number that costs the same, see [`step_cost`].
        seeds: Seeds; every variant is trained with each.
        pairs: Noisy/clean pairs to score, see [`load_pairs`].
        pairs_limit: Number of pairs used, evenly spread.
        sets: Sets of pairs by name. If there are any, every file of them is scored at each of `measured_steps`, and a
            difference counts if it is sure for every seed, paired by file; `pairs` is not used.
        measured_steps: Numbers of inference steps to score `sets` at.
        dereverb: Share of the late reverberation to remove, from 0 to 1, by name of the set. It is used for models that
            have learnt this.
        output_dir: Folder of the runs.
    """

    config: str
    variants: dict[str, dict[str, typing.Any]]
    common: dict[str, typing.Any] = field(default_factory=dict)
    steps: int = 250
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    pairs: str = "data/pairs-valid-*.parquet"
    pairs_limit: int | None = None
    sets: dict[str, str] = field(default_factory=dict)
    measured_steps: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    dereverb: dict[str, float] = field(default_factory=dict)
    output_dir: str = "runs/ablations"

    def __post_init__(self):
        if not self.variants or not self.seeds:
            raise ValueError("variants and seeds: at least one each")
        if unknown := self.dereverb.keys() - self.sets.keys():
            raise ValueError(f"dereverb: no such set: {', '.join(sorted(unknown))}")
        check_numbers(self, steps=COUNT, seeds=SEED, pairs_limit=COUNT, measured_steps=COUNT)


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


def untrained(config: TrainingConfig) -> SpeechEnhancementPipeline:
    """The pipeline that a run begins with."""
    unet = make_network(config.unet)
    scheduler = training_scheduler(config.prediction_type, snr_shift_db=config.snr_shift_db)
    return SpeechEnhancementPipeline(unet, scheduler, **config.pipeline)


def step_cost(config: TrainingConfig) -> float:
    """Multiply-adds of one optimiser step.

    The network runs on a window forwards, and backwards at twice that cost. It runs once more for the share of windows
    that meet its own estimate. For windows at the end of a few steps of sampling, it runs once more for each step but
    the last, or at three times that cost if the gradient goes through all steps.
    """
    pipeline = untrained(config)
    unet, settings = pipeline.unet, pipeline.config
    maps = torch.zeros(1, 1 + unet.condition_channels, settings.num_mel_bins, settings.window_frames)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(maps[:, :1], 0, maps[:, 1:])
    num_timesteps = pipeline.scheduler.config.num_train_timesteps
    own = config.own_estimate_share * (1 - config.own_estimate_first_timestep / num_timesteps)
    windows = config.batch_size * config.gradient_accumulation_steps
    evaluations = 3 + (1 - config.terminal_share) * own
    number = sum(config.few_step_numbers) / len(config.few_step_numbers)
    sampling = 3 * number if config.few_step_all_gradients else number + 2
    evaluations += config.few_step_share * (sampling - evaluations)
    return windows * evaluations * counter.get_total_flops() / 2


def train_variant(config: dict) -> None:
    """Train in a process of its own.

    Raises:
        RuntimeError: if the run fails; the message has its last line.
    """
    folder = Path(config["output_dir"])
    shutil.rmtree(folder, ignore_errors=True)  # a stopped run may have left it
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = [sys.executable, str(ROOT / "training" / "train.py"), "--config", str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{path}: training failed: {result.stderr.strip().splitlines()[-1]}")
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def score_model(folder: Path, pairs: list[Pair], base: TrainingConfig) -> dict[str, float]:
    """Means over `pairs` at one step, PESQ at four steps, and the processor time of one step relative to `base`."""
    pipeline = SpeechEnhancementPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    one_step = measure(pipeline, FIRST, pairs)
    scores = {name: mean(one_step, name) for name in BASIC_MEASURES}
    four_steps = mean(measure(pipeline, replace(FIRST, num_inference_steps=4), pairs))
    return scores | {"relative_cost": relative_cost(pipeline, base, pairs), "pesq_4_steps": four_steps}


def score_on_sets(folder: Path, sets: dict[str, list[Pair]], plan: AblationPlan) -> dict:
    """Figures of every file of `sets` (see [`score_sets`])."""
    pipeline = SpeechEnhancementPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return {"figures": score_sets(pipeline, sets, plan.measured_steps, plan.dereverb)}


def relative_cost(pipeline: SpeechEnhancementPipeline, base: TrainingConfig, pairs: list[Pair]) -> float:
    """Processor time of one step of `pipeline` over that of an untrained one of `base`. They are timed in turn."""
    other = untrained(base)
    other.set_progress_bar_config(disable=True)
    rate, audio = pipeline.config.sampling_rate, np.concatenate([pair.noisy for pair in pairs[:8]])
    times = {pipeline: [], other: []}
    for _ in range(3):
        for item in times:
            started = time.process_time()
            item(audio, rate, num_inference_steps=1, num_estimates=1)
            times[item].append(time.process_time() - started)
    return float(np.median(times[pipeline]) / np.median(times[other]))


def run_plan(plan: AblationPlan, stored: Path, train: bool = True, seeds: list[int] | None = None) -> list[dict]:
    """Make the runs of `plan` that `stored` lacks, and append each to it; returns all runs of the plan. With `seeds`,
    only runs of these seeds are made; without `train`, none."""
    common = plan.common | {"max_minutes": None, "validation_pairs": None, "checkpoint_every": 0}
    base = variant_config(read_yaml(plan.config), common)
    rows = [
        row
        for row in stored_rows(stored)
        if row["changes"] == plan.variants.get(row["variant"])
        and row["common"] == common
        and row["budget"] == plan.steps
    ]
    done = {(row["variant"], row["seed"]) for row in rows}
    if not train:
        return rows
    sets = {name: load_pairs(path, plan.pairs_limit) for name, path in plan.sets.items()}
    pairs = [] if sets else load_pairs(plan.pairs, plan.pairs_limit)
    configs = {name: checked_config(variant_config(base, changes)) for name, changes in plan.variants.items()}
    first = next(iter(configs.values()))
    for name, changes in plan.variants.items():
        for seed in plan.seeds if seeds is None else seeds:
            if (name, seed) in done:
                continue
            print(f"… {name}, seed {seed}", file=sys.stderr)
            folder = f"{plan.output_dir}/{name}-{seed}"
            steps = round(plan.steps * step_cost(first) / step_cost(configs[name]))
            train_variant(variant_config(base, changes, output_dir=folder, seed=seed, max_train_steps=steps))
            row = {"variant": name, "seed": seed, "changes": changes, "common": common, "budget": plan.steps}
            row |= {"steps": steps, "windows": steps * configs[name].batch_size}
            model = Path(folder) / "pipeline"
            rows.append(row | (score_on_sets(model, sets, plan) if sets else score_model(model, pairs, first)))
            append_row(stored, rows[-1])
    return rows


def checked_config(config: dict) -> TrainingConfig:
    """The training config that a file with the content `config` gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return load_config(path)


def markdown(rows: list[dict], plan: AblationPlan) -> str:
    """The report of the variants that have a run of every seed.

    Raises:
        ValueError: if the first variant, which all are compared with, is not among them.
    """
    first = next(iter(plan.variants))
    rows = sorted(rows, key=lambda row: row["seed"])  # seeds may have run at the same time, and end in any order
    runs = {name: [row for row in rows if row["variant"] == name] for name in plan.variants}
    runs = {name: items for name, items in runs.items() if len(items) == len(plan.seeds)}
    if first not in runs:
        raise ValueError(f"{first!r}, which all are compared with, has no run of every seed yet")
    lines = paired_report(runs, plan) if plan.sets else spread_report(runs, plan)
    if missing := [name for name in plan.variants if name not in runs]:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def paired_report(runs: dict[str, list[dict]], plan: AblationPlan) -> list[str]:
    """Means over seeds on every set and number of steps, with the differences from the first variant paired by file."""
    first, limit = next(iter(runs)), f", {plan.pairs_limit} files of each set" if plan.pairs_limit else ""
    lines = [
        f"# Variants of {plan.config} at the cost of {plan.steps} of its steps, seeds "
        f"{', '.join(map(str, plan.seeds))}",
        "",
        f"Every run costs as many multiply-adds as the first. Scores are means over seeds with DDIM{limit}. In "
        "brackets: the "
        "difference from the first variant, and for each seed its 95 % interval over files. A difference is **bold** "
        "if it lies on "
        "the same side of 0 for every seed.",
        "",
    ]
    cells = [[name, described(plan, name), rows[0]["steps"], rows[0]["windows"]] for name, rows in runs.items()]
    lines += table(["variant", "changes", "optimiser steps", "windows"], cells)
    return lines + paired_tables(runs, first)


def described(plan: AblationPlan, variant: str) -> str:
    """Text that says what a variant changes."""
    return ", ".join(f"{key}: {value}" for key, value in plan.variants[variant].items())


def spread_report(by_name: dict[str, list[dict]], plan: AblationPlan) -> list[str]:
    """Means over seeds, and the difference from the first variant beside the spread between seeds."""
    first = next(iter(plan.variants))
    lines = [
        f"# Variants of {plan.config} at the cost of {plan.steps} of its steps, seeds "
        f"{', '.join(map(str, plan.seeds))}",
        "",
        f"Every run costs as many multiply-adds as the first. Time is that of enhancing in one step, over the first "
        f"variant's. Scores on {plan.pairs} at one step; in brackets the difference from the first row, **bold** "
        "where it is larger "
        "than the largest difference between two seeds of one variant.",
        "",
    ]
    measures = BASIC_MEASURES | {"pesq_4_steps": Measure("PESQ, 4 steps", 2)}
    forms = {name: measure.fine_form for name, measure in measures.items()}
    spread = {
        name: max(np.ptp([row[name] for row in runs]) for runs in by_name.values() if np.isfinite(runs[0][name]))
        for name in forms
    }
    rows = []
    for name, runs in by_name.items():
        cells = [name, described(plan, name), runs[0]["steps"], runs[0]["windows"]]
        for score, form in forms.items():
            average, base = (np.mean([row[score] for row in group]) for group in (runs, by_name[first]))
            if not np.isfinite(average):
                cells.append("–")
                continue
            mark = "**" if abs(average - base) > spread[score] else ""
            difference = f" ({mark}{average - base:+{form}}{mark})" if name != first else ""
            cells.append(f"{average:{form}}{difference}")
        cost = np.mean([row["relative_cost"] for row in runs])
        rows.append([*cells, f"{cost:.2f}"])
    headings = ["variant", "changes", "steps", "windows", *(measure.heading for measure in measures.values()), "time"]
    spreads = ", ".join(f"{score} {value:{forms[score]}}" for score, value in spread.items())
    return [*lines, *table(headings, rows), "", f"Largest difference between two seeds: {spreads}."]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True, help="YAML file, see AblationPlan for its fields")
    parser.add_argument("--output", required=True, help="path of the report without extension")
    parser.add_argument("--seeds", type=int, nargs="+", help="make the runs of these seeds only")
    parser.add_argument("--report-only", action="store_true", help="train nothing, report the runs that there are")
    options = parser.parse_args(arguments)
    try:
        plan = read_config(AblationPlan, options.plan)
        if unknown := set(options.seeds or []) - set(plan.seeds):
            raise ValueError(f"--seeds: the plan has no {', '.join(map(str, sorted(unknown)))}")
        stored = Path(options.output + ".runs.jsonl")
        if not options.report_only:
            run_plan(plan, stored, seeds=options.seeds)
        rows = run_plan(plan, stored, train=False)  # another process may have made some of them
        text = markdown(rows, plan)
    except (OSError, ValueError, RuntimeError) as error:
        parser.error(str(error))
    write_report(options.output, rows, text)


if __name__ == "__main__":
    main()
