"""Extended short-time objective intelligibility, for Hugging Face Evaluate."""

from speech_enhance import file_metric


class Estoi(file_metric.FileMetric):
    module = "estoi"
    names = ("estoi",)
    description_text = """
Extended short-time objective intelligibility of the package `pystoi`, about 0 to 1.
"""
    citation_text = """
J. Jensen and C. H. Taal: An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise Maskers,
IEEE/ACM Transactions on Audio, Speech, and Language Processing 24(11), 2016.
"""
