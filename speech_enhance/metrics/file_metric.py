"""The base class of our modules for Hugging Face Evaluate, which measure audio files."""

import datasets
import evaluate

from .reference import score_files

REFERENCES = "paths of the clean recordings, each as long as its prediction."
INPUTS = """
Args:
    predictions: paths of enhanced recordings.{references}
Any format libsndfile reads, any sampling rate and number of channels: measured mixed down, at 16 kHz.
Returns:
    for each of {names}, `NAME`: mean over the files where it is defined.
    for each of {names}, `NAME_values`: the value of every file, nan where undefined.
Example:
    >>> module = evaluate.load(speech_enhance.metrics.module_path("{module}"))
    >>> module.compute(predictions=["enhanced.wav"]{example})
"""


class FileMetric(evaluate.Metric):
    """Base class of a module. A subclass says what it measures. If its `names` are not in [`METRICS`], it also computes
    the measure.

    A module must not import this class by its name, since Evaluate takes the first metric class that it finds in a
    module. The inputs are paths and not waveforms, since Evaluate keeps inputs as Python lists, some thirty bytes a
    sample.
    """

    module: str
    title_text: str
    short_text: str
    names: tuple[str, ...]
    description_text: str
    values_text: str
    citation_text: str
    references_text: str | None = REFERENCES
    """Description of `references`; `None` for a measure that needs none."""
    example_reference: str = "clean.wav"

    def _info(self):
        inputs = ("predictions", "references") if self.references_text else ("predictions",)
        described = INPUTS.format(
            names=", ".join(self.names),
            module=self.module,
            references=f"\n    references: {self.references_text}" if self.references_text else "",
            example=f', references=["{self.example_reference}"]' if self.references_text else "",
        )
        return evaluate.MetricInfo(
            description=self.description_text,
            citation=self.citation_text,
            inputs_description=described,
            features=datasets.Features({name: datasets.Value("string") for name in inputs}),
        )

    def _compute(self, predictions, references):
        return score_files(predictions, references, self.names)
