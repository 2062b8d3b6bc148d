"""A sliding part of something long, addressed as if all of it were there."""

import numpy as np
import torch


class SlidingBuffer:
    """The part of a long array or tensor that is still needed; the last axis is time and may grow without end.

    Args:
        start: Absolute position of the first value that will be appended.
    """

    def __init__(self, start: int = 0):
        self.start = start
        self._data: np.ndarray | torch.Tensor | None = None

    @property
    def end(self) -> int:
        """Absolute position behind the last value."""
        return self.start + (0 if self._data is None else self._data.shape[-1])

    def append(self, block: np.ndarray | torch.Tensor) -> None:
        """Add `block (..., n)` at the end."""
        if self._data is None:
            self._data = block
        elif torch.is_tensor(block):
            self._data = torch.cat([self._data, block], dim=-1)
        else:
            self._data = np.concatenate([self._data, block], axis=-1)

    def get(self, first: int, last: int) -> np.ndarray | torch.Tensor:
        """The values from absolute position `first` up to `last`.

        Raises:
            IndexError: for what was forgotten or is still to come.
        """
        if first < self.start or last > self.end:
            raise IndexError(f"{first} to {last} asked for, {self.start} to {self.end} held")
        return self._data[..., first - self.start : last - self.start]

    def forget(self, before: int) -> None:
        """Let go of the values before absolute position `before`."""
        if self._data is not None and before > self.start:
            before = min(before, self.end)
            rest = self._data[..., before - self.start :]
            self._data = rest.clone() if torch.is_tensor(rest) else rest.copy()
            self.start = before
