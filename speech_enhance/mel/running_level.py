"""A level that follows the active speech slowly, so that one loud event does not decide for the whole recording.

The level is a robust mean in dB over the active frames (Huber, "Robust Estimation of a Location Parameter", 1964). It
is computed step by step: each active frame moves it by a bounded amount, however loud the frame is. In a pause the
level stays as it is.
"""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from .spectrogram import LEVEL_FRAME_SECONDS, level_of_power, median_power

LEVEL_RULES = ("recording", "running")
"""One level for the whole recording ([`active_level`]), or one that follows the speech ([`running_level`])."""
REACH_FRAMES = 62
"""Frames of 32 ms (2 s) to either side over which the mean power decides what is active."""
ACTIVE_RATIO = 1.3
"""Ratio to that mean from which a frame may be active."""
DIP_FRAMES, DIP_RATIO = 8, 2.0
"""Frames (256 ms) and a ratio of powers: an active frame has twice the power of some frame within 256 ms. Speech has
dips between syllables; a steady noise has none."""
MAX_STEP_DB = 0.2
"""Largest change by one active frame: at most 6 dB a second."""
WIDTH_DB = 8.0
"""Distance from the level at which a frame has its largest effect."""
START_FRAMES = 100
"""Active frames whose median the level starts from."""
LOUDEST_START_DB = 25.0
"""Distance from the lower quartile of these frames beyond which a frame is no speech but a loud event, and left out."""
LOUDEST_DB = 15.0
"""Distance from the level beyond which a frame is made softer for the network."""
LEAST_POWER = 1e-12


def running_level(power: torch.Tensor) -> torch.Tensor:
    """RMS of the active speech around every frame.

    The power of the frames is smoothed by a running median over five frames. A frame is active if its power stands out
    from the mean over the 2 s to either side and from the smallest power within 256 ms. About 7 frames in a second of
    speech are active. For speech in noise at -2.5 to 17.5 dB their median is the level of `active_level`. The level
    follows the active frames once forwards and once backwards in time; the result is the mean of both in dB, so that
    it does not lag behind. A recording without active frames, such as a steady noise, has one level.

    Args:
        power: Mean square `(groups, frames)` of every frame of 32 ms.

    Returns:
        RMS `(groups, frames)` in float64; 0 for a group that is digital silence.
    """
    power = power.double()
    return torch.stack([torch.from_numpy(_level_of_group(item)) for item in power])


def _level_of_group(item: torch.Tensor) -> np.ndarray:
    whole, power = float(level_of_power(item)), median_power(item).numpy()
    dips = sliding_window_view(np.pad(power, DIP_FRAMES, mode="edge"), 2 * DIP_FRAMES + 1).min(axis=-1)
    active = (power >= ACTIVE_RATIO * _surrounding_mean(power)) & (power >= DIP_RATIO * dips) & (power > LEAST_POWER)
    if not active.any():
        return np.full(len(power), whole)
    decibels = 10 * np.log10(np.maximum(power, LEAST_POWER))
    forwards = _follow(decibels, active)
    backwards = _follow(decibels[::-1], active[::-1])[::-1]
    return 10 ** ((forwards + backwards) / 40)


def _surrounding_mean(power: np.ndarray) -> np.ndarray:
    sums = np.concatenate([[0.0], np.cumsum(power)])
    places = np.arange(len(power))
    first, last = np.maximum(places - REACH_FRAMES, 0), np.minimum(places + REACH_FRAMES + 1, len(power))
    return (sums[last] - sums[first]) / (last - first)


def _follow(decibels: np.ndarray, active: np.ndarray) -> np.ndarray:
    """The level in dB along time, from the median of the first active frames on."""
    first = decibels[active][:START_FRAMES]
    level = float(np.median(first[first <= np.quantile(first, 0.25) + LOUDEST_START_DB]))
    track = np.empty(len(decibels))
    for place, (value, counts) in enumerate(zip(decibels.tolist(), active.tolist(), strict=True)):
        if counts:
            level += MAX_STEP_DB * min(max((value - level) / WIDTH_DB, -1.0), 1.0)
        track[place] = level
    return track


def limited_level(level: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """A level by which no frame is more than `LOUDEST_DB` louder than speech.

    Beside a sound that is far louder than anything in its training, the network turns speech down, too. So such a sound
    gets a level of its own. The frame before it and the one after it get the same, since a window of the analysis may
    hold a part of it.

    Args:
        level: RMS `(groups, frames)` of [`running_level`].
        power: Mean square `(groups, frames)` of every frame.

    Returns:
        RMS `(groups, frames)`, at least `level`.
    """
    loudest = torch.nn.functional.max_pool1d(power.to(level), 3, stride=1, padding=1).sqrt()
    return torch.maximum(level, loudest * 10 ** (-LOUDEST_DB / 20))


def level_at_frames(level: torch.Tensor, first: int, last: int, hop_seconds: float) -> torch.Tensor:
    """The level `(groups, last - first)` at STFT frames, which lie `hop_seconds` apart from time 0 on.

    Args:
        level: Level `(groups, frames)` for every 32 ms, or `(groups, 1)` for a level that is the same everywhere.
        first: First STFT frame.
        last: STFT frame after the last one.
        hop_seconds: Seconds between two STFT frames.
    """
    if level.shape[-1] == 1:
        return level.expand(-1, last - first)
    places = torch.arange(first, last, dtype=torch.float64) * hop_seconds / LEVEL_FRAME_SECONDS - 0.5
    places = places.clamp(0, level.shape[-1] - 1)
    below = places.floor().long().clamp(max=level.shape[-1] - 2)
    return torch.lerp(level[:, below], level[:, below + 1], (places - below).to(level))
