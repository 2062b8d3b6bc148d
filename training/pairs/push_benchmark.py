"""Put validation pairs and the exam's table on the Hub, as a benchmark that others can add their systems to.

    python -m training.pairs.push_benchmark --repo user/benchmark --exam training/results/exam \\
        --licence "pairs-valid=CC BY 4.0 (speech); CC0, CC BY (noise)" [--private]

Every set becomes a configuration of the dataset with the split `test`. The card holds the exam's table and the command
that adds a system; `eval.yaml` names the tasks that `.eval_results/` of a model refers to (`model_cards/publish.py
--benchmark`). Every row needs a licence; `--licence` gives it for a set without a column `licence`. The token is that
of `hf auth login` or of HF_TOKEN.
"""

import argparse
from pathlib import Path

from datasets import Dataset
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HTTPError

from speech_enhance.hub.publishing import check_repo_id
from training.config import read_config
from training.corpora.push_data import describe, licence_table, load_part, push_parts
from training.evaluation.evaluate import named
from training.evaluation.reports import Reports
from training.exam.plan import PLAN, ExamPlan
from training.exam.tables import HOW_TO_READ
from training.pairs.benchmark_tasks import SPLIT, benchmark_definition, task_id

SETS = ("pairs-valid", "pairs-calls")
TITLE = "Speech enhancement on noisy/clean pairs"


def load_set(plan: ExamPlan, name: str, licence: str | None) -> Dataset:
    """The rows of a set of Parquet files, each with a licence.

    Raises:
        ValueError: if one of them has none, and `licence` does not say it.
    """
    folder, pattern = Path(plan.sets[name].pairs).parent, Path(plan.sets[name].pairs).name
    files = sorted(str(path) for path in folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no file matches {plan.sets[name].pairs!r}")
    return load_part(files, licence)


def card_text(
    repo: str, plan: ExamPlan, parts: dict[tuple[str, str], Dataset], exam: dict, provenance: tuple[str, str]
) -> str:
    """Body of the card.

    Raises:
        ValueError: if the exam did not see every file of a set.
    """
    names = [name for name, _ in parts]
    lines = [
        f"# {TITLE}",
        "",
        "Noisy recordings and their clean references, 16 kHz mono, of talkers and noises that none of the models of "
        "`speech_enhance` was",
        "trained on. `noisy` is what a system gets, `clean` what it is compared with. The licence of every row is in "
        "its column `licence`:",
        "",
        *licence_table(parts),
        "",
        "## Results",
        "",
        HOW_TO_READ,
    ]
    for name in names:
        rows, seen = len(parts[name, SPLIT]), exam.get(name, {}).get("files")
        if seen != rows:
            raise ValueError(
                f"the exam has {seen or 'no'} files of {name}, the set {rows}: run python -m training.exam on all of it"
            )
        lines += ["", f"### {name}: {rows} files", "", f"{plan.sets[name].description}.", "", *exam[name]["table"]]
    command, commit = provenance
    lines += ["", f"Made by `{command}` at commit {commit} of the code.", "", *how_to_add(repo, names)]
    return "\n".join(lines) + "\n"


def how_to_add(repo: str, names: list[str]) -> list[str]:
    """Lines that say how others score their own system."""
    return [
        "## Add your system",
        "",
        "Write one audio file for each pair of each set, as long as the noisy recording and named by its id:",
        "",
        "```python",
        "import io",
        "import os",
        "",
        "import soundfile",
        "from datasets import Audio, load_dataset",
        "",
        f'os.makedirs("outputs/{names[0]}", exist_ok=True)',
        f'pairs = load_dataset("{repo}", "{names[0]}", split="{SPLIT}").select_columns(["id", "noisy"])',
        'for row in pairs.cast_column("noisy", Audio(decode=False)):',
        '    noisy, rate = soundfile.read(io.BytesIO(row["noisy"]["bytes"]))',
        f"    soundfile.write(f\"outputs/{names[0]}/{{row['id']}}.wav\", my_system(noisy, rate), rate)",
        "```",
        "",
        "and score them with the code of `speech_enhance`, beside the untouched recordings:",
        "",
        "```bash",
        f"python -m training.exam --dataset {repo} --sets {' '.join(names)} --systems untouched --system mine=outputs "
        "--output my-exam",
        "```",
        "",
        "The leaderboards of this dataset take the figures from `.eval_results/` of a model's repository:",
        "",
        "```yaml",
        "- dataset:",
        f"    id: {repo}",
        f"    task_id: {task_id(names[0], 'pesq')}",
        "  value: 2.5",
        "```",
    ]


def push(
    plan: ExamPlan,
    repo: str,
    exam: Path,
    sets: list[str],
    licences: dict[str, str],
    private: bool | None,
    languages: list[str],
) -> str:
    """Push every set, then `eval.yaml` and the card; returns the dataset's address. Another push replaces the earlier
    one.

    Raises:
        ValueError, OSError: if something cannot be published. This is raised before anything is sent.
    """
    parts = {(name, SPLIT): load_set(plan, name, licences.get(name)) for name in sets}
    reports = Reports(exam.parent, [exam.name])
    text = card_text(repo, plan, parts, reports.results(exam.name), reports.provenance(exam.name))
    description = "; ".join(f"{name}: {plan.sets[name].description}" for name in sets)
    files = {"eval.yaml": benchmark_definition(TITLE, description, sets)}
    push_parts(parts, repo, private)
    return describe(repo, text, languages, ["speech-enhancement", "denoising", "benchmark", "audio"], files)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", required=True, metavar="USER/NAME")
    parser.add_argument(
        "--exam",
        type=Path,
        default=Path("training/results/exam"),
        help="report of the exam without extension (default: %(default)s)",
    )
    parser.add_argument("--plan", default=str(PLAN), help="plan of the exam (default: training/configs/exam.yaml)")
    parser.add_argument(
        "--sets",
        nargs="+",
        default=list(SETS),
        help="sets of the plan, in Parquet files (default: pairs-valid pairs-calls)",
    )
    parser.add_argument(
        "--licence",
        type=named,
        action="append",
        default=[],
        metavar="SET=TEXT",
        help="licence of the rows of a set that has no column `licence`",
    )
    parser.add_argument("--private", action="store_true", default=None, help="make a new dataset private")
    parser.add_argument("--languages", nargs="+", default=["en"], help="ISO codes (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        check_repo_id(options.repo)
        plan = read_config(ExamPlan, options.plan)
        if unknown := [name for name in (*options.sets, *dict(options.licence)) if name not in plan.sets]:
            raise ValueError(f"the plan has no set {', '.join(unknown)}; it has {', '.join(plan.sets)}")
        print(
            push(
                plan,
                options.repo,
                options.exam,
                options.sets,
                dict(options.licence),
                options.private,
                options.languages,
            )
        )
    except (ValueError, OSError, DatasetsError, HTTPError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
