"""The model card: every field filled from data, and nothing published that was not measured."""

import dataclasses
import json
import math
import re
import shutil

import pytest
from conftest import ROOT
from huggingface_hub import ModelCard

from model_cards.about import About, load_about
from model_cards.card import render
from model_cards.figures import main_system, number, scheduler_findings, speed_findings
from model_cards.mel_stage import MelStageAbout
from model_cards.publish import BASE_ABOUT, BASE_RESULTS, OWN, main, publish_model
from speech_enhance import DEFAULT_CHECKPOINT, MEL_STAGE_CHECKPOINT, PRESETS, SCHEDULERS
from speech_enhance.hub.publishing import check_card, check_pipeline
from training.evaluation.reports import Reports

ASSETS = {name: f"files/{name}" for name in ("picture", "demo", "noisy", "enhanced", "clean", "schedulers")}


@pytest.fixture(scope="module")
def about():
    return load_about(BASE_ABOUT, About)


@pytest.fixture(scope="module")
def card(about):
    return render(about, Reports(BASE_RESULTS, about.results), DEFAULT_CHECKPOINT, ASSETS, "user/name")


def results(name):
    return json.loads((BASE_RESULTS / f"{name}.json").read_text())


def test_nothing_is_left_to_fill(card):
    check_card(card)
    assert not re.search(r"\{\{|\{%|\bNone\b(?! of)|Undefined|\bnan\b|\[\]|TODO|\n\n\n", card)
    for address in ASSETS.values():
        assert address in card


def test_the_metadata_says_what_the_hub_asks_for(card, about):
    data = ModelCard(card).data
    assert (data.license, data.language, data.library_name) == ("apache-2.0", ["en", "de"], "diffusers")
    assert data.pipeline_tag == "audio-to-audio"
    assert "speech-enhancement" in data.tags
    assert data.datasets == about.datasets
    assert data.metrics == ["pesq", "estoi", "si_sdr"]
    assert data.model_name == "name"
    values = {(item.dataset_type, item.metric_type): item.metric_value for item in data.eval_results}
    for item in about.evaluations:
        summary = results(item.results)["ours, balanced"]["summary"]
        for metric in data.metrics:
            assert values[item.dataset, metric] == summary[metric]["mean"]


def test_the_tables_hold_the_measured_means(card, about):
    for system, text in {"rnnoise": "RNNoise", "ours, fast": r"\*\*ours, `fast`\*\*"}.items():
        (row,) = re.findall(rf"^\| {text} \| (.+) \|$", card.split("Gains of")[0], flags=re.MULTILINE)
        expected = []
        for item in about.evaluations:
            scores = results(item.results).get(system)
            if scores is None:
                expected += ["–"] * 3
                continue
            summary = scores["summary"]
            expected += [
                f"{summary['pesq']['mean']:.2f}",
                f"{summary['estoi']['mean']:.3f}"[1:],
                f"{summary['si_sdr']['mean']:.1f}",
            ]
        assert row.split(" | ") == expected
    assert "–" not in expected, "of our own systems every set has scores"
    assert all(re.search(rf"^\| {re.escape(name)} \|", card, flags=re.MULTILINE) for name in SCHEDULERS)
    assert all(f"| `{name}` |" in card for name in PRESETS)


def test_every_section_is_there(card, about):
    headings = re.findall(r"^## (.+)$", card, flags=re.MULTILINE)
    assert headings == ["Use", "Results", "Schedulers, speed", "Training", "Limits and risks", "Licence and citation"]
    for corpus in (*about.speech, *about.noise):
        assert f"| {corpus.corpus} | {corpus.hours:.2f} | {corpus.licence} |" in card
    for limit in about.limits:
        assert limit in card
    for name in about.results:
        assert re.search(rf"- `{name}`: `python (?:-m training[\w.]+|training/\w+\.py) .*` at commit \w+", card)
    assert 'from_pretrained("user/name")' in card
    assert 'revision="remote-code"' in card
    assert "@software" in card


@pytest.mark.parametrize("folder", OWN, ids=lambda folder: folder.name)
def test_the_bundled_cards_are_what_the_templates_give(folder):
    """After new results or a change of a template: `python model_cards/publish.py speech_enhance/checkpoints/…
    --card`."""
    before = (folder / "README.md").read_bytes()
    try:
        main([str(folder), "--card"])
        assert (folder / "README.md").read_bytes() == before
    finally:
        (folder / "README.md").write_bytes(before)
    for link in re.findall(r"\]\((?!http|#)([^)]+)\)", before.decode()):
        assert (folder / link).is_file(), link


def test_losses_and_gains_are_counted_not_claimed(about, tmp_path):
    """A model that got worse says so by itself."""
    for name in about.results:
        for end in (".json", ".md"):
            shutil.copy(BASE_RESULTS / (name + end), tmp_path)
    report = results("pairs-voicebank")
    for row, noisy in zip(report["ours, balanced"]["files"], report["untouched"]["files"], strict=True):
        row["pesq"] = noisy["pesq"] - 0.25
    report["base"] = report["rnnoise"]  # a system that only one of the reports has
    (tmp_path / "pairs-voicebank.json").write_text(json.dumps(report))
    rows = results("schedulers")
    for row in rows:
        if (row["scheduler"], row["num_inference_steps"], row["num_estimates"]) == ("unipc", 4, 1):
            for file in row["files"]:
                file["pesq"] += 1
    (tmp_path / "schedulers.json").write_text(json.dumps(rows))
    card = render(about, Reports(tmp_path, about.results), DEFAULT_CHECKPOINT, ASSETS, "user/name")
    assert "lower PESQ than untouched in 14 of 14 files (by up to .25)" in card
    assert "| −.25 [−.25, −.25] |" in card
    assert "| the bundled checkpoint, `base` | – | – | −." in card
    assert "More steps can buy PESQ: the best setting of several steps, unipc, 4 steps, gains" in card


def test_memory_is_shown_as_the_benchmark_names_it():
    new = {"machine": "m", "real_time_factor": {"torch": {}}, "peak_memory_mb": {"1 h, 48 kHz stereo": 1234.5}}
    assert speed_findings(new)["memory"] == {"1 h, 48 kHz stereo": "1,234 MB"}


def test_settings_below_the_untouched_recordings_are_named():
    rows, untouched = results("schedulers"), results("pairs-valid")["untouched"]["files"]
    assert "heun at 2" in scheduler_findings(rows, untouched)["below"]
    assert "ddim at 2" not in scheduler_findings(rows, untouched)["below"]


def test_numbers_as_text():
    assert [number(value, ".2f") for value in (0.657, -0.05, 2.0, math.nan)] == [".66", "−.05", "2.00", "–"]
    assert number(-0.3, "+.1f") == "−0.3"
    assert number(0.3, "+.2f") == "+.30"


def test_optional_parts_can_be_left_out(about):
    bare = dataclasses.replace(
        about, schedulers=None, benchmark=None, clean_speech=None, training_config=None, steps=None
    )
    card = render(bare, Reports(BASE_RESULTS, bare.results), DEFAULT_CHECKPOINT, ASSETS, "user/name")
    check_card(card)
    assert "Schedulers, speed" not in card
    assert "Real-time factor" not in card
    assert "training/train.py" not in card


def test_without_results_nothing_is_published(about, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"lacks pairs-valid\.json.*nothing is published without its evaluation"
    ):
        publish_model(DEFAULT_CHECKPOINT, "user/name", about, tmp_path, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="no evaluation results"):
        check_card("---\nlicense: apache-2.0\n---\n# A model\n")
    report = results("pairs-valid")
    with pytest.raises(ValueError, match="without results of the model itself"):
        main_system({name: value for name, value in report.items() if not name.startswith("ours")})


def test_another_models_results_are_refused(about, tmp_path):
    shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "other")
    with pytest.raises(ValueError, match=r"pairs-valid\.md is about .*base, not about .*other"):
        publish_model(tmp_path / "other", "user/name", about, BASE_RESULTS, output=tmp_path / "out")


def test_folders_that_must_not_be_published(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "good")
    check_pipeline(tmp_path / "good")
    tiny_pipeline.save_pretrained(tmp_path / "pickle", safe_serialization=False)
    with pytest.raises(ValueError, match=r"holds unet/diffusion_pytorch_model\.bin"):
        check_pipeline(tmp_path / "pickle")
    tiny_pipeline.unet.conv_in.weight.data[0] = math.nan
    tiny_pipeline.save_pretrained(tmp_path / "diverged")
    with pytest.raises(ValueError, match=r"does not load: .*conv_in\.weight holds NaN or infinite weights"):
        check_pipeline(tmp_path / "diverged")
    (tmp_path / "good" / "unet" / "config.json").write_text("{")
    with pytest.raises(ValueError, match="does not load"):
        check_pipeline(tmp_path / "good")
    with pytest.raises(ValueError, match=r"no model_index\.json"):
        check_pipeline(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(DEFAULT_CHECKPOINT)], "give either USER/NAME or --card"),
        ([str(ROOT), "user/name"], "is no checkpoint of this repository: give its --about and --results"),
        ([str(DEFAULT_CHECKPOINT), "name"], "it is written user/name"),
        ([str(DEFAULT_CHECKPOINT), "user/na me"], "is no name of a repository"),
        ([str(DEFAULT_CHECKPOINT), "user/name", "--about", str(ROOT / "pyproject.toml")], "no valid YAML"),
        ([str(DEFAULT_CHECKPOINT), "user/name", "--about", "gone.yaml"], "gone.yaml"),
    ],
)
def test_mistakes_get_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_mel_stage_has_a_card_of_its_own(tmp_path):
    about = load_about(OWN[MEL_STAGE_CHECKPOINT], MelStageAbout)
    publish_model(MEL_STAGE_CHECKPOINT, "user/stage", about, BASE_RESULTS, output=tmp_path / "out")
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    check_card(card)
    report = results("mel-stage")
    for kind, by_name in report.items():
        (cells,) = re.findall(rf"^\| {kind} \| (.+) \|$", card, flags=re.MULTILINE)
        means = [
            f"{sum(row[measure] for row in rows) / len(rows):.2f}"
            for measure in ("mel_error", "lsd")
            for rows in by_name.values()
        ]
        assert cells.replace("**", "").split(" | ") == means
    assert ModelCard(card).data.pipeline_tag == "text-to-speech"
    for link in re.findall(r"\]\((?!http|#)([^)]+)\)", card):
        assert (tmp_path / "out" / "model" / link).is_file(), link
    for name in ("vocoder/config.json", "vocoder/model.safetensors", "results/mel-stage.json", "training_config.yaml"):
        assert (tmp_path / "out" / "model" / name).is_file(), name
