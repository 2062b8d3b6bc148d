"""Enhances several recordings together, because one short file alone does not fill the network's batches."""

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TypeVar

import numpy as np

from ..audio.files import AudioReader, open_audio
from .file import FileReport, check_places, enhance_file, write_recording

GROUP_FILES = 16
GROUP_BYTES = 4 << 20  # stored size; a larger file fills batches by itself and forms a group of its own

Item = TypeVar("Item")
Result = FileReport | Exception | None


def group_by_size(items: Iterable[Item], size: Callable[[Item], int], most: int = GROUP_FILES) -> Iterator[list[Item]]:
    """Group neighbours. A group has at most `most` items and [`GROUP_BYTES`]; a larger item forms a group of its own.

    The groups depend only on the items, their order and their sizes. So a run that continues a stopped one has the same
    groups, and computes every sample with the same last bit.

    Args:
        items: Recordings, which are read one by one as they are needed.
        size: Function that returns the stored bytes of a recording.
        most: Maximum number of items in a group.
    """
    group, total = [], 0
    for item in items:
        num_bytes = size(item)
        if group and (len(group) == most or total + num_bytes > GROUP_BYTES):
            yield group
            group, total = [], 0
        group.append(item)
        total += num_bytes
    if group:
        yield group


def enhance_files(
    pipeline,
    files: Sequence[tuple[str | os.PathLike, str | os.PathLike | None]],
    make_generator: Callable,
    on_progress: Callable[[str, float, float], None] | None = None,
    **settings,
) -> list[Result]:
    """Enhance recordings together, block by block. A recording that fails does not stop the others.

    Each result equals that of [`enhance_file`] to 1e-4: the rest of the batch changes the rounding.

    Args:
        pipeline: A [`SpeechEnhancementPipeline`].
        files: Pairs `(source, target)`. A recording whose target is `None` takes part in the batches but is not
            written.
        make_generator: Function that makes the generator of each recording, see [`SpeechEnhancementPipeline`].
        on_progress: Function as for [`enhance_file`]. The seconds are those of all recordings that are enhanced
            together.
        settings: Settings of [`~SpeechEnhancementPipeline.stream`].

    Returns:
        One entry for each recording: its report, the exception that stopped it, or `None` if it has no target. The
        computing time is shared out in proportion to length.

    Raises:
        ValueError: for settings out of range.
    """
    from ..pipelines.settings import EnhancementSettings

    request = EnhancementSettings.of(**settings)
    started = time.perf_counter()
    results: list[Result] = [None] * len(files)
    wanted = [index for index, (_, target) in enumerate(files) if target is not None]
    if len(files) > 1:
        readers, streams = {}, {}
        for index in sorted(range(len(files)), key=lambda index: files[index][1] is None):
            if files[index][1] is None and not streams:
                break  # no recording that has a target can be read
            try:
                readers[index], streams[index] = _open(pipeline, *files[index], request)
            except Exception as error:
                results[index] = error if index in wanted else None
        if streams:
            streams = dict(sorted(streams.items()))
            _enhance_together(pipeline, files, readers, streams, make_generator, request, results, on_progress)
    durations = [result.duration for result in results if isinstance(result, FileReport)]
    pace = (time.perf_counter() - started) / max(sum(durations), 1e-9)
    for index in wanted:
        result = results[index]
        if isinstance(result, FileReport):
            results[index] = dataclasses.replace(result, seconds=pace * result.duration)
        elif result is None:  # alone in its group, or the group failed: running each alone shows which one failed
            results[index] = _enhance_alone(pipeline, *files[index], make_generator, on_progress, settings)
    return results


def _open(pipeline, source, target, request):
    """Return a recording's reader and its surveyed stream (see [`~SpeechEnhancementPipeline.open_stream`])."""
    from ..pipelines.settings import check_sampling_rate

    reader = open_audio(source)
    if target is not None:
        check_places(source, target)
    check_sampling_rate(reader.sampling_rate)
    pipeline.check_inputs(request, ())
    return reader, pipeline.open_stream(reader.blocks, reader.sampling_rate, request)


def _enhance_together(
    pipeline, files, readers: dict, streams: dict, make_generator, request, results, on_progress
) -> None:
    """Put the reports of `streams` into `results` until a stream fails."""
    import torch

    order = list(streams)
    seeds = pipeline.draw_seeds([make_generator() for _ in order], len(order))
    with torch.no_grad():
        blocks = pipeline.process(list(streams.values()), seeds, request, None, ())
        if on_progress:
            blocks = _watched(blocks, [readers[index] for index in order], on_progress)
        try:
            for position, outputs in itertools.groupby(blocks, key=itemgetter(0)):
                index = order[position]
                if files[index][1] is not None:
                    audio = (block for _, block in outputs)
                    results[index] = write_recording(readers[index], files[index][1], audio)
        except Exception:  # any recording may have failed: those without a result are enhanced one by one
            return
        finally:
            pipeline.maybe_free_model_hooks()


def _watched(blocks: Iterable[tuple[int, np.ndarray]], readers: list[AudioReader], on_progress) -> Iterator:
    """Yield the blocks of several recordings and report the seconds done of all of them."""
    done, total = 0.0, sum(reader.duration for reader in readers)
    for position, block in blocks:
        yield position, block
        done += block.shape[1] / readers[position].sampling_rate
        on_progress("enhancing", done, total)


def _enhance_alone(pipeline, source, target, make_generator, on_progress, settings: dict) -> FileReport | Exception:
    try:
        return enhance_file(pipeline, source, target, make_generator(), on_progress, **settings)
    except Exception as error:
        return error
