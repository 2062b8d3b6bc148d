"""Several recordings enhanced together: windows of short files fill the network's batches, which one file alone would
not."""

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
GROUP_BYTES = 4 << 20  # as stored; a longer file fills batches by itself and is alone

Item = TypeVar("Item")
Result = FileReport | Exception | None


def group_by_size(items: Iterable[Item], size: Callable[[Item], int], most: int = GROUP_FILES) -> Iterator[list[Item]]:
    """Neighbours in groups of at most `most` and of [`GROUP_BYTES`], which only an item that is alone may exceed.

    The groups depend on nothing but the items, their order and sizes: a run that goes on after another was stopped
    has the same, and with them the same last bit of every sample.

    Args:
        items: Recordings; they are taken as they are needed.
        size: Gives the stored bytes of one.
        most: Items in a group.
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
    """Enhance recordings together, block by block; one that fails does not stop the others.

    Each comes out as [`enhance_file`] gives it, to 1e-4: what shares a batch with it changes its rounding.

    Args:
        pipeline: A [`SpeechEnhancementPipeline`].
        files: Pairs `(source, target)`. A recording whose target is `None` shares the batches, and nothing is written.
        make_generator: Called for the generator of each recording, see [`SpeechEnhancementPipeline`].
        on_progress: See [`enhance_file`]; the seconds are those of all recordings that are enhanced together.
        settings: See [`~SpeechEnhancementPipeline.stream`].

    Returns:
        For each its report, or the exception that stopped it, or `None` where there is no target. Of the time that all
        took each has a share by length.

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
                break  # nothing that is to be written can be read
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
        elif result is None:  # alone in its group, or the group failed: now it shows which of them it was
            results[index] = _enhance_alone(pipeline, *files[index], make_generator, on_progress, settings)
    return results


def _open(pipeline, source, target, request):
    """A reader of a recording, and the recording surveyed (see [`~SpeechEnhancementPipeline.open_stream`])."""
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
    """Put the reports of `streams` into `results`, until one of them fails."""
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
        except Exception:  # of whichever recording: those that are missing are enhanced one by one
            return
        finally:
            pipeline.maybe_free_model_hooks()


def _watched(blocks: Iterable[tuple[int, np.ndarray]], readers: list[AudioReader], on_progress) -> Iterator:
    """The blocks of several recordings as they come; tells the seconds that are done of all of them."""
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
