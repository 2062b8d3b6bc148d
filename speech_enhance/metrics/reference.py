"""Objective measures of enhanced speech on numpy arrays; most are computed by the packages that define them.

Each measure takes `estimate` and `reference` `(samples,)` of equal length. It is `nan` if the *reference* leaves it
undefined (silent, too short), so that a mean over files can say how many counted. A silent estimate of a proper
reference gets the measure's lowest value, since silence must not raise a mean by being left out of it. PESQ, ESTOI and
SI-SDR do not depend on the level, however low or high it is.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .composite import composite

LOWEST_PESQ = 1.0427
"""Wide-band PESQ for the lowest raw score, -0.5, by the mapping of ITU-T P.862.2."""
LONGEST_PESQ_SECONDS = 19
"""Longest part that is given to the package `pesq`, which has room for 50 utterances. With more, it writes over its own
memory: the process ends without an error, or the score is wrong. An utterance and the pause after it take at least
.388 s, so 19 s cannot hold more than 50."""
PESQ_RANGE_DB = 40
"""A part of a long recording that is quieter than the loudest part by this much holds no speech. It is P.862's own
bound for a pause."""


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., arXiv:1811.02508). Both signals are first made
    zero-mean.

    It is `nan` if the reference is constant, `-inf` if the estimate is constant, and `inf` if they agree up to scale.
    """
    estimate, reference = _levelled_pair(estimate, reference)
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

    The value of a recording of more than 19 s is the mean over equal parts of at most 19 s, since the package fails
    with long ones (see [`LONGEST_PESQ_SECONDS`]). Parts whose reference holds no speech do not count.

    It is `nan` if the package finds no speech in the reference or the clip is shorter than a quarter of a second. The
    package has no value for a silent estimate; here it gets the lowest one.
    """
    estimate, reference = _levelled_pair(estimate, reference)
    if sampling_rate != 16000:
        raise ValueError(f"wide-band PESQ is defined at 16000 Hz, got {sampling_rate}")
    if len(reference) < sampling_rate // 4 or not reference.any():
        return float("nan")
    num_parts = -(-len(reference) // (LONGEST_PESQ_SECONDS * sampling_rate))
    parts = list(zip(np.array_split(estimate, num_parts), np.array_split(reference, num_parts), strict=True))
    powers = [np.square(part).mean() for _, part in parts]
    audible = max(powers) * 10 ** (-PESQ_RANGE_DB / 10)
    return mean_score([_pesq_of_part(*part) for part, power in zip(parts, powers, strict=True) if power >= audible])


def _pesq_of_part(estimate: np.ndarray, reference: np.ndarray) -> float:
    import pesq as package

    silent = not estimate.any()
    clean, tested = (
        _near_full_scale(part).astype(np.float32) for part in (reference, reference if silent else estimate)
    )
    try:
        value = float(package.pesq(16000, clean, tested, "wb"))
    except package.NoUtterancesError:
        return float("nan")
    return LOWEST_PESQ if silent else value


def estoi(estimate: np.ndarray, reference: np.ndarray, sampling_rate: int = 16000) -> float:
    """Extended short-time objective intelligibility of the package `pystoi`, about 0 to 1.

    It is `nan` if the reference is silent or fewer than 30 of its frames (0.4 s) are active.
    """
    import warnings

    from pystoi import stoi

    estimate, reference = _levelled_pair(estimate, reference)
    if not reference.any():
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(reference, estimate, sampling_rate, extended=True))
        except (RuntimeWarning, ValueError):
            return float("nan")


BASIC_METRICS = {"pesq": pesq, "estoi": estoi, "si_sdr": si_sdr}
"""The measures that need no other one."""
COMPOSITE_METRICS = ("csig", "cbak", "covl")
"""The ratings of [`composite`]. Each needs a PESQ; [`score`] computes it once for all of them."""


def score(
    estimate: np.ndarray, reference: np.ndarray, metrics: tuple[str, ...] = (*BASIC_METRICS, *COMPOSITE_METRICS)
) -> dict[str, float]:
    """Several measures of 16 kHz audio at once, each computed once.

    Args:
        estimate: Enhanced audio, float `(samples,)`.
        reference: Clean reference, float `(samples,)`.
        metrics: Names of measures in [`METRICS`]; all by default.

    Raises:
        ImportError: if the package of a wanted measure is missing: `pystoi`, or `pesq`, which the composite measures
            need too.
    """
    unknown = sorted(set(metrics) - set(METRICS))
    if unknown:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {', '.join(METRICS)}")
    wants_composite = any(name in COMPOSITE_METRICS for name in metrics)
    wanted = [name for name in BASIC_METRICS if name in metrics or (name == "pesq" and wants_composite)]
    values = {name: BASIC_METRICS[name](estimate, reference) for name in wanted}
    if wants_composite:
        values |= composite(*checked_pair(estimate, reference), values["pesq"])
    return {name: values[name] for name in metrics}


def mean_score(values: list[float]) -> float:
    """Mean over the files where the measure is defined; `nan` if there is none."""
    values = [value for value in values if not np.isnan(value)]
    return float(np.mean(values)) if values else float("nan")


def score_files(predictions: list[str], references: list[str], metrics: tuple[str, ...]) -> dict:
    """Measure audio files, for the modules for Hugging Face Evaluate.

    Args:
        predictions: Paths of enhanced recordings, in any format, sampling rate and number of channels. They are mixed
            down and resampled to 16 kHz.
        references: Paths of their clean references.
        metrics: Names of measures in [`METRICS`].

    Returns:
        The [`mean_score`] of every measure under its name, and under `NAME_values` the list of all files' values.
    """
    return rate_files(lambda estimate, reference: score(estimate, reference, metrics), metrics, predictions, references)


def rate_files(rate: Callable[..., dict], names: tuple[str, ...], *paths: list[str]) -> dict:
    """Rate audio files, and return the ratings in the form of [`score_files`].

    Args:
        rate: Function from 16 kHz audio, one `(samples,)` for each list of `paths`, to a dictionary that has `names`.
        names: Names of the values that are wanted.
        paths: Lists of paths, of equal length: one of recordings, and perhaps one of their references.
    """
    rows = []
    for files in zip(*paths, strict=True):
        try:
            rows.append(rate(*map(read_mono, files)))
        except ValueError as error:
            raise ValueError(f"{' against '.join(files)}: {error}") from error
    lists = {name: [row[name] for row in rows] for name in names}
    return {name: mean_score(lists[name]) for name in names} | {f"{n}_values": lists[n] for n in names}


def module_path(name: str) -> str:
    """Folder of one of our modules for Hugging Face Evaluate: `pesq`, `estoi`, `si_sdr`, `composite`, `dnsmos`,
    `visqol`, `distillmos` or `wer`. `evaluate.load(module_path("si_sdr"))` needs no network."""
    folder = Path(__file__).parent / "evaluate_modules"
    names = sorted(path.name for path in folder.iterdir() if (path / f"{path.name}.py").is_file())
    if name not in names:
        raise ValueError(f"no module {name!r}; there are {', '.join(names)}")
    return str(folder / name)


def read_mono(path: str) -> np.ndarray:
    """Read an audio file, mixed down to float `(samples,)` at 16 kHz."""
    import soxr

    from ..audio.files import read_audio

    file = read_audio(path)
    return soxr.resample(file.audio.mean(axis=0), file.sampling_rate, 16000)


def _composite_metric(name: str, estimate: np.ndarray, reference: np.ndarray) -> float:
    return score(estimate, reference, (name,))[name]


def checked_pair(estimate: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    if estimate.ndim != 1 or estimate.shape != reference.shape or len(reference) == 0:
        raise ValueError(
            f"`estimate` and `reference` must be (samples,) of equal length, got {estimate.shape} and {reference.shape}"
        )
    if not (np.isfinite(estimate).all() and np.isfinite(reference).all()):
        raise ValueError("`estimate` or `reference` contains NaN or infinite samples")
    return estimate, reference


def _levelled_pair(estimate: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A pair for a measure that does not depend on the level. A signal more than 120 dB from full scale is multiplied
    by a power of two, which rounds nothing. So neither squares nor float32 values vanish or overflow."""
    estimate, reference = checked_pair(estimate, reference)
    return _near_full_scale(estimate), _near_full_scale(reference)


def _near_full_scale(audio: np.ndarray) -> np.ndarray:
    peak = np.abs(audio).max()
    return audio if peak == 0 or 2**-20 <= peak <= 2**20 else np.ldexp(audio, -np.frexp(peak)[1])


METRICS = BASIC_METRICS | {name: partial(_composite_metric, name) for name in COMPOSITE_METRICS}
"""The measures by name, each a function `(estimate, reference) -> float`. Larger is better."""
