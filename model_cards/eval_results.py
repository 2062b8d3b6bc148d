"""What `.eval_results/` of a model's repository holds: its means as results of a benchmark's tasks, from which the Hub
makes the benchmark's leaderboards. See https://huggingface.co/docs/hub/eval-results."""

import dataclasses
import math

import yaml
from huggingface_hub import EvalResultEntry, constants, eval_result_entries_to_yaml

from model_cards.about import About
from model_cards.figures import main_system
from training.evaluation.measures import COMPARED
from training.pairs.benchmark_tasks import SPLIT, task_id


def on_benchmark(about: About, benchmark: str) -> About:
    """`about` with the evaluations that `benchmark`, a dataset on the Hub, has a set for named as parts of it.

    Raises:
        ValueError: if there is none.
    """
    if not any(item.benchmark_set for item in about.evaluations):
        raise ValueError(f"--benchmark {benchmark}: no evaluation of the card has a `benchmark_set`")
    evaluations = [
        dataclasses.replace(item, dataset=benchmark, config=item.benchmark_set, split=SPLIT)
        if item.benchmark_set
        else item
        for item in about.evaluations
    ]
    return dataclasses.replace(about, evaluations=evaluations)


def eval_results(about: About, results: dict[str, dict], repo_id: str, revision: str) -> str:
    """The text of a file in `.eval_results/` with the means of an `about` from [`on_benchmark`].

    Args:
        about: The facts of the card.
        results: Reports of `evaluate.py` by name.
        repo_id: Where the model and its reports are published.
        revision: Branch of them.
    """
    entries = []
    for item in about.evaluations:
        if not item.benchmark_set:
            continue
        report = results[item.results]
        system = main_system(report)
        for measure in COMPARED:
            value = float(report[system]["summary"].get(measure, {"mean": "nan"})["mean"])
            if math.isfinite(value):
                entries.append(
                    EvalResultEntry(
                        dataset_id=item.dataset,
                        task_id=task_id(item.benchmark_set, measure),
                        value=value,
                        source_url=f"{constants.ENDPOINT}/{repo_id}/blob/{revision}/results/{item.results}.md",
                        source_name="Report with intervals",
                        notes=system.removeprefix("ours, "),
                    )
                )
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
