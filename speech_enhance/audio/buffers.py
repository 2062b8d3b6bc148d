"""A sliding part of a long array, addressed as if the whole array were there."""

from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)


class SlidingBuffer(Generic[Array]):
    """The part of a long array or tensor that is still needed. The last axis is time and may grow without end.

    Args:
        start: Absolute position of the first value that will be appended.
    """

    def __init__(self, start: int = 0):
        self.start = start
        self._data: Array | None = None

    @property
    def end(self) -> int:
        """Absolute position after the last value."""
        return self.start + (0 if self._data is None else self._data.shape[-1])

    def append(self, block: Array) -> None:
        """Add `block (..., n)` at the end."""
        if self._data is None:
            self._data = block
        else:
            join = cast(Any, torch.cat if torch.is_tensor(block) else np.concatenate)
            self._data = join([self._data, block], -1)

    def get(self, first: int, last: int) -> Array:
        """The values from absolute position `first` up to `last`.

        Raises:
            IndexError: for values that were dropped or are not there yet.
        """
        if self._data is None or first < self.start or last > self.end:
            raise IndexError(f"{first} to {last} asked for, {self.start} to {self.end} held")
        return self._data[..., first - self.start : last - self.start]

    def forget(self, before: int) -> None:
        """Drop the values before absolute position `before`."""
        if self._data is not None and before > self.start:
            before = min(before, self.end)
            rest = self._data[..., before - self.start :]
            self._data = rest.clone() if torch.is_tensor(rest) else rest.copy()
            self.start = before
