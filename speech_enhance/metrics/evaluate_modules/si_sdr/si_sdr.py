"""Scale-invariant signal-to-distortion ratio, for Hugging Face Evaluate."""

from speech_enhance.metrics import file_metric


class SiSdr(file_metric.FileMetric):
    module = "si_sdr"
    title_text = "SI-SDR"
    short_text = "Scale-invariant SDR of enhanced speech"
    names = ("si_sdr",)
    description_text = """
Scale-invariant signal-to-distortion ratio in dB, estimate and reference made zero-mean.
"""
    values_text = """
Undefined (nan) where the reference is constant, −inf where the prediction is, inf where both agree up to scale. A delay
of one sample or another phase counts as distortion, whether it is heard or not.
"""
    citation_text = """
J. Le Roux, S. Wisdom, H. Erdogan and J. R. Hershey: SDR - half-baked or well done?, ICASSP 2019, arXiv:1811.02508.
"""
