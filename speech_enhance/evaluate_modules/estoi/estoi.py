"""Extended short-time objective intelligibility, for Hugging Face Evaluate."""

import datasets
import evaluate

from speech_enhance.metrics import score_files

DESCRIPTION = """
Extended short-time objective intelligibility of the package `pystoi`, about 0 to 1.
"""
INPUTS = """
Args:
    predictions: paths of enhanced recordings.
    references: paths of the clean recordings, each as long as its prediction.
Any format libsndfile reads, any sampling rate and number of channels: measured mixed down, at 16 kHz.
Returns:
    estoi: mean over the files where it is defined.
    estoi_values: the value of every file, nan where undefined.
Example:
    >>> module = evaluate.load(speech_enhance.metrics.module_path("estoi"))
    >>> module.compute(predictions=["enhanced.wav"], references=["clean.wav"])
"""
CITATION = """
J. Jensen and C. H. Taal: An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise Maskers,
IEEE/ACM Transactions on Audio, Speech, and Language Processing 24(11), 2016.
"""


class Estoi(evaluate.Metric):
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
        return score_files(predictions, references, ("estoi",))
