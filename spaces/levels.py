"""Measures how loud a recording is, and how enhancing changed its loudness."""

from collections.abc import Callable

import numpy as np
import torch
from serving import go_on

from speech_enhance.audio.excerpts import busiest
from speech_enhance.mel.spectrogram import frame_power, level_frame, level_of_power

_FRAMES_AT_ONCE = 256


def frame_powers(audio: np.ndarray, sampling_rate: int, check: Callable[[], None] = go_on) -> torch.Tensor:
    """Return the mean power over all channels of every 32 ms frame of `audio` `(channels, samples)`. The last frame may
    be shorter.

    `check` is called before every few frames, see [`go_on`].
    """
    frame = level_frame(sampling_rate)
    powers = []
    for start in range(0, audio.shape[1], _FRAMES_AT_ONCE * frame):
        check()
        block = torch.from_numpy(np.ascontiguousarray(audio[:, start : start + _FRAMES_AT_ONCE * frame]))
        powers.append(frame_power(block.double().square().mean(dim=0), frame))
    return torch.cat(powers)


def active_levels(recordings: list[np.ndarray], sampling_rate: int, check: Callable[[], None] = go_on) -> list[float]:
    """Return the [`active_level`] of each of `recordings` `(channels, samples)`."""
    return [float(level_of_power(frame_powers(item, sampling_rate, check))) for item in recordings]


def level_change_db(
    noisy: np.ndarray, enhanced: np.ndarray, sampling_rate: int, check: Callable[[], None] = go_on
) -> tuple[float, float]:
    """Return how much quieter pauses and speech became: the change in dB of the mean power of the recording's quietest
    and loudest tenth of 32 ms frames. Both are at most 0 where the model only turns down, and `nan` for less than ten
    frames."""
    before, after = (frame_powers(item, sampling_rate, check).numpy() for item in (noisy, enhanced))
    tenth = len(before) // 10
    if tenth == 0:
        return float("nan"), float("nan")
    order = before.argsort()
    quiet, loud = order[:tenth], order[-tenth:]

    def change_db(at: np.ndarray) -> float:
        return float(10 * np.log10((after[at].mean() + 1e-12) / (before[at].mean() + 1e-12)))

    return change_db(quiet), change_db(loud)


def busiest_part(audio: np.ndarray, sampling_rate: int, seconds: float, check: Callable[[], None] = go_on) -> slice:
    """Return the samples of the part of `audio` `(channels, samples)` that has most speech (see [`busiest`]). The part
    is `seconds` long, or all of `audio` if that is shorter."""
    length = round(seconds * sampling_rate)
    if audio.shape[1] <= length:
        return slice(0, audio.shape[1])
    powers = frame_powers(audio, sampling_rate, check).numpy()
    frame = level_frame(sampling_rate)
    start = busiest(powers, length // frame) * frame
    start = min(start, audio.shape[1] - length)
    return slice(start, start + length)
