"""Objective measures of enhanced speech, on numpy arrays, thin over the packages that define them.

Each takes `estimate` and `reference` `(samples,)` of equal length and is `nan` where the measure is undefined, so that
a mean over files can say how many counted.
"""

import numpy as np


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., arXiv:1811.02508), both made zero-mean.

    `nan` if the reference is constant, `-inf` if the estimate is, `inf` if they agree up to scale.
    """
    estimate, reference = _pair(estimate, reference)
    estimate, reference = estimate - estimate.mean(), reference - reference.mean()
    energy = reference @ reference
    if energy == 0:
        return float("nan")
    target = (estimate @ reference) / energy * reference
    signal, distortion = target @ target, (estimate - target) @ (estimate - target)
    if signal == 0:
        return float("-inf")
    return float("inf") if distortion == 0 else float(10 * np.log10(signal / distortion))


def pesq(estimate: np.ndarray, reference: np.ndarray, sampling_rate: int = 16000) -> float:
    """Wide-band PESQ (ITU-T P.862.2) of the package `pesq`, about 1 (bad) to 4.64.

    `nan` where the package finds no speech in the reference or the clip is shorter than a quarter of a second.
    """
    import pesq as package

    estimate, reference = _pair(estimate, reference)
    if sampling_rate != 16000:
        raise ValueError(f"wide-band PESQ is defined at 16000 Hz, got {sampling_rate}")
    if len(reference) < sampling_rate // 4 or not reference.any():
        return float("nan")
    try:
        return float(package.pesq(sampling_rate, reference.astype(np.float32), estimate.astype(np.float32), "wb"))
    except package.NoUtterancesError:
        return float("nan")


def estoi(estimate: np.ndarray, reference: np.ndarray, sampling_rate: int = 16000) -> float:
    """Extended short-time objective intelligibility of the package `pystoi`, about 0 to 1.

    `nan` if the reference is silent or less than 30 of its frames (0.4 s) are active.
    """
    import warnings

    from pystoi import stoi

    estimate, reference = _pair(estimate, reference)
    if not reference.any():
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(reference, estimate, sampling_rate, extended=True))
        except (RuntimeWarning, ValueError):
            return float("nan")


def _pair(estimate: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    if estimate.ndim != 1 or estimate.shape != reference.shape or len(reference) == 0:
        raise ValueError(
            f"`estimate` and `reference` must be (samples,) of equal length, got {estimate.shape} and {reference.shape}"
        )
    return estimate, reference


METRICS = {"pesq": pesq, "estoi": estoi, "si_sdr": si_sdr}
"""The measures by name, each `(estimate, reference) -> float`, larger is better."""
