"""What a model card says that no results file knows: one YAML file beside each checkpoint that is published."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from training.config import read_config

ROLES = ("validation", "exam")
CITATION = """@software{speech_enhance,
  title = {speech_enhance: speech enhancement by conditional diffusion on mel spectrograms},
  year = {2026},
  license = {Apache-2.0}
}"""


@dataclass(frozen=True)
class Corpus:
    """Recordings that were trained on: `hours` of a corpus, and under which licence."""

    corpus: str
    hours: float
    licence: str


@dataclass(frozen=True)
class Evaluation:
    """A report of `training/evaluation/evaluate.py` that the card shows.

    Args:
        results: Its name in the folder of results, without extension.
        description: What the pairs are; after "N pairs: ".
        role: `validation` if choices were made by it, `exam` if not.
        dataset: Identifier for the card's metadata, a Hub id where there is one.
        config: Configuration of that dataset, for the metadata.
        split: Split of that dataset, for the metadata.
        by: Field of the files to report apart, such as `speaker_id`.
        benchmark_set: The set of `training/pairs/push_benchmark.py` that holds these pairs: what is published with
            `--benchmark` names them as a part of that dataset.
    """

    results: str
    description: str
    role: str
    dataset: str
    config: str | None = None
    split: str | None = None
    by: str | None = None
    benchmark_set: str | None = None

    def __post_init__(self):
        if self.role not in ROLES:
            raise ValueError(f"role: expected one of {', '.join(ROLES)}, got {self.role!r}")


@dataclass(frozen=True)
class About:
    """The facts behind a card; figures are read from results files.

    Args:
        title: Heading of the card.
        licence: Of the weights, as the Hub spells it (`apache-2.0`).
        languages: ISO codes of the languages trained on.
        speech, noise: What was trained on.
        evaluations: Reports shown, the first one first; their means go into the metadata.
        datasets: Ids of those training datasets that are on the Hub.
        tags: For the Hub's search.
        clean_speech, schedulers, benchmark: Names of the reports of `evaluate.py --clean`, `compare_schedulers.py` and
            `benchmark.py`; what is not given, the card does not show.
        presets: Name of the report of `compare_schedulers.py` on more pairs, if the presets' gains are to come from
            one.
        training_config: The run's config file, published with the model; relative to the repository.
        hardware: What it was trained on, after "on".
        steps, minutes: Optimiser steps, and time they took.
        training_notes: More about the recipe, Markdown.
        noise_notes: More about the noise, Markdown.
        unseen: What keeps the evaluations apart from the training data.
        remarks: Comments on the results, Markdown, one paragraph each.
        limits: What it cannot do and where not to use it, one point each.
        citation: BibTeX.
    """

    title: str
    licence: str
    languages: list[str]
    speech: list[Corpus]
    noise: list[Corpus]
    evaluations: list[Evaluation]
    limits: list[str]
    unseen: str
    datasets: list[str] = field(default_factory=list)
    tags: list[str] = field(
        default_factory=lambda: ["speech-enhancement", "denoising", "diffusion", "mel-spectrogram", "audio"]
    )
    clean_speech: str | None = None
    schedulers: str | None = None
    presets: str | None = None
    benchmark: str | None = None
    training_config: str | None = None
    hardware: str | None = None
    steps: int | None = None
    minutes: float | None = None
    training_notes: str = ""
    noise_notes: str = ""
    remarks: list[str] = field(default_factory=list)
    citation: str = CITATION

    def __post_init__(self):
        for name in ("languages", "speech", "limits", "evaluations"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one entry")

    @property
    def results(self) -> list[str]:
        """Names of all reports that the card is made of."""
        named = (self.clean_speech, self.schedulers, self.presets, self.benchmark)
        return [item.results for item in self.evaluations] + [name for name in named if name]


Kind = TypeVar("Kind")


def load_about(path: str | Path, kind: type[Kind]) -> Kind:
    """Read the YAML file of a dataclass; errors name the field. See [`training.config_file.read_config`]."""
    return read_config(kind, path)
