"""DNSMOS P.835 of enhanced speech, for Hugging Face Evaluate."""

from speech_enhance.metrics import dnsmos, file_metric
from speech_enhance.metrics import reference as metrics


class Dnsmos(file_metric.FileMetric):
    module = "dnsmos"
    title_text = "DNSMOS P.835"
    short_text = "DNSMOS of enhanced speech, no reference"
    names = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl")
    references_text = None
    description_text = """
Predicted ratings, 1 to 5, of speech (SIG), background (BAK) and overall quality (OVRL), without a clean reference.
"""
    values_text = """
Always defined. Digital silence gets SIG 2.51, BAK 3.47 and OVRL 1.84, more than speech in loud noise does. Recordings
shorter than 9.01 s are repeated.
"""
    citation_text = """
C. K. A. Reddy, V. Gopal and R. Cutler: DNSMOS P.835: A Non-Intrusive Perceptual Objective Speech Quality Metric to
Evaluate Noise Suppressors, ICASSP 2022, arXiv:2110.01763.
"""

    def _download_and_prepare(self, dl_manager):
        self._rater = dnsmos.DNSMOS()

    def _compute(self, predictions):
        return metrics.rate_files(self._rate, self.names, predictions)

    def _rate(self, audio):
        return {f"dnsmos_{name}": value for name, value in self._rater(audio).items()}
