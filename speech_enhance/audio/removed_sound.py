"""Writes the sound that enhancing removed from a recording: the input minus the output, sample by sample."""

from collections.abc import Iterable, Iterator

import numpy as np

from .writer import AudioWriter


def with_removed(
    enhanced: Iterable[np.ndarray], recording: Iterable[np.ndarray], writer: AudioWriter
) -> Iterator[np.ndarray]:
    """Yield the blocks `enhanced (channels, samples)` as they are, and give the sound that was removed to `writer`.

    Args:
        enhanced: Blocks of the enhanced recording.
        recording: Blocks of the recording itself; they may have other sizes.
        writer: Writer of the difference.
    """
    from .buffers import SlidingBuffer  # it needs PyTorch

    blocks, done = iter(recording), 0
    held: SlidingBuffer[np.ndarray] = SlidingBuffer()
    for block in enhanced:
        last = done + block.shape[1]
        while held.end < last:
            held.append(next(blocks))
        writer.write(held.get(done, last) - block)
        held.forget(last)
        done = last
        yield block
