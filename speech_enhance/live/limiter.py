"""Limiter that keeps sound within full scale, so that no sample is cut off."""

import numpy as np

RELEASE_DB_PER_SECOND = 60.0
TOLERANCE = 1e-4
"""Amount above full scale that rounding alone may cause in a sound at full scale."""


class Limiter:
    """Turns all channels down at once when one exceeds full scale, and turns them back up slowly.

    Args:
        sampling_rate: Samples per second.
    """

    def __init__(self, sampling_rate: int):
        self._release = RELEASE_DB_PER_SECOND / sampling_rate
        self._reduction = 0.0
        self.num_limited = 0
        """Number of instants so far at which some channel was above full scale."""

    def push(self, block: np.ndarray) -> np.ndarray:
        """Return `block (channels, samples)` as float32 within ±1."""
        levels = np.abs(block)
        if not block.shape[1] or (self._reduction == 0 and levels.max() <= 1):
            return block
        peak = levels.max(axis=0)
        self.num_limited += int((peak > 1 + TOLERANCE).sum())
        falling = self._release * np.arange(1, len(peak) + 1)
        reduction = np.maximum(20 * np.log10(np.maximum(peak.astype(np.float64), 1.0)), 0.0)
        track = np.maximum.accumulate(np.maximum(reduction + falling, self._reduction)) - falling
        self._reduction = max(float(track[-1]), 0.0)
        limited = block * (10 ** (-track.clip(0) / 20)).astype(np.float32)
        return limited.clip(-1, 1)
