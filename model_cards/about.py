"""Facts of a model card that no results file holds. They are in a YAML file beside each published checkpoint."""

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
    """A corpus that was trained on, with its licence and the `hours` used."""

    corpus: str
    hours: float
    licence: str


@dataclass(frozen=True)
class Evaluation:
    """A report of `training/evaluation/evaluate.py` that the card shows.

    Args:
        results: Name of the report in the folder of results, without extension.
        description: Description of the pairs, which follows "N pairs: ".
        role: Role of the report: `validation` if choices were made with it, `exam` if not.
        dataset: Identifier for the card's metadata, a Hub id if there is one.
        config: Configuration of that dataset, for the metadata.
        split: Split of that dataset, for the metadata.
        by: Field of the files by which groups are reported separately, such as `speaker_id`.
        benchmark_set: Name of the set of `training/pairs/push_benchmark.py` that holds these pairs. A card that is
            published with `--benchmark` names them as a part of that dataset.
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
    """The facts behind a card. Its figures are read from results files.

    Args:
        title: Heading of the card.
        licence: Licence of the weights, as the Hub spells it (`apache-2.0`).
        languages: ISO codes of the languages trained on.
        speech, noise: Corpora that were trained on.
        evaluations: Reports to show, in this order. Their means go into the metadata.
        datasets: Ids of the training datasets that are on the Hub.
        tags: Tags for the Hub's search.
        clean_speech, schedulers, benchmark: Names of the reports of `evaluate.py --clean`, `compare_schedulers.py` and
            `benchmark.py`. The card does not show a report that is not named.
        presets: Name of a report of `compare_schedulers.py` on more pairs, from which the presets' gains are taken if
            it is given.
        training_config: Config file of the run, published with the model; its path is relative to the repository.
        hardware: Hardware that the model was trained on, which follows "on".
        steps, minutes: Number of optimiser steps, and the minutes they took.
        windows: Number of training windows of all steps, where stages had batches of different sizes.
        training_notes: More about the recipe, Markdown.
        noise_notes: More about the noise, Markdown.
        use: More about the use, Markdown, after the examples that every card has.
        unseen: Reason why the model has not seen the evaluations' data in training.
        remarks: Comments on the results, Markdown, one paragraph each.
        limits: Points about what the model cannot do and where not to use it.
        citation: BibTeX entry.
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
    windows: int | None = None
    training_notes: str = ""
    noise_notes: str = ""
    use: str = ""
    remarks: list[str] = field(default_factory=list)
    citation: str = CITATION

    def __post_init__(self):
        for name in ("languages", "speech", "limits", "evaluations"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one entry")

    @property
    def results(self) -> list[str]:
        """Names of all reports that the card uses."""
        named = (self.clean_speech, self.schedulers, self.presets, self.benchmark)
        return [item.results for item in self.evaluations] + [name for name in named if name]


Kind = TypeVar("Kind")


def load_about(path: str | Path, kind: type[Kind]) -> Kind:
    """Read a dataclass from a YAML file. Errors name the field. See [`training.config_file.read_config`]."""
    return read_config(kind, path)
