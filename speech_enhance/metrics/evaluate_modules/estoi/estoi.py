"""Extended short-time objective intelligibility, for Hugging Face Evaluate."""

from speech_enhance.metrics import file_metric


class Estoi(file_metric.FileMetric):
    module = "estoi"
    title_text = "ESTOI"
    short_text = "Extended STOI of enhanced speech"
    names = ("estoi",)
    description_text = """
Extended short-time objective intelligibility of the package `pystoi`, about 0 to 1.
"""
    values_text = """
Undefined (nan) where the reference is silent or has less than 0.4 s of active speech. It predicts how much is
understood, not how pleasant it sounds.
"""
    citation_text = """
J. Jensen and C. H. Taal: An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise Maskers,
IEEE/ACM Transactions on Audio, Speech, and Language Processing 24(11), 2016.
"""
