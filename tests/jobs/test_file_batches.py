"""Recordings that share the network's batches, and what one of them can do to the others."""

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise

from speech_enhance import AudioFileError
from speech_enhance.jobs.batches import GROUP_BYTES, enhance_files, group_by_size
from speech_enhance.jobs.file import FileReport, enhance_file

RATES = (16000, 44100, 8000, 16000, 48000)


@pytest.fixture
def files(tmp_path):
    """Five recordings of other rates, channels and lengths, and where they go."""
    for index, rate in enumerate(RATES):
        audio = noise(3000 * (1 + 3 * index), channels=1 + index % 2, seed=index).T
        soundfile.write(tmp_path / f"{index}.wav", audio, rate, subtype="FLOAT")
    return [(tmp_path / f"{index}.wav", tmp_path / f"out-{index}.wav") for index in range(len(RATES))]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def count_batches(pipeline) -> list[int]:
    """Sizes of the network's batches from now on."""
    sizes = []
    pipeline.unet.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    return sizes


def test_together_is_as_one_by_one_in_fewer_batches(tmp_path, tiny_pipeline, files):
    sizes = count_batches(tiny_pipeline)
    for source, _ in files:
        enhance_file(tiny_pipeline, source, tmp_path / f"alone-{source.name}", generator(), num_estimates=2)
    alone = sizes.copy()
    sizes.clear()
    told = []
    reports = enhance_files(tiny_pipeline, files, generator, lambda *progress: told.append(progress), num_estimates=2)
    assert sum(sizes) == sum(alone)
    assert sizes[:-1] == [4] * (len(sizes) - 1)
    assert len(sizes) < len(alone)
    for (source, target), report, rate in zip(files, reports, RATES, strict=True):
        expected, _ = soundfile.read(tmp_path / f"alone-{source.name}")
        np.testing.assert_allclose(soundfile.read(target)[0], expected, atol=1e-4)
        assert report.duration == len(expected) / rate
        assert report.seconds > 0
    paces = [report.seconds / report.duration for report in reports]
    np.testing.assert_allclose(paces, paces[0])
    seconds = sum(report.duration for report in reports)
    assert {stage for stage, _, _ in told} == {"enhancing"}
    np.testing.assert_allclose([duration for _, _, duration in told], seconds)
    done = [progress for _, progress, _ in told]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(seconds)


@pytest.mark.slow
def test_a_recording_without_a_target_takes_part_and_leaves_nothing(tiny_pipeline, files):
    enhance_files(tiny_pipeline, files, generator)
    complete = files[2][1].read_bytes()
    for _, target in files:
        target.unlink()
    wanted = [(source, target if index == 2 else None) for index, (source, target) in enumerate(files)]
    reports = enhance_files(tiny_pipeline, wanted, generator)
    assert [report is None for report in reports] == [True, True, False, True, True]
    assert files[2][1].read_bytes() == complete
    assert not files[0][1].exists()
    files[2][0].write_bytes(b"broken")
    sizes = count_batches(tiny_pipeline)
    results = enhance_files(tiny_pipeline, wanted, generator)
    assert [type(item) for item in results] == [type(None), type(None), AudioFileError, type(None), type(None)]
    assert sizes == []


def test_one_that_cannot_be_read_or_written_stops_no_other(tmp_path, tiny_pipeline, files):
    files[0][0].write_text("no audio")
    files[1] = (files[1][0], tmp_path / "no such folder" / "out.wav")
    files[3] = (files[3][0], files[3][0])
    results = enhance_files(tiny_pipeline, files, generator)
    assert [isinstance(result, FileReport) for result in results] == [False, False, True, False, True]
    assert ["cannot be read" in str(results[0]), "does not exist" in str(results[1])] == [True, True]
    assert "the same file" in str(results[3])


@pytest.mark.slow
def test_one_that_changes_between_the_readings_stops_no_other(tmp_path, tiny_pipeline, files):
    """The batches they share end there; the others are enhanced one by one."""
    handle = tiny_pipeline.unet.register_forward_pre_hook(
        lambda *_: soundfile.write(files[4][0], noise(100), 48000, subtype="FLOAT")
    )
    results = enhance_files(tiny_pipeline, files[2:], generator, window_batch_size=1)
    handle.remove()
    assert [isinstance(result, FileReport) for result in results] == [True, True, True]
    assert soundfile.info(files[4][1]).frames == 100  # read again from its beginning, it is a recording like any other


def test_settings_out_of_range_are_told_at_once(tiny_pipeline, files):
    with pytest.raises(ValueError, match="`mix` must be between 0 and 1"):
        enhance_files(tiny_pipeline, files, generator, mix=2.0)
    for result in enhance_files(tiny_pipeline, files[:2], generator, num_inference_steps=1001):
        assert "`num_inference_steps` must be at most 1000" in str(result)


def test_groups_hold_neighbours_and_a_bounded_number_of_bytes():
    sizes = [1, GROUP_BYTES - 1, 1, GROUP_BYTES + 1, 2, 3, 4, 5]
    assert list(group_by_size(sizes, int, most=3)) == [[1, GROUP_BYTES - 1], [1], [GROUP_BYTES + 1], [2, 3, 4], [5]]
    assert list(group_by_size([], int)) == []
