"""What users hear beside the noise, with the bundled checkpoint, on the synthetic sample."""

import numpy as np
import pytest
from conftest import noise, quiet

from speech_enhance import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline
from training.evaluation.measure_recordings import border_steps_db, main, speech_level_error_db, upper_band_change_db
from training.validation import Pair


@pytest.fixture(scope="module")
def pipeline():
    return quiet(SpeechEnhancementPipeline.from_pretrained(DEFAULT_CHECKPOINT))


@pytest.mark.slow
def test_speech_keeps_its_level(pipeline, sample_pair):
    noisy, clean = sample_pair
    assert abs(speech_level_error_db(pipeline, Pair("sample", noisy, clean, {}), 10.0)) < 1


@pytest.mark.slow
@pytest.mark.parametrize("lowest_hiss", [None, 9000])
def test_air_stays_where_there_is_speech_and_hiss_goes_where_there_is_none(pipeline, sample_pair, lowest_hiss):
    change = upper_band_change_db(pipeline, sample_pair[1], lowest_hiss=lowest_hiss)
    assert change["speech"] > -2
    assert change["pauses"] < -10


@pytest.mark.slow
def test_level_does_not_step_where_windows_meet(pipeline, sample_pair):
    # A minute of noise has 25 borders. The twelve of half a minute are too few: the ratio wavers by a tenth.
    for audio in (3 * noise(60 * 16000), np.tile(sample_pair[0], 3)):
        steps = border_steps_db(pipeline, audio)
        assert 0 < steps["borders"] < 1.3 * steps["inside"]


def test_a_stepping_pipeline_would_be_noticed(oracle_pipeline):
    layout = oracle_pipeline.config
    audio = noise(30 * 16000)
    stride = (layout.window_frames - layout.overlap_frames) * layout.hop_length

    class Stepping:
        config = layout

        def __call__(self, audio, sampling_rate):
            from speech_enhance import SpeechEnhancementOutput

            louder = np.where(np.arange(len(audio)) // stride % 2, 1.2, 1.0).astype(np.float32)
            return SpeechEnhancementOutput(audios=louder * audio)

    steps = border_steps_db(Stepping(), audio)
    assert steps["borders"] > 1.3 * steps["inside"]


@pytest.mark.slow
def test_report(corpus, tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    main(
        ["--pairs", str(corpus / "pairs.parquet"), "--model", str(tmp_path / "model"), "--output", str(tmp_path / "r")]
    )
    report = (tmp_path / "r.md").read_text()
    assert "| noisy speech |" in report
    assert "nan" not in report
