"""Ratings of speech by other people's models, besides DNSMOS: ViSQOL with a clean reference, DistillMOS without one.

Both rate audio `(samples,)` at 16 kHz from about 1 (bad) to 5.
"""

import contextlib
import io

import numpy as np

from ..optional_packages import import_package
from .reference import checked_pair

SAMPLING_RATE = 16000
LOWEST_RATING = 1.0


class Visqol:
    """ViSQOL in speech mode (Chinen et al., arXiv:2004.09584) by the port `visqol-python`, with the lattice model that
    the C++ program uses: `Visqol()(estimate, reference)`.

    The rating is `nan` if the reference is silent or holds no patch of speech, which is about 0.7 s long. A silent
    estimate of a proper reference gets the lowest rating, 1.

    Raises:
        ImportError: if `visqol-python` or its extra `lattice` is missing.
    """

    def __init__(self):
        command = "visqol-python[lattice]"
        import_package("ai_edge_litert.interpreter", command)
        self._rater = import_package("visqol", command).VisqolApi()
        self._rater.create(mode="speech", use_lattice_model=True)

    def __call__(self, estimate: np.ndarray, reference: np.ndarray) -> float:
        estimate, reference = checked_pair(estimate, reference)
        if not reference.any():
            return float("nan")
        silent = not estimate.any()
        try:
            result = self._rater.measure_from_arrays(reference, reference if silent else estimate, SAMPLING_RATE)
        except (ValueError, IndexError):  # too few samples, or no patch
            return float("nan")
        return LOWEST_RATING if silent else float(result.moslqo)


class DistillMos:
    """DistillMOS (Stahl & Gamper, ICASSP 2025): `DistillMos()(audio)`.

    A recording may have any length; silence is added to short ones. Digital silence gets the lowest rating, 1.

    Raises:
        ImportError: if `distillmos` is missing, or the `torchaudio` it imports does not load beside the installed
        torch.
    """

    def __init__(self):
        package = import_package("distillmos", "distillmos")
        with contextlib.redirect_stdout(io.StringIO()):  # the package prints the place of its weights
            self._model = package.ConvTransformerSQAModel().eval()

    def __call__(self, audio: np.ndarray) -> float:
        import torch

        audio = np.asarray(audio, np.float32)
        if audio.ndim != 1 or len(audio) == 0 or not np.isfinite(audio).all():
            raise ValueError(f"`audio` must be (samples,), not empty and finite, got {audio.shape}")
        if not audio.any():
            return LOWEST_RATING
        with torch.inference_mode():
            return float(self._model(torch.from_numpy(audio)[None]))
