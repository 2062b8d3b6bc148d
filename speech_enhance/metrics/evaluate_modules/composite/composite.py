"""CSIG, CBAK and COVL of enhanced speech, for Hugging Face Evaluate."""

from speech_enhance.metrics import file_metric


class Composite(file_metric.FileMetric):
    module = "composite"
    title_text = "CSIG, CBAK, COVL"
    short_text = "Composite ratings of enhanced speech"
    names = ("csig", "cbak", "covl")
    description_text = """
Predicted ratings, 1 to 5, of speech distortion (CSIG), background intrusiveness (CBAK) and overall quality (COVL).
"""
    values_text = """
Undefined (nan) where PESQ is. The formulas of Hu & Loizou's `composite.m` with wide-band PESQ; ports that rescale the
signals give other figures.
"""
    citation_text = """
Y. Hu and P. C. Loizou: Evaluation of Objective Quality Measures for Speech Enhancement, IEEE Transactions on Audio,
Speech, and Language Processing 16(1), 2008.
"""
