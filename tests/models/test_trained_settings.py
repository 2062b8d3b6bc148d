"""What a network was trained for travels with it, whichever way a pipeline is rebuilt."""

import json

import numpy as np
import pytest
from conftest import make_tiny_pipeline, make_tiny_unet, noise, quiet

from speech_enhance import ConditionalUNet2DModel, OnnxUNet, SpeechEnhancementPipeline, make_scheduler
from speech_enhance.models.schedulers import training_scheduler
from speech_enhance.models.trained_settings import RECORD

OTHER = {"window_frames": 64, "overlap_frames": 16, "num_mel_bins": 128, "num_views": 2, "gain_exponent": 1.3}


@pytest.fixture
def other():
    """A pipeline whose settings are not the defaults."""
    return quiet(SpeechEnhancementPipeline(make_tiny_unet(), training_scheduler(), **OTHER))


def enhanced(pipeline) -> np.ndarray:
    return quiet(pipeline)(noise(9000), 16000, 2, 2).audios


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_pipeline_of_the_components_is_the_same_model(other, backend):
    if backend == "onnx":
        other.unet = OnnxUNet(other.unet, other.config.window_frames, num_bands=other.config.num_mel_bins)
    expected = enhanced(other)
    rebuilt = SpeechEnhancementPipeline(**other.components)
    assert {name: rebuilt.config[name] for name in OTHER} == OTHER
    assert rebuilt.unet is other.unet
    np.testing.assert_array_equal(enhanced(rebuilt), expected)
    np.testing.assert_array_equal(enhanced(SpeechEnhancementPipeline(other.unet, other.scheduler)), expected)
    with pytest.raises(ValueError, match="trained with num_mel_bins=128, it cannot have 80"):
        SpeechEnhancementPipeline(**other.components, num_mel_bins=80)


def test_from_pipe_and_another_scheduler(other):
    expected = enhanced(other)
    np.testing.assert_array_equal(enhanced(SpeechEnhancementPipeline.from_pipe(other)), expected)
    scheduler = make_scheduler("lcm", other.scheduler.config)
    swapped = SpeechEnhancementPipeline(**other.components | {"scheduler": scheduler})
    other.scheduler = scheduler
    np.testing.assert_array_equal(enhanced(swapped), enhanced(other))


def test_save_and_load_keep_it(other, tmp_path):
    expected = enhanced(other)
    other.save_pretrained(tmp_path / "a")
    loaded = SpeechEnhancementPipeline.from_pretrained(tmp_path / "a")
    np.testing.assert_array_equal(enhanced(SpeechEnhancementPipeline(**loaded.components)), expected)
    unet = ConditionalUNet2DModel.from_pretrained(tmp_path / "a" / "unet")  # the network alone
    np.testing.assert_array_equal(enhanced(SpeechEnhancementPipeline(unet, other.scheduler)), expected)
    index = json.loads((tmp_path / "a" / "model_index.json").read_text())
    (tmp_path / "a" / "model_index.json").write_text(json.dumps(index | {"level": 0.2}))
    with pytest.raises(ValueError, match=r"trained with level=0\.1, it cannot have 0\.2"):
        SpeechEnhancementPipeline.from_pretrained(tmp_path / "a")


def test_a_folder_without_the_record_gets_it_when_loaded(other, tmp_path):
    """As folders were saved before networks had one."""
    other.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    assert config.pop(RECORD)["num_mel_bins"] == 128
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    loaded = SpeechEnhancementPipeline.from_pretrained(tmp_path)
    np.testing.assert_array_equal(enhanced(SpeechEnhancementPipeline(**loaded.components)), enhanced(other))


def test_what_may_be_chosen_is_chosen_for_one_pipeline(other):
    expected = enhanced(other)
    changed = SpeechEnhancementPipeline(**other.components, num_views=1)
    assert SpeechEnhancementPipeline(**changed.components).config.num_views == 1
    np.testing.assert_array_equal(enhanced(SpeechEnhancementPipeline(**other.components)), expected)
    assert next(changed.unet.parameters()) is next(other.unet.parameters())


def test_two_pipelines_of_one_network_without_a_record_agree():
    pipeline = make_tiny_pipeline()
    assert SpeechEnhancementPipeline(pipeline.unet, pipeline.scheduler).config.window_frames == 64
