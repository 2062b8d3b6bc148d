"""Word error rate of enhanced speech, for Hugging Face Evaluate."""

from speech_enhance.metrics import file_metric, word_errors


class Wer(file_metric.FileMetric):
    module = "wer"
    title_text = "Word error rate"
    short_text = "Words that a recogniser gets wrong"
    names = ("wer",)
    references_text = (
        'what is said in each recording; with `references_are="recordings"`, paths of the clean recordings.'
    )
    example_reference = "what is said in it"
    description_text = """
Share of words that a Whisper model gets wrong of a recording, after Whisper's text normaliser: smaller is better.
Further arguments: `asr_model`, the name or folder of the model, and `language`.
"""
    values_text = """
`wer` is the sum of all errors over the sum of all words; `word_errors_values` and `words_values` are the counts of
every file. A recording in which nothing is recognised has as many errors as words. A reference without words has 0
words, and every word that is recognised is an error. Undefined (nan) if no reference has a word.
"""
    citation_text = """
A. Radford et al.: Robust Speech Recognition via Large-Scale Weak Supervision, arXiv:2212.04356.
"""

    def _compute(self, predictions, references, references_are="texts", asr_model=None, language="en"):
        recogniser = word_errors.Recogniser(asr_model, language)
        return word_errors.score_files(recogniser, predictions, references, references_are)
