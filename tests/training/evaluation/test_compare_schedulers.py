import json
import re

import numpy as np
import pytest
import torch
from conftest import ROOT

from speech_enhance.models.schedulers import PRESETS, Preset
from training.evaluation.compare_schedulers import derive_presets, main, pareto_front, setting_of


def row(setting: Preset, evaluations: int, pesq: list[float]) -> dict:
    files = [{"id": str(index), "pesq": value, "si_sdr": 12.0} for index, value in enumerate(pesq)]
    return {**vars(setting), "evaluations": evaluations, "files": files}


ONE, FOUR, SIXTEEN = Preset("ddim", 1, 1), Preset("heun", 4, 1), Preset("ddim", 16, 1)


def test_a_dearer_preset_must_earn_its_place():
    base = list(1.5 + np.random.default_rng(0).random(20))
    shifted = [value + 0.1 for value in base]
    wavering = [value + 0.1 * (-1) ** index + 0.001 for index, value in enumerate(base)]
    better = [row(ONE, 1, base), row(FOUR, 4, shifted), row(SIXTEEN, 16, base)]
    assert derive_presets([better]) == {"fast": ONE, "balanced": FOUR}
    uncertain = [row(ONE, 1, base), row(FOUR, 4, wavering), row(SIXTEEN, 16, shifted)]
    assert derive_presets([uncertain]) == {"fast": ONE, "best": SIXTEEN}
    both = [row(ONE, 1, base), row(FOUR, 4, shifted), row(SIXTEEN, 16, [value + 0.2 for value in base])]
    assert derive_presets([both]) == {"fast": ONE, "balanced": FOUR, "best": SIXTEEN}
    two = Preset("ddim", 1, 2)
    half_the_price = [*better, row(two, 2, [value + 0.02 for value in wavering])]
    assert derive_presets([half_the_price])["balanced"] == FOUR, "it does not gain for sure"
    half_the_price = [*better, row(two, 2, [value - 0.05 * (index % 2) for index, value in enumerate(shifted)])]
    assert derive_presets([half_the_price])["balanced"] == FOUR, "the dearer one gains over it"
    half_the_price = [*better, row(two, 2, [value + 0.05 * (-1) ** index for index, value in enumerate(shifted)])]
    assert derive_presets([half_the_price])["balanced"] == two
    too_dear = [row(ONE, 1, base), row(FOUR, 5, base), row(SIXTEEN, 17, shifted)]
    assert derive_presets([too_dear]) == {"fast": ONE}
    one_step = [row(Preset("heun", 1, 1), 1, shifted), row(ONE, 1, base)]
    assert derive_presets([one_step]) == {"fast": ONE}


def test_a_preset_must_gain_on_every_set():
    base = list(1.5 + np.random.default_rng(0).random(20))
    shifted = [value + 0.1 for value in base]
    better, as_good = [row(ONE, 1, base), row(FOUR, 4, shifted)], [row(ONE, 1, base), row(FOUR, 4, base)]
    assert derive_presets([better, better]) == {"fast": ONE, "balanced": FOUR}
    assert derive_presets([better, as_good]) == {"fast": ONE}
    assert derive_presets([better, [row(ONE, 1, base)]]) == {"fast": ONE}, "it was not measured on the second"
    two, wavering = Preset("ddim", 1, 2), [value + 0.05 * (-1) ** index for index, value in enumerate(shifted)]
    cheaper = [*better, row(two, 2, wavering)]
    assert derive_presets([cheaper, cheaper]) == {"fast": ONE, "balanced": two}
    worse = [*better, row(two, 2, [value + 0.05 for value in base])]
    assert derive_presets([cheaper, worse]) == {"fast": ONE, "balanced": FOUR}, "it is worse on the second"


def test_files_that_pesq_cannot_judge_do_not_count():
    base = list(1.5 + np.random.default_rng(0).random(20))
    rows = [row(ONE, 1, base), row(FOUR, 4, [value + 0.02 for value in base])]
    assert derive_presets([rows]) == {"fast": ONE, "balanced": FOUR}
    rows[0]["files"][3]["pesq"] += 1.3
    assert derive_presets([rows]) == {"fast": ONE}
    rows[1]["files"][3]["si_sdr"] = -12.0
    assert derive_presets([rows]) == {"fast": ONE, "balanced": FOUR}


def test_the_pareto_front_leaves_out_what_costs_more_for_less():
    rows = [row(SIXTEEN, 16, [3.0]), row(FOUR, 4, [1.0]), row(ONE, 1, [2.0])]
    assert [setting_of(item) for item in pareto_front(rows)] == [ONE, SIXTEEN]


def test_the_presets_are_those_that_the_published_figures_speak_for():
    names = ("presets", "presets-calls", "presets-second")
    reports = [json.loads((ROOT / "training" / "results" / f"{name}.json").read_text()) for name in names]
    assert derive_presets(reports) == PRESETS


@pytest.fixture
def tiny_folder(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
def test_the_script_measures_draws_and_goes_on_where_it_was(corpus, tiny_folder, tmp_path, capsys):
    output = tmp_path / "results" / "schedulers"
    options = ["--pairs", str(corpus / "pairs.parquet"), "--model", str(tiny_folder), "--output", str(output)]
    main([*options, "--schedulers", "ddim", "heun", "--steps", "1", "2"])
    rows = json.loads(output.with_suffix(".json").read_text())
    evaluations = {setting_of(item): item["evaluations"] for item in rows}
    assert evaluations[Preset("ddim", 2, 1)] == 2
    assert evaluations[Preset("heun", 2, 1)] == 3
    assert evaluations[Preset("ddim", 1, 12)] == 12
    assert all(item["real_time_factor"] > 0 for item in rows)
    text = output.with_suffix(".md").read_text()
    assert "| scheduler | 1 step | 2 steps |" in text
    assert "| ddim, 1 step, 12 estimates |" in text
    assert output.with_suffix(".png").stat().st_size > 10000
    assert not (tmp_path / "results" / "schedulers.partial.jsonl").exists()

    marked = [{**item, "real_time_factor": 77.0} for item in rows]
    (tmp_path / "results" / "schedulers.partial.jsonl").write_text("".join(json.dumps(item) + "\n" for item in marked))
    capsys.readouterr()
    main([*options, "--schedulers", "ddim", "--steps", "1", "2", "4"])
    assert capsys.readouterr().err.count("× real time") == 1  # the 4 steps are new
    assert sum(item["real_time_factor"] == 77.0 for item in json.loads(output.with_suffix(".json").read_text())) == 9


@pytest.mark.slow
def test_a_setting_that_the_pipeline_refuses_is_left_out(corpus, tiny_folder, tmp_path, capsys):
    options = ["--pairs", str(corpus / "pairs.parquet"), "--limit", "1", "--model", str(tiny_folder)]
    settings = ["--schedulers", "ddim", "lcm", "--steps", "1", "51"]  # LCM has at most 50 steps
    main([*options, *settings, "--output", str(tmp_path / "report")])
    assert "lcm, 51 steps: left out, " in capsys.readouterr().err
    table = (tmp_path / "report.md").read_text()
    assert re.search(r"^\| lcm \| \d\.\d\d \| – \|$", table, flags=re.MULTILINE)


def test_a_model_that_fails_at_one_step_has_no_report(corpus, tiny_pipeline, tmp_path, capsys):
    with torch.no_grad():
        tiny_pipeline.unet.conv_out.weight.fill_(3e38)
    tiny_pipeline.save_pretrained(tmp_path / "model")
    options = ["--pairs", str(corpus / "pairs.parquet"), "--limit", "1", "--model", str(tmp_path / "model")]
    with pytest.raises(SystemExit):
        main([*options, "--schedulers", "ddim", "--steps", "1", "--output", str(tmp_path / "report")])
    assert "the model gives NaN or infinite values" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "report.md").exists()


@pytest.mark.slow
def test_presets_can_come_from_a_report_of_more_pairs(corpus, tiny_folder, tmp_path, capsys):
    three = Preset("ddim", 1, 3)
    base = list(1.5 + np.random.default_rng(0).random(20))
    speaking = [row(ONE, 1, base), row(three, 3, [value + 0.1 for value in base])]
    (tmp_path / "presets.json").write_text(json.dumps(speaking))
    options = ["--pairs", str(corpus / "pairs.parquet"), "--model", str(tiny_folder), "--output", str(tmp_path / "r")]
    options += ["--schedulers", "ddim", "--steps", "1", "--presets", str(tmp_path / "presets.json")]
    main(options)
    assert "| ddim, 1 step, 3 estimates | balanced | 3 |" in (text := (tmp_path / "r.md").read_text())
    assert "| PESQ over DDIM, 1 step, presets |" in text
    assert "| +0.100 [+0.100, +0.100] |" in text
    (tmp_path / "r.partial.jsonl").write_text("of a run in progress")
    main([*options, "--report-only"])
    assert "| +0.100 [+0.100, +0.100] |" in (tmp_path / "r.md").read_text()
    assert (tmp_path / "r.partial.jsonl").read_text() == "of a run in progress"
    (tmp_path / "other.json").write_text(json.dumps([row(ONE, 1, [1.0])]))
    for wrong, message in {
        str(tmp_path / "other"): "other.json holds scores of other files",
        "": "needs --output",
    }.items():
        with pytest.raises(SystemExit):
            main([*options, "--report-only", "--output", wrong])
        assert message in capsys.readouterr().err
    (tmp_path / "r.partial.jsonl").unlink()
    with pytest.raises(SystemExit) as error:
        main([*options[:-1], str(tmp_path / "none.json")])
    assert error.value.code == 2
    assert "none.json" in capsys.readouterr().err


def test_scores_of_other_files_are_not_mixed_in(corpus, tiny_folder, tmp_path, capsys):
    (tmp_path / "r.partial.jsonl").write_text(json.dumps(row(ONE, 1, [1.0])) + "\n")
    pairs = str(corpus / "pairs.parquet")
    with pytest.raises(SystemExit) as error:
        main(["--pairs", pairs, "--model", str(tiny_folder), "--output", str(tmp_path / "r")])
    assert error.value.code == 2
    assert "scores of other files" in capsys.readouterr().err
