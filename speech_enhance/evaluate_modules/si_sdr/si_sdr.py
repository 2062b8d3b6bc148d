"""Scale-invariant signal-to-distortion ratio, for Hugging Face Evaluate."""

import datasets
import evaluate

from speech_enhance.metrics import score_files

DESCRIPTION = """
Scale-invariant signal-to-distortion ratio in dB, estimate and reference made zero-mean.
"""
INPUTS = """
Args:
    predictions: paths of enhanced recordings.
    references: paths of the clean recordings, each as long as its prediction.
Any format libsndfile reads, any sampling rate and number of channels: measured mixed down, at 16 kHz.
Returns:
    si_sdr: mean over the files where it is defined.
    si_sdr_values: the value of every file, nan where undefined.
Example:
    >>> module = evaluate.load(speech_enhance.metrics.module_path("si_sdr"))
    >>> module.compute(predictions=["enhanced.wav"], references=["clean.wav"])
"""
CITATION = """
J. Le Roux, S. Wisdom, H. Erdogan and J. R. Hershey: SDR - half-baked or well done?, ICASSP 2019, arXiv:1811.02508.
"""


class SiSdr(evaluate.Metric):
    """Paths and not waveforms: Evaluate keeps what it is given as Python lists, some thirty bytes a sample."""

    def _info(self):
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        return score_files(predictions, references, ("si_sdr",))
