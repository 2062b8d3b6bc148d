"""CSIG, CBAK and COVL of enhanced speech, for Hugging Face Evaluate."""

from speech_enhance import file_metric


class Composite(file_metric.FileMetric):
    module = "composite"
    names = ("csig", "cbak", "covl")
    description_text = """
Predicted ratings, 1 to 5, of speech distortion (CSIG), background intrusiveness (CBAK) and overall quality (COVL).
"""
    citation_text = """
Y. Hu and P. C. Loizou: Evaluation of Objective Quality Measures for Speech Enhancement, IEEE Transactions on Audio,
Speech, and Language Processing 16(1), 2008.
"""
