"""Wide-band PESQ of enhanced speech, for Hugging Face Evaluate."""

import datasets
import evaluate

from speech_enhance.metrics import score_files

DESCRIPTION = """
Wide-band PESQ (ITU-T P.862.2) of the package `pesq`, about 1 (bad) to 4.64.
"""
INPUTS = """
Args:
    predictions: paths of enhanced recordings.
    references: paths of the clean recordings, each as long as its prediction.
Any format libsndfile reads, any sampling rate and number of channels: measured mixed down, at 16 kHz.
Returns:
    pesq: mean over the files where it is defined.
    pesq_values: the value of every file, nan where undefined.
Example:
    >>> module = evaluate.load(speech_enhance.metrics.module_path("pesq"))
    >>> module.compute(predictions=["enhanced.wav"], references=["clean.wav"])
"""
CITATION = """
ITU-T Recommendation P.862.2: Wideband extension to Recommendation P.862 for the assessment of wideband telephone
networks and speech codecs, 2007.
"""


class Pesq(evaluate.Metric):
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
        return score_files(predictions, references, ("pesq",))
