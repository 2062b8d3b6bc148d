"""The benchmark on the Hub: pairs, table and tasks, what a model says of them, and a system of somebody else."""

import json

import pytest
import yaml
from conftest import noise
from datasets import Dataset
from hub_client import client, command
from hub_store import benchmark_errors, front_matter

from model_cards.about import About, load_about
from model_cards.eval_results import eval_results, on_benchmark
from model_cards.publish import BASE_ABOUT, BASE_RESULTS
from training.config import read_config
from training.corpora.shards import flac
from training.exam.command import main as exam
from training.exam.plan import ExamPlan
from training.pairs.benchmark_tasks import benchmark_definition
from training.pairs.push_benchmark import card_text, load_set

RATE = 16000


@pytest.fixture(scope="module")
def examined(tmp_path_factory):
    """A plan with two sets, the first of which has no licences, and the report of its exam."""
    folder = tmp_path_factory.mktemp("examined")
    for name in ("pairs-valid", "pairs-calls"):
        rows = []
        for index in range(2):
            clean = 0.3 * noise(RATE, seed=index)
            row = {
                "id": f"{name}_{index}",
                "clean": flac(clean, RATE, "c"),
                "noisy": flac(clean + 0.1 * noise(RATE, seed=9), RATE, "n"),
                "snr_db": 5.0,
                "duration": 1.0,
            }
            rows.append(row | ({"licence": "CC0"} if name == "pairs-calls" else {}))
        from datasets import Audio

        dataset = Dataset.from_list(rows)
        for column in ("clean", "noisy"):
            dataset = dataset.cast_column(column, Audio(sampling_rate=RATE, decode=False))
        dataset.to_parquet(folder / f"{name}-0.parquet")
    sets = {
        name: {"pairs": str(folder / f"{name}-*.parquet"), "description": f"Two pairs of {name}"}
        for name in ("pairs-valid", "pairs-calls")
    }
    plan = {
        "sets": sets,
        "systems": ["untouched", "webrtc"],
        "judges": ["signal"],
        "models": {},
        "main_system": "webrtc",
        "short_systems": ["untouched"],
        "short_set": "pairs-valid",
        "words_set": "pairs-valid",
        "output_dir": str(folder / "outputs"),
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    exam(["--plan", str(folder / "plan.yaml"), "--output", str(folder / "exam")])
    return folder


def push(hub, home, folder, *more, repo="user/benchmark"):
    plan = ("--plan", folder / "plan.yaml", "--exam", folder / "exam")
    return command(hub, home, "-m", "training.pairs.push_benchmark", "--repo", repo, *plan, *more)


def test_rows_without_a_licence_need_one_said(examined):
    plan = read_config(ExamPlan, examined / "plan.yaml")
    with pytest.raises(ValueError, match="rows without a licence"):
        load_set(plan, "pairs-valid", None)
    assert set(load_set(plan, "pairs-valid", "CC BY 4.0")["licence"]) == {"CC BY 4.0"}
    assert set(load_set(plan, "pairs-calls", "CC BY 4.0")["licence"]) == {"CC0"}


@pytest.mark.slow
def test_others_get_pairs_table_and_tasks_and_add_their_system(hub, examined, tmp_path):
    run = push(hub, tmp_path / "home", examined, "--licence", "pairs-valid=CC BY 4.0")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == f"{hub.url}/datasets/user/benchmark"
    files = hub.repository("user/benchmark", "dataset").files()
    card = files["README.md"].content.decode()
    assert {item["config_name"] for item in front_matter(card)["configs"]} == {"pairs-valid", "pairs-calls"}
    for line in json.loads((examined / "exam.json").read_text())["pairs-calls"]["table"]:
        assert line in card
    assert "| pairs-valid | test | – | CC BY 4.0 | 2 | 0.00 |" in card
    tasks = yaml.safe_load(files["eval.yaml"].content)["tasks"]
    assert {"id": "pairs-calls_pesq", "config": "pairs-calls", "split": "test"} in tasks

    # The commands of the card, by somebody who has a system but no data.
    python = card.split("```python\n")[1].split("```")[0]
    code = f"my_system = lambda noisy, rate: noisy / 2\n{python}\nshow(done=1)"
    client(hub, tmp_path / "home2", code, token=None)
    shell = card.split("```bash\npython ")[1].split("\n```")[0].split()
    shell = [
        str(tmp_path / word) if word == "my-exam" else word.replace("=outputs", f"={tmp_path / 'outputs'}")
        for word in shell
    ]
    shell.remove("pairs-calls")
    run = command(hub, tmp_path / "home2", *shell, "--judges", "signal", token=None)
    assert run.returncode == 0, run.stderr
    systems = json.loads((tmp_path / "my-exam.json").read_text())["pairs-valid"]["systems"]
    known = json.loads((examined / "exam.json").read_text())["pairs-valid"]["systems"]
    assert systems["untouched"] == known["untouched"]
    assert systems["mine"]["summary"]["si_sdr"]["mean"] == pytest.approx(
        systems["untouched"]["summary"]["si_sdr"]["mean"], abs=0.01
    )


def test_an_exam_of_some_files_is_no_table_of_a_benchmark(examined):
    plan, results = read_config(ExamPlan, examined / "plan.yaml"), json.loads((examined / "exam.json").read_text())
    parts = {("pairs-valid", "test"): load_set(plan, "pairs-valid", "CC0")}
    assert "### pairs-valid: 2 files" in card_text("user/benchmark", plan, parts, results, ("exam.py", "0"))
    results["pairs-valid"]["files"] = 1
    with pytest.raises(ValueError, match="the exam has 1 files of pairs-valid, the set 2"):
        card_text("user/benchmark", plan, parts, results, ("exam.py", "0"))
    with pytest.raises(ValueError, match="the exam has no files of pairs-valid, the set 2"):
        card_text("user/benchmark", plan, parts, {}, ("exam.py", "0"))


def test_a_models_results_name_tasks_of_the_benchmark():
    about = on_benchmark(load_about(BASE_ABOUT, About), "user/benchmark")
    results = {
        name: json.loads((BASE_RESULTS / f"{name}.json").read_text())
        for name in (item.results for item in about.evaluations)
    }
    text = eval_results(about, results, "user/model", "main")
    assert not benchmark_errors(".eval_results/user-benchmark.yaml", text.encode(), "model")
    entries = {entry["dataset"]["task_id"]: entry for entry in yaml.safe_load(text)}
    assert entries["pairs-calls_estoi"]["value"] == results["pairs-calls"]["ours, balanced"]["summary"]["estoi"]["mean"]
    assert entries["pairs-calls_estoi"]["dataset"]["id"] == "user/benchmark"
    assert entries["pairs-calls_estoi"]["source"]["url"].endswith("/user/model/blob/main/results/pairs-calls.md")
    definition = benchmark_definition("name", "text", ["pairs-valid", "pairs-calls"])
    assert set(entries) <= {task["id"] for task in yaml.safe_load(definition)["tasks"]}
    assert not benchmark_errors("eval.yaml", definition.encode(), "dataset")
    with pytest.raises(ValueError, match="no evaluation of the card has a `benchmark_set`"):
        on_benchmark(load_about(BASE_ABOUT.with_name("own.yaml"), About), "user/benchmark")
