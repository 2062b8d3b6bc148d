"""Cleaning of recordings for a data set: pure functions on float32 mono `(samples,)`."""

import numpy as np

GATED_DB = -55.0
"""A noise gate has muted the frames below this level (dB of full scale)."""


def dynamic_range_db(audio: np.ndarray, sampling_rate: int, gated: bool = False) -> float:
    """Level of the loud frames of speech over that of its quiet frames: a rough measure of how clean it is.

    It is the 95th minus the 5th percentile of the level of frames of 25 ms every 12.5 ms. Pauses hold the background,
    so speech under 25 dB is not quite clean. With `gated`, frames that a noise gate has muted do not count, because
    they say nothing about the background of the others.
    """
    level = _levels_db(audio, sampling_rate // 40, sampling_rate // 80)
    if gated and (level > GATED_DB).any():
        level = level[level > GATED_DB]
    return float(np.percentile(level, 95) - np.percentile(level, 5))


def trim_gated_silence(audio: np.ndarray, sampling_rate: int, keep_seconds: float = 0.15) -> np.ndarray:
    """Shorten muted pauses to `keep_seconds` on either side of sound. A recording without sound becomes empty."""
    frame = sampling_rate // 100
    sounding = _levels_db(audio, frame, frame) > GATED_DB
    reach = round(keep_seconds * sampling_rate / frame)
    kept = np.convolve(sounding, np.ones(2 * reach + 1))[reach : reach + len(sounding)] > 0.5
    return audio[: len(kept) * frame][np.repeat(kept, frame)]


def pieces(audio: np.ndarray, max_samples: int) -> list[np.ndarray]:
    """Equal pieces of at most `max_samples`, in order."""
    return np.array_split(audio, max(1, -(-len(audio) // max_samples)))


def _levels_db(audio: np.ndarray, frame: int, hop: int) -> np.ndarray:
    audio = np.pad(audio, (0, max(0, frame - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, frame)[::hop]
    return 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-10)
