import json
from dataclasses import replace

import pytest
import yaml
from conftest import ROOT

from training.config import load_config, read_config, read_yaml
from training.evaluation.ablate import (
    AblationPlan,
    checked_config,
    main,
    markdown,
    run_plan,
    step_cost,
    train_variant,
    untrained,
    variant_config,
)
from training.evaluation.paired_table import score_sets
from training.validation import load_pairs


def plan_for(corpus, folder, variants) -> AblationPlan:
    config = yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text())
    config["speech"] = [{"path": str(corpus / "speech")}]
    config["noise"] = [{"path": str(corpus / "noise-*.parquet")}]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return AblationPlan(
        str(folder / "config.yaml"),
        variants,
        seeds=[0],
        steps=2,
        pairs=str(corpus / "pairs.parquet"),
        output_dir=str(folder),
    )


def test_dots_step_into_mappings_and_the_base_stays():
    base = {"seed": 0, "pipeline": {"hop_length": 128}}
    changed = variant_config(base, {"pipeline.target": "residual", "learning_rate": 1.0, "mixing.seconds": 2.0}, seed=3)
    assert changed == {
        "seed": 3,
        "pipeline": {"hop_length": 128, "target": "residual"},
        "learning_rate": 1.0,
        "mixing": {"seconds": 2.0},
    }
    assert base == {"seed": 0, "pipeline": {"hop_length": 128}}


@pytest.mark.slow
def test_a_step_costs_what_its_windows_cost(tmp_path):
    config = load_config(ROOT / "training" / "configs" / "base.yaml")
    regressor = replace(config, terminal_share=1.0)
    assert step_cost(replace(regressor, batch_size=2 * config.batch_size)) == pytest.approx(2 * step_cost(regressor))
    assert step_cost(config) / step_cost(regressor) == pytest.approx(1 + 0.4 * 0.7 * 0.8 / 3)
    few_steps = replace(regressor, few_step_share=0.5)
    assert step_cost(few_steps) == pytest.approx(1.5 * step_cost(regressor))
    assert step_cost(replace(few_steps, few_step_all_gradients=True)) == pytest.approx(2.5 * step_cost(regressor))
    assert step_cost(replace(few_steps, few_step_number=[1, 4])) == pytest.approx(1.25 * step_cost(regressor))
    half = replace(
        regressor, pipeline={**config.pipeline, "hop_length": 256, "window_frames": 192, "overlap_frames": 48}
    )
    assert step_cost(half) == pytest.approx(step_cost(regressor) / 2, rel=0.02)


@pytest.mark.slow
def test_runs_are_trained_scored_and_not_made_twice(corpus, tmp_path):
    plan = plan_for(corpus, tmp_path, {"residual": {"pipeline.target": "residual"}})
    stored = tmp_path / "out.runs.jsonl"
    rows = run_plan(plan, stored)
    assert [row["variant"] for row in rows] == ["residual"]
    assert run_plan(plan, stored, seeds=[]) == rows
    assert all(row["steps"] == 2 and row["pesq"] > 1 for row in rows)
    index = json.loads((tmp_path / "residual-0" / "pipeline" / "model_index.json").read_text())
    assert index["target"] == "residual"
    before = stored.read_text()
    assert run_plan(plan, stored) == rows
    assert run_plan(plan, stored, train=False) == rows
    assert stored.read_text() == before


@pytest.mark.slow
def test_a_failed_run_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"config\.yaml: training failed: .*no_such_field"):
        train_variant({"output_dir": str(tmp_path), "no_such_field": 1})


def test_only_what_exceeds_the_spread_of_seeds_is_marked():
    def row(variant, seed, value):
        measures = dict.fromkeys(["pesq", "estoi", "si_sdr", "pesq_4_steps"], value)
        return {"variant": variant, "seed": seed, "steps": 5, "windows": 40, "relative_cost": 1.0} | measures

    plan = AblationPlan("base.yaml", {"first": {}, "near": {"a": 1}, "far": {"b": 2}})
    values = {"first": (1.0, 1.1), "near": (1.1, 1.1), "far": (1.3, 1.3)}
    rows = [row(name, seed, value) for name, pair in values.items() for seed, value in enumerate(pair)]
    lines = {line.split("|")[1].strip(): line for line in markdown(rows, plan).splitlines() if line.startswith("| ")}
    assert "**" not in lines["near"]
    assert "(**+0.250**)" in lines["far"]
    assert "b: 2" in lines["far"]
    assert "Not run yet" not in markdown(rows, plan)
    rows = [row | {"pesq_4_steps": float("nan")} if row["variant"] == "far" else row for row in rows[:-1]]
    assert "Not run yet: far." in markdown(rows, plan)
    assert "nan" not in markdown(rows, plan)


def test_a_difference_counts_if_it_is_sure_for_every_seed():
    def row(variant, seed, values):
        files = {"pesq": values, "estoi": values, "si_sdr": values}
        run = {"variant": variant, "seed": seed, "steps": 5, "windows": 40}
        return run | {"figures": {"set": {"1": files, "4": files}}}

    plan = AblationPlan("base.yaml", {"first": {}, "once": {"a": 1}, "twice": {"b": 2}}, sets={"set": "x.parquet"})
    values = [1.0, 2.0, 3.0, 1.5]
    more = [value + 0.2 for value in values]
    rows = [row("first", seed, values) for seed in (0, 1)]
    rows += [row("once", 0, more), row("once", 1, values[::-1]), row("twice", 0, more), row("twice", 1, more)]
    lines = [line for line in markdown(rows, plan).splitlines() if line.startswith("| ")]
    assert "| once | 1 | 1.975 (+0.100 [+0.200, +0.200]" in "\n".join(lines)
    assert "| twice | 4 | 2.075 (**+0.200** [+0.200, +0.200], [+0.200, +0.200])" in "\n".join(lines)
    assert "Not run yet: twice." in markdown(rows[:-1], plan)
    loud = [value + 1 for value in values]
    rows = [row("first", 0, values), row("first", 1, loud)]
    rows += [row("once", 1, [value + 0.2 for value in loud]), row("once", 0, more)]  # the seeds ended in another order
    assert "(**+0.200** [+0.200, +0.200], [+0.200, +0.200])" in markdown(rows, plan)


@pytest.mark.slow
def test_a_plan_with_sets_scores_every_file_at_every_number_of_steps(corpus, tmp_path):
    plan = replace(
        plan_for(corpus, tmp_path, {"as it is": {}}), sets={"one": str(corpus / "pairs.parquet")}, measured_steps=[1, 2]
    )
    (row,) = run_plan(plan, tmp_path / "out.runs.jsonl")
    assert set(row["figures"]["one"]) == {"1", "2"}
    assert len(row["figures"]["one"]["2"]["pesq"]) == 1
    assert "| as it is | 2 | " in markdown([row], plan)


@pytest.mark.parametrize("has_dial", [False, True])
def test_a_set_is_enhanced_at_its_dial_if_the_model_has_one(corpus, tmp_path, has_dial):
    changes = {"unet.in_channels": 160, "pipeline.with_dereverb": True} if has_dial else {}
    config = checked_config(
        variant_config(yaml.safe_load((ROOT / "training" / "configs" / "tiny.yaml").read_text()), changes)
    )
    pipeline = untrained(config)
    pipeline.set_progress_bar_config(disable=True)
    pairs = load_pairs(str(corpus / "pairs.parquet"))
    figures = [
        score_sets(pipeline, {"rooms": pairs}, [1], dial)["rooms"]["1"]["si_sdr"] for dial in ({}, {"rooms": 1.0})
    ]
    assert (figures[0] != figures[1]) == has_dial


def test_a_plan_without_runs_and_an_unknown_seed_are_usage_errors(tmp_path, capsys):
    plan = ["--plan", str(ROOT / "training" / "configs" / "ablations.yaml"), "--output", str(tmp_path / "out")]
    for arguments, message in (
        (["--report-only"], "has no run of every seed yet"),
        (["--seeds", "7"], "the plan has no 7"),
    ):
        with pytest.raises(SystemExit):
            main(plan + arguments)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("config: base.yaml\nvariants: {}\n", "at least one"),
        ("config: base.yaml\nvariants: {a: {}}\ndereverb: {rooms: 1.0}\n", "dereverb: no such set: rooms"),
    ],
)
def test_a_wrong_plan_is_a_usage_error(tmp_path, capsys, plan, message):
    (tmp_path / "plan.yaml").write_text(plan)
    with pytest.raises(SystemExit):
        main(["--plan", str(tmp_path / "plan.yaml"), "--output", str(tmp_path / "out")])
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ablations", "ablations-generation-two"])
def test_every_variant_of_the_repositorys_plans_is_a_valid_config(tmp_path, name):
    plan = read_config(AblationPlan, ROOT / "training" / "configs" / f"{name}.yaml")
    base = read_yaml(ROOT / plan.config)
    path = tmp_path / "config.yaml"
    for changes in plan.variants.values():
        path.write_text(yaml.safe_dump(variant_config(variant_config(base, plan.common), changes)))
        load_config(path)
