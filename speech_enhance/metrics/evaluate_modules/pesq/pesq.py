"""Wide-band PESQ of enhanced speech, for Hugging Face Evaluate."""

from speech_enhance.metrics import file_metric


class Pesq(file_metric.FileMetric):
    module = "pesq"
    title_text = "Wide-band PESQ"
    short_text = "PESQ of enhanced speech, wide-band"
    names = ("pesq",)
    description_text = """
Wide-band PESQ (ITU-T P.862.2) of the package `pesq`, about 1 (bad) to 4.64.
"""
    values_text = """
Undefined (nan) where the reference holds no speech or is shorter than a quarter of a second; a silent prediction of a
proper reference gets the lowest value, 1.04. The value of a recording of more than 19 s is the mean over equal parts of
at most 19 s, since the package `pesq` fails with long ones. It was made for telephone networks and codecs and is used
beyond that for enhancers.
"""
    citation_text = """
ITU-T Recommendation P.862.2: Wideband extension to Recommendation P.862 for the assessment of wideband telephone
networks and speech codecs, 2007.
"""
