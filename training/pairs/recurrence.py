"""Which recordings of a source occur in given tracks, by their sound: names and ids differ from set to set."""

from collections.abc import Iterable
from typing import cast

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from ..mixtures.sources import AudioSource

SHORTEST_SECONDS = 1.0
SAME = 0.5
"""Correlation from which two stretches count as one recording. The correlation of different speech stays below 0.3."""


def recurring_rows(source: AudioSource, tracks: Iterable[np.ndarray], at_least: float = SAME) -> set[int]:
    """Rows of `source` that occur in one of the tracks for a second or more, at any level.

    Args:
        source: Source of the recordings.
        tracks: Tracks, float32 `(samples,)` at the rate of `source`.
        at_least: Correlation that counts. It is below 1, since other sound may lie over the recording.
    """
    tracks, shortest = list(tracks), round(SHORTEST_SECONDS * source.sampling_rate)
    recordings = (source[row] for row in range(len(source)))
    return {
        row
        for row, recording in enumerate(recordings)
        if any(similarity(recording, track, shortest) >= at_least for track in tracks)
    }


def similarity(recording: np.ndarray, track: np.ndarray, shortest: int) -> float:
    """Largest correlation coefficient, 0 to 1, of a stretch of `recording` with a stretch of `track`, which overlap by
    `shortest` samples or by the whole of the shorter one."""
    shortest = min(shortest, len(recording), len(track))
    lags = np.arange(shortest - len(track), len(recording) - shortest + 1)
    size = next_fast_len(len(recording) + len(track), real=True)
    # SciPy's annotations are those of its dispatcher, so the types are given here.
    spectra = cast(np.ndarray, rfft(recording, size)), cast(np.ndarray, rfft(track, size))
    products = cast(np.ndarray, irfft(spectra[0] * spectra[1].conj(), size))[lags]
    recorded = _energy(recording, lags.clip(0), (lags + len(track)).clip(max=len(recording)))
    tracked = _energy(track, (-lags).clip(0), (len(recording) - lags).clip(max=len(track)))
    return float((np.abs(products) / np.sqrt(recorded * tracked)).max())


def _energy(audio: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Energy of the stretches from `first` to `last`. Near silence counts as more, since its correlation is chance."""
    total = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    return np.maximum(total[last] - total[first], 1e-3 * total[-1] + 1e-9)
