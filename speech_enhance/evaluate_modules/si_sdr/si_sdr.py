"""Scale-invariant signal-to-distortion ratio, for Hugging Face Evaluate."""

from speech_enhance import file_metric


class SiSdr(file_metric.FileMetric):
    module = "si_sdr"
    names = ("si_sdr",)
    description_text = """
Scale-invariant signal-to-distortion ratio in dB, estimate and reference made zero-mean.
"""
    citation_text = """
J. Le Roux, S. Wisdom, H. Erdogan and J. R. Hershey: SDR - half-baked or well done?, ICASSP 2019, arXiv:1811.02508.
"""
