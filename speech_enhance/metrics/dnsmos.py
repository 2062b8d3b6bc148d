"""DNSMOS P.835: ratings of noisy or enhanced speech that need no clean reference.

Reddy, Gopal & Cutler, "DNSMOS P.835: A Non-Intrusive Perceptual Objective Speech Quality Metric to Evaluate Noise
Suppressors", ICASSP 2022, arXiv:2110.01763. Segments, polynomials and averages are those of `dnsmos_local.py` in
https://github.com/microsoft/DNS-Challenge. The network is `DNSMOS/DNSMOS/sig_bak_ovr.onnx` from there. The package
`speechmos` of the same authors also carries it (both under the MIT licence).
"""

import os
from pathlib import Path

import numpy as np

from ..optional_packages import onnx_session, package_file

SAMPLING_RATE = 16000
SEGMENT_SECONDS = 9.01
SEGMENT_SAMPLES = 144160
INPUT_NAME = "input_1"
POLYNOMIALS = {
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}
"""Coefficients of the polynomials from the network's three outputs to mean opinion scores, highest power first."""


class DNSMOS:
    """The rater: `DNSMOS()(audio)` gives `{"sig": …, "bak": …, "ovrl": …}`, each about 1 to 5.

    Digital silence gets the network's rating, as in published figures: SIG 2.51, BAK 3.47, OVRL 1.84. Speech in loud
    noise gets less. So this rating alone does not show that speech was removed.

    Args:
        path: Path of the network `sig_bak_ovr.onnx` of the DNS challenge; by default the one in package `speechmos`.
        num_threads: Threads of ONNX Runtime.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no ONNX model of this interface: one input `input_1` `(batch, 144160)`, one output
            `(batch, 3)`.
        ImportError: if `onnxruntime` is missing, or `speechmos` where no file is given.
    """

    def __init__(self, path: str | os.PathLike | None = None, num_threads: int = 1):
        if path is None:
            path = package_file("speechmos", "speechmos/dnsmos_models/sig_bak_ovr.onnx")
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{path}: no such file; DNSMOS needs `sig_bak_ovr.onnx` (folder DNSMOS/DNSMOS of "
                "https://github.com/microsoft/DNS-Challenge); without a path, the package speechmos provides it"
            )
        try:
            self._session = onnx_session(path, num_threads)
        except ImportError:
            raise
        except Exception as error:  # its errors share no class of their own
            raise ValueError(f"{path}: cannot be read as an ONNX model ({str(error).splitlines()[0]})") from error
        _check_interface(self._session, path)

    def __call__(self, audio: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> dict[str, float]:
        """Rate a recording by the mean over its segments.

        Args:
            audio: Recording, float `(samples,)`, full scale ±1. If it is shorter than 9.01 s, it is doubled until it is
                long enough.
            sampling_rate: Samples per second; must be 16000.
        """
        audio = np.asarray(audio, np.float32)
        if audio.ndim != 1 or len(audio) == 0:
            raise ValueError(f"`audio` must be (samples,) and not empty, got {audio.shape}")
        if sampling_rate != SAMPLING_RATE:
            raise ValueError(f"DNSMOS is defined at {SAMPLING_RATE} Hz, got {sampling_rate}")
        if not np.isfinite(audio).all():
            raise ValueError("`audio` contains NaN or infinite samples")
        raw = np.array([self._session.run(None, {INPUT_NAME: part[None]})[0][0] for part in segments(audio)])
        return {name: float(np.polyval(POLYNOMIALS[name], raw[:, i]).mean()) for i, name in enumerate(POLYNOMIALS)}


def segments(audio: np.ndarray) -> list[np.ndarray]:
    """The segments of 9.01 s, one second apart, that `dnsmos_local.py` rates.

    That program computes a segment's end in floating point. For segments that start after 7 to 23 s the end is one
    sample too early, and the program leaves out segments that are too short. This function does the same; otherwise
    scores of recordings above 16 s would differ from published ones.
    """
    while len(audio) < SEGMENT_SAMPLES:
        audio = np.concatenate([audio, audio])
    count = int(len(audio) // SAMPLING_RATE - SEGMENT_SECONDS) + 1
    bounds = [(start * SAMPLING_RATE, int((start + SEGMENT_SECONDS) * SAMPLING_RATE)) for start in range(count)]
    return [audio[start:end] for start, end in bounds if end - start == SEGMENT_SAMPLES]


def _check_interface(session, path: str | os.PathLike) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = [f"{item.name} {item.shape}" for item in (*inputs, *outputs)]
    fits = (
        len(inputs) == len(outputs) == 1
        and inputs[0].name == INPUT_NAME
        and len(inputs[0].shape) == len(outputs[0].shape) == 2
        and _may_be(inputs[0].shape[1], SEGMENT_SAMPLES)
        and _may_be(outputs[0].shape[1], len(POLYNOMIALS))
    )
    if not fits:
        raise ValueError(
            f"{path}: not the DNSMOS P.835 network: expected input_1 (batch, {SEGMENT_SAMPLES}) and one output "
            f"(batch, 3), found {', '.join(found)}"
        )


def _may_be(size, expected: int) -> bool:
    """Whether an axis may have the `expected` size. Sizes that the model leaves open are names or None."""
    return size == expected if isinstance(size, int) else True
