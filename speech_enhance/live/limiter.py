"""Keeps sound within full scale where it would be cut off."""

import numpy as np

RELEASE_DB_PER_SECOND = 60.0
TOLERANCE = 1e-4
"""Above full scale, what rounding alone may make of a sound at full scale."""


class Limiter:
    """Turns all channels down at once where one exceeds full scale, and back up slowly.

    Args:
        sampling_rate: Samples per second.
    """

    def __init__(self, sampling_rate: int):
        self._release = RELEASE_DB_PER_SECOND / sampling_rate
        self._reduction = 0.0
        self.num_limited = 0
        """Instants at which some channel was above full scale so far."""

    def push(self, block: np.ndarray) -> np.ndarray:
        """`block (channels, samples)`, float32, within ±1."""
        peak = np.abs(block).max(axis=0)
        self.num_limited += int((peak > 1 + TOLERANCE).sum())
        if not block.shape[1] or (self._reduction == 0 and not (peak > 1).any()):
            return block
        falling = self._release * np.arange(1, len(peak) + 1)
        reduction = np.maximum(20 * np.log10(np.maximum(peak.astype(np.float64), 1.0)), 0.0)
        track = np.maximum.accumulate(np.maximum(reduction + falling, self._reduction)) - falling
        self._reduction = max(float(track[-1]), 0.0)
        limited = block * (10 ** (-track.clip(0) / 20)).astype(np.float32)
        return limited.clip(-1, 1)
