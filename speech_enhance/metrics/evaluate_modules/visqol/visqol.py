"""ViSQOL of enhanced speech, for Hugging Face Evaluate."""

from speech_enhance.metrics import file_metric, perceptual_ratings
from speech_enhance.metrics import reference as metrics


class Visqol(file_metric.FileMetric):
    module = "visqol"
    title_text = "ViSQOL, speech mode"
    short_text = "ViSQOL of enhanced speech"
    names = ("visqol",)
    description_text = """
Predicted rating, 1 to 5, from how alike the spectrograms of both recordings are.
"""
    values_text = """
Undefined (nan) where the reference is silent or has less than about 0.7 s of speech; a silent prediction of a proper
reference gets the lowest value, 1. By the port `visqol-python`, with the lattice model that the C++ program uses.
"""
    citation_text = """
M. Chinen et al.: ViSQOL v3: An Open Source Production Ready Objective Speech and Audio Metric, QoMEX 2020,
arXiv:2004.09584.
"""

    def _download_and_prepare(self, dl_manager):
        self._rater = perceptual_ratings.Visqol()

    def _compute(self, predictions, references):
        return metrics.rate_files(self._rate, self.names, predictions, references)

    def _rate(self, estimate, reference):
        return {"visqol": self._rater(estimate, reference)}
