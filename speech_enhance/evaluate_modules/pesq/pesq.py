"""Wide-band PESQ of enhanced speech, for Hugging Face Evaluate."""

from speech_enhance import file_metric


class Pesq(file_metric.FileMetric):
    module = "pesq"
    names = ("pesq",)
    description_text = """
Wide-band PESQ (ITU-T P.862.2) of the package `pesq`, about 1 (bad) to 4.64.
"""
    citation_text = """
ITU-T Recommendation P.862.2: Wideband extension to Recommendation P.862 for the assessment of wideband telephone
networks and speech codecs, 2007.
"""
