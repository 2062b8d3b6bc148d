"""Makes the model card from [`About`], results files, the checkpoint itself and `template.md`."""

import json
import math
import re
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from model_cards.about import About
from model_cards.figures import (
    comparison,
    findings,
    interval,
    main_system,
    scheduler_findings,
    speed_findings,
)
from speech_enhance import DEFAULT_CHECKPOINT, LIVE_CHECKPOINT
from training.config import load_config
from training.evaluation.measures import BASIC_MEASURES
from training.evaluation.reports import Reports

TEMPLATE = Path(__file__).parent / "template.md"
ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = {"F16": "half precision", "F32": "single precision", "BF16": "bfloat16"}


def render(
    about: About,
    reports: Reports,
    folder: str | Path,
    assets: dict[str, str],
    repo_id: str | None = None,
    revision: str = "main",
    code_revision: str = "remote-code",
) -> str:
    """Return the text of a model card.

    Args:
        about: Facts that no results file holds.
        reports: The results files that `about` names.
        folder: The pipeline folder that the card describes.
        assets: Addresses of `picture`, `demo`, `noisy`, `clean`, with a `repo_id` also `enhanced`, and `schedulers` if
            shown.
        repo_id: Repository of the published model. Without it, the card describes the folder in this repository.
        revision: Branch of the model.
        code_revision: Branch of the loader code.

    Raises:
        ValueError: if a report holds no results of the model.
        jinja2.UndefinedError: for a field without a value.
    """
    results = {item.results: reports.results(item.results) for item in about.evaluations}
    evaluations = [asdict(item) | findings(results[item.results], item.by) for item in about.evaluations]
    schedulers = None
    if about.schedulers:
        untouched = [file for report in results.values() for file in report["untouched"]["files"]]
        preset_rows = reports.results(about.presets) if about.presets else None
        schedulers = scheduler_findings(reports.results(about.schedulers), untouched, preset_rows)
    return fill_template(
        TEMPLATE,
        about=about,
        metadata=metadata(about, results, repo_id).to_yaml().strip(),
        model=model_facts(folder),
        assets=assets,
        repo_id=repo_id,
        checkpoint=f'"{repo_id}"' if repo_id else _local(folder),
        revision=revision,
        code_revision=code_revision,
        evaluations=evaluations,
        comparison=comparison(results),
        baselines=list(dict.fromkeys(name for item in evaluations for name in item["gains"])),
        commands=[(name, *_command(reports, name)) for name in reports.names],
        clean_speech=clean_findings(reports.results(about.clean_speech)) if about.clean_speech else None,
        schedulers=schedulers,
        speed=speed_findings(reports.results(about.benchmark)) if about.benchmark else None,
        training=training_facts(about, folder),
    )


def _local(folder: str | Path) -> str:
    """Return the Python expression for a checkpoint in this repository."""
    whole = Path(folder).resolve()
    for constant, own in {"DEFAULT_CHECKPOINT": DEFAULT_CHECKPOINT, "LIVE_CHECKPOINT": LIVE_CHECKPOINT}.items():
        if whole == own.resolve():
            return constant
    return f'"{_shown_path(whole, str(folder))}"'


def fill_template(template: Path, **values) -> str:
    """Return the text of a card: `template` filled with `values`, which must hold every name in the template."""
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    text = environment.from_string(template.read_text(encoding="utf-8")).render(values)
    return re.sub(r"\n{3,}", "\n\n", text)


def metadata(about: About, results: dict[str, dict], repo_id: str | None) -> ModelCardData:
    """Return the card's front matter, with the model's means as `model-index`."""
    measured = []
    for item in about.evaluations:
        summary = results[item.results][main_system(results[item.results])]["summary"]
        count = summary["pesq"]["count"]
        for name, measure in BASIC_MEASURES.items():
            value = float(summary[name]["mean"])
            if math.isfinite(value):
                measured.append(
                    EvalResult(
                        task_type="audio-to-audio",
                        task_name="Speech enhancement",
                        dataset_type=item.dataset,
                        dataset_name=f"{item.results} ({count} pairs, {item.role})",
                        dataset_config=item.config,
                        dataset_split=item.split,
                        metric_type=name,
                        metric_name=measure.name,
                        metric_value=value,
                    )
                )
    return front_matter(about, "audio-to-audio", list(BASIC_MEASURES), measured, repo_id)


def front_matter(
    about, pipeline_tag: str, metrics: list[str], eval_results: list[EvalResult], repo_id: str | None
) -> ModelCardData:
    """Return the front matter of the card of any kind of pipeline, from its `about` and the measurements."""
    return ModelCardData(
        license=about.licence,
        language=about.languages,
        library_name="diffusers",
        pipeline_tag=pipeline_tag,
        tags=about.tags,
        datasets=about.datasets or None,
        metrics=metrics,
        model_name=repo_id.split("/")[-1] if repo_id else about.title,
        eval_results=eval_results,
    )


def model_facts(folder: str | Path) -> dict[str, str]:
    """Read size and precision of a pipeline's network from the headers of its weights."""
    from safetensors import safe_open

    count, size = 0, 0
    kinds: set[str] = set()
    for path in sorted(Path(folder).glob("unet/*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (a handle, not a dictionary)
                part = file.get_slice(name)
                count += math.prod(part.get_shape())
                kinds.add(part.get_dtype())
        size += path.stat().st_size
    config = json.loads((Path(folder) / "model_index.json").read_text(encoding="utf-8"))
    large = count >= 1e5
    return {
        "parameters": f"{count / 1e6:.1f} million" if large else f"{count:,}",
        "precision": ", ".join(PRECISIONS.get(kind, kind) for kind in sorted(kinds)),
        "size": f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB",
        "sampling_rate": f"{config['sampling_rate']:,}",
    }


def training_facts(about: About, folder: str | Path) -> dict:
    """Read the numbers of the recipe from the run's config file."""
    facts = {
        "command": None,
        "windows": None,
        "speech_hours": f"{sum(item.hours for item in about.speech):.1f}",
        "noise_hours": f"{sum(item.hours for item in about.noise):.1f}",
    }
    if about.training_config:
        config = load_config(ROOT / about.training_config)
        index = json.loads((Path(folder) / "model_index.json").read_text(encoding="utf-8"))
        seconds = index["window_frames"] * index["hop_length"] / index["sampling_rate"]
        per_step = config.batch_size * config.gradient_accumulation_steps
        windows = about.windows or (about.steps or 0) * per_step
        facts |= {
            "command": f"accelerate launch training/train.py --config {_shown_path(about.training_config)}",
            "windows": f"with {windows:,}" if about.windows else f"of {per_step}" if about.steps else None,
            "seconds": f"{seconds:.1f}",
            "hours": f"{windows * seconds / 3600:.0f}",
            "optimizer": {"adamw": "AdamW", "muon": "Muon"}.get(config.optimizer, config.optimizer),
            "learning_rate": f"{config.learning_rate:g}",
            "ema_decay": f"{config.ema_decay:g}",
            "mixed_precision": config.mixed_precision,
        }
    return facts


def _shown_path(path: str | Path, elsewhere: str = "training_config.yaml") -> str:
    """Return a path relative to the repository, or `elsewhere`, the published config's name, for a path outside it."""
    whole = (ROOT / path).resolve()
    return whole.relative_to(ROOT).as_posix() if whole.is_relative_to(ROOT) else elsewhere


def clean_findings(results: dict) -> dict[str, str]:
    """Return the results on clean speech as text."""
    summary = results[main_system(results)]["summary"]
    return {
        "count": summary["pesq"]["count"],
        **{name: interval(summary[name], BASIC_MEASURES[name].form) for name in ("pesq", "si_sdr")},
    }


def _command(reports: Reports, name: str) -> tuple[str, str]:
    return reports.provenance(name)
