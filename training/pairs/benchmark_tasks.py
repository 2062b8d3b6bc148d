"""The tasks of the benchmark that `push_benchmark.py` publishes: one for each set and measure."""

import yaml

from ..evaluation.measures import COMPARED

FRAMEWORK = "speech_enhance"
SPLIT = "test"


def task_id(benchmark_set: str, measure: str) -> str:
    """Name of the task in the benchmark's `eval.yaml`."""
    return f"{benchmark_set}_{measure}"


def benchmark_definition(name: str, description: str, sets: list[str]) -> str:
    """The text of a benchmark's `eval.yaml`: one task for each set and measure."""
    tasks = [{"id": task_id(item, measure), "config": item, "split": SPLIT} for item in sets for measure in COMPARED]
    content = {"name": name, "description": description, "evaluation_framework": FRAMEWORK, "tasks": tasks}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
