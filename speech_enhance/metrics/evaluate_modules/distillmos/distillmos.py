"""DistillMOS of enhanced speech, for Hugging Face Evaluate."""

from speech_enhance.metrics import file_metric, perceptual_ratings
from speech_enhance.metrics import reference as metrics


class Distillmos(file_metric.FileMetric):
    module = "distillmos"
    title_text = "DistillMOS"
    short_text = "DistillMOS of enhanced speech, no reference"
    names = ("distillmos",)
    references_text = None
    description_text = """
Predicted rating, 1 to 5, without a clean reference, by a small network that learnt from a large one.
"""
    values_text = """
Always defined. Digital silence gets the lowest value, 1. Recordings shorter than 7.68 s are rated with silence after
them.
"""
    citation_text = """
B. Stahl and H. Gamper: Distillation and Pruning for Scalable Self-Supervised Representation-Based Speech Quality
Assessment, ICASSP 2025, arXiv:2502.05356.
"""

    def _download_and_prepare(self, dl_manager):
        self._rater = perceptual_ratings.DistillMos()

    def _compute(self, predictions):
        return metrics.rate_files(self._rate, self.names, predictions)

    def _rate(self, audio):
        return {"distillmos": self._rater(audio)}
