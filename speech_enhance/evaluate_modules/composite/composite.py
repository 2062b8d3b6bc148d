"""CSIG, CBAK and COVL of enhanced speech, for Hugging Face Evaluate."""

import datasets
import evaluate

from speech_enhance.metrics import score_files

DESCRIPTION = """
Predicted ratings, 1 to 5, of speech distortion (CSIG), background intrusiveness (CBAK) and overall quality (COVL).
"""
INPUTS = """
Args:
    predictions: paths of enhanced recordings.
    references: paths of the clean recordings, each as long as its prediction.
Any format libsndfile reads, any sampling rate and number of channels: measured mixed down, at 16 kHz.
Returns:
    csig: mean over the files where it is defined.
    csig_values: the value of every file, nan where undefined.
    cbak: mean over the files where it is defined.
    cbak_values: the value of every file, nan where undefined.
    covl: mean over the files where it is defined.
    covl_values: the value of every file, nan where undefined.
Example:
    >>> module = evaluate.load(speech_enhance.metrics.module_path("composite"))
    >>> module.compute(predictions=["enhanced.wav"], references=["clean.wav"])
"""
CITATION = """
Y. Hu and P. C. Loizou: Evaluation of Objective Quality Measures for Speech Enhancement, IEEE Transactions on Audio,
Speech, and Language Processing 16(1), 2008.
"""


class Composite(evaluate.Metric):
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
        return score_files(predictions, references, ("csig", "cbak", "covl"))
