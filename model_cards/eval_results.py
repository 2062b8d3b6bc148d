"""Content of `.eval_results/` in a model's repository: the model's means as results of a benchmark's tasks. The Hub
makes the benchmark's leaderboards from them. See https://huggingface.co/docs/hub/eval-results."""

import dataclasses
import math

import yaml
from huggingface_hub import EvalResultEntry, constants, eval_result_entries_to_yaml

from model_cards.about import About
from model_cards.figures import main_system
from training.evaluation.measures import COMPARED
from training.pairs.benchmark_tasks import SPLIT, task_id


def on_benchmark(about: About, benchmark: str) -> About:
    """Return `about` with its evaluations marked as parts of `benchmark`, a dataset on the Hub. Only evaluations with a
    set in the benchmark are marked.

    Raises:
        ValueError: if there is no such evaluation.
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
    """Return the text of a file in `.eval_results/` with the means for an `about` from [`on_benchmark`].

    Args:
        about: Facts of the card.
        results: Reports of `evaluate.py` by name.
        repo_id: Repository of the published model and its reports.
        revision: Branch of the repository.
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
