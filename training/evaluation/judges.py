"""Judges of systems beside PESQ, ESTOI, SI-SDR and the composite ratings, each a thin layer over a package.

A judge rates the outputs of a system for pairs at 16 kHz and gives one dictionary of columns for each file:

| judge | columns | package | licence of code and weights |
|---|---|---|---|
| `dnsmos` | `dnsmos_sig`, `dnsmos_bak`, `dnsmos_ovrl` | `speechmos` | MIT |
| `wer` | `word_errors`, `words`, `wer_reference`, `text`, `reference_text` | `faster-whisper`, `jiwer`; Whisper | MIT |
| `visqol` | `visqol` | `visqol-python[lattice]` | Apache-2.0 |
| `distillmos` | `distillmos` | `distillmos` | MIT |

The word error rate of several files is the sum of `word_errors` over the sum of `words`. `wer_reference` says what the
words were compared with: "transcript", or "recogniser", its own text of the clean recording. `text` is what the
recogniser heard; `reference_text` is what `text` was compared with.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from speech_enhance.metrics.dnsmos import DNSMOS

from ..validation import Pair

Judge = Callable[[list[np.ndarray], list[Pair]], list[dict]]
TRANSCRIPT_COLUMNS = ("text", "transcript")


@dataclass(frozen=True)
class JudgeOptions:
    """Options of judges.

    Args:
        asr_model: Whisper model of `wer`, by name or folder; see [`Recogniser`].
        asr_language: Language of the recordings, for models that know several.
        dnsmos_path: Network file of `dnsmos`; by default the one in `speechmos`.
        num_threads: Threads of ONNX Runtime and CTranslate2. ViSQOL runs on one thread, DistillMOS on PyTorch's.
    """

    asr_model: str | None = None
    asr_language: str = "en"
    dnsmos_path: str | None = None
    num_threads: int = 1


class WordJudge:
    """Word errors against the transcript of a pair where it has one, else against the recogniser's text of its clean
    recording.

    That text is kept, so that several systems do not have the same recording recognised again.
    """

    def __init__(self, options: JudgeOptions):
        from speech_enhance.metrics.word_errors import Recogniser, WordErrorCounter

        self.recognise = Recogniser(options.asr_model, options.asr_language, options.num_threads)
        self._count = WordErrorCounter(self.recognise.language)
        self._clean_texts: dict[bytes, str] = {}

    def __call__(self, outputs: list[np.ndarray], pairs: list[Pair]) -> list[dict]:
        return [self._judge(output, pair) for output, pair in zip(outputs, pairs, strict=True)]

    def _judge(self, output: np.ndarray, pair: Pair) -> dict:
        transcript = next((pair.info[name] for name in TRANSCRIPT_COLUMNS if pair.info.get(name)), None)
        reference = transcript or self._clean_text(pair.clean)
        source = "transcript" if transcript else "recogniser"
        text = self.recognise(output)
        return self._count(text, reference) | {"wer_reference": source, "text": text, "reference_text": reference}

    def _clean_text(self, clean: np.ndarray) -> str:
        key = hashlib.sha256(clean.tobytes()).digest()
        if key not in self._clean_texts:
            self._clean_texts[key] = self.recognise(clean)
        return self._clean_texts[key]


def dnsmos(options: JudgeOptions) -> Judge:
    rate = DNSMOS(options.dnsmos_path, options.num_threads)
    return lambda outputs, pairs: [
        {f"dnsmos_{name}": value for name, value in rate(output).items()} for output in outputs
    ]


def visqol(options: JudgeOptions) -> Judge:
    from speech_enhance.metrics.perceptual_ratings import Visqol

    rate = Visqol()
    return lambda outputs, pairs: [
        {"visqol": rate(output, pair.clean)} for output, pair in zip(outputs, pairs, strict=True)
    ]


def distillmos(options: JudgeOptions) -> Judge:
    from speech_enhance.metrics.perceptual_ratings import DistillMos

    rate = DistillMos()
    return lambda outputs, pairs: [{"distillmos": rate(output)} for output in outputs]


JUDGES: dict[str, Callable[[JudgeOptions], Judge]] = {
    "dnsmos": dnsmos,
    "wer": WordJudge,
    "distillmos": distillmos,
    "visqol": visqol,
}
"""Makers of judges by name. Making one loads its model and raises an `ImportError` that names the `pip` command if a
package is missing."""
