"""Makes the model card of a mel stage from [`MelStageAbout`], the report of `training/vocoder/evaluate_mel_stage.py`
and the checkpoint itself."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from model_cards.about import CITATION, Corpus
from model_cards.card import fill_template, front_matter, model_facts
from training.evaluation.bootstrap import bootstrap_gain, bootstrap_mean
from training.evaluation.reports import Reports

TEMPLATE = Path(__file__).parent / "mel_stage_template.md"
NOTHING = "nothing"
MAIN_KIND, MAIN_SETTING = "as in training", "1 step"
MEASURES = {"mel_error": "mel error (dB)", "lsd": "log-spectral distance after the vocoder (dB)"}


@dataclass(frozen=True)
class MelStageAbout:
    """The facts behind the card of a mel stage. Its figures are read from its report.

    Args:
        title: Heading of the card.
        licence: Licence of the weights, as the Hub spells it (`apache-2.0`).
        languages: ISO codes of the languages trained on.
        speech: Corpora that were trained on.
        report: Name of the report in the folder of results, without extension.
        dataset: Identifier of the report's recordings, for the card's metadata.
        use: Advice when to use the model and when not, Markdown.
        training_notes: The recipe, Markdown.
        limits: Points about what the model cannot do.
        training_config: Config file of the run, published with the model; its path is relative to the repository.
        datasets: Ids of the training datasets that are on the Hub.
        tags: Tags for the Hub's search.
        citation: BibTeX entry.
    """

    title: str
    licence: str
    languages: list[str]
    speech: list[Corpus]
    report: str
    dataset: str
    use: str
    training_notes: str
    limits: list[str]
    training_config: str | None = None
    datasets: list[str] = field(default_factory=list)
    tags: list[str] = field(
        default_factory=lambda: ["speech-enhancement", "mel-spectrogram", "diffusion", "text-to-speech", "vocoder"]
    )
    citation: str = CITATION

    def __post_init__(self):
        for name in ("languages", "speech", "limits"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one entry")

    @property
    def results(self) -> list[str]:
        """Names of all reports that the card uses."""
        return [self.report]


def is_mel_stage(folder: str | Path) -> bool:
    """Return whether a folder holds the pipeline of a mel stage; `False` if it is no pipeline folder."""
    index = Path(folder) / "model_index.json"
    return index.is_file() and bool(json.loads(index.read_text(encoding="utf-8")).get("mel_layout"))


def render_mel_stage(
    about: MelStageAbout,
    reports: Reports,
    folder: str | Path,
    assets: dict[str, str],
    repo_id: str | None = None,
    revision: str = "main",
    code_revision: str = "remote-code",
) -> str:
    """Return the text of the card. The arguments are those of [`model_cards.card.render`]; `assets` holds `picture`."""
    index = json.loads((Path(folder) / "model_index.json").read_text(encoding="utf-8"))
    results = reports.results(about.report)
    command, commit = reports.provenance(about.report)
    return fill_template(
        TEMPLATE,
        about=about,
        metadata=metadata(about, results, repo_id).to_yaml().strip(),
        model=model_facts(folder),
        layout=index["mel_layout"],
        bands=index["num_mel_bins"],
        vocoder=(index.get("vocoder") or [None, None])[1],
        assets=assets,
        repo_id=repo_id,
        revision=revision,
        code_revision=code_revision,
        count=len(next(iter(results.values()))[NOTHING]),
        settings=settings(results),
        rows=[row(kind, by_name) for kind, by_name in results.items()],
        command=command,
        commit=commit,
    )


def settings(results: dict) -> list[str]:
    """Return the names of the settings that were applied to the mels, except the untouched case."""
    return [name for name in next(iter(results.values())) if name != NOTHING]


def row(kind: str, by_name: dict[str, list[dict]]) -> list[str]:
    """Return the cells for a kind of degradation. For each measure, the untouched case comes before the settings."""
    cells = [kind]
    for measure in MEASURES:
        nothing = [float(item[measure]) for item in by_name[NOTHING]]
        for name, items in by_name.items():
            values = [float(item[measure]) for item in items]
            mark = "**" if name != NOTHING and bootstrap_gain(values, nothing).high < 0 else ""
            cells.append(f"{mark}{bootstrap_mean(values).mean:.2f}{mark}")
    return cells


def metadata(about: MelStageAbout, results: dict, repo_id: str | None) -> ModelCardData:
    """Return the card's front matter. Its `model-index` holds the means over mels that were degraded as in training."""
    rows = results[MAIN_KIND][MAIN_SETTING]
    measured = [
        EvalResult(
            task_type="text-to-speech",
            dataset_type=about.dataset,
            dataset_name=f"{about.report} ({len(rows)} recordings, degraded {MAIN_KIND}, {MAIN_SETTING})",
            metric_type=name,
            metric_name=heading,
            metric_value=bootstrap_mean([float(item[name]) for item in rows]).mean,
        )
        for name, heading in MEASURES.items()
    ]
    return front_matter(about, "text-to-speech", list(MEASURES), measured, repo_id)
