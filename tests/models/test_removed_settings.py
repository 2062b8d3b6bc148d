"""Configurations that name settings which no longer exist load as long as these change nothing."""

import json

import numpy as np
import pytest
from conftest import TINY_UNET, noise, quiet

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.models.trained_settings import RECORD
from training.config import load_config


def change(path, **entries) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture
def old_folder(tiny_pipeline, tmp_path):
    """A folder as earlier versions saved it."""
    tiny_pipeline.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "unet" / "config.json").read_text())[RECORD]
    change(tmp_path / "model_index.json", initial_noise_scale=1.0)
    change(tmp_path / "unet" / "config.json", patch_bands=None, **{RECORD: record | {"initial_noise_scale": 1.0}})
    return tmp_path


def test_neutral_values_load_and_are_not_saved_again(tiny_pipeline, old_folder, tmp_path, capfd):
    loaded = quiet(SpeechEnhancementPipeline.from_pretrained(old_folder))
    expected = quiet(tiny_pipeline)(noise(9000), 16000, 2, 1).audios
    np.testing.assert_array_equal(loaded(noise(9000), 16000, 2, 1).audios, expected)
    rebuilt = quiet(SpeechEnhancementPipeline(**loaded.components))
    np.testing.assert_array_equal(rebuilt(noise(9000), 16000, 2, 1).audios, expected)
    loaded.save_pretrained(tmp_path / "new")
    written = [(tmp_path / "new" / name).read_text() for name in ("model_index.json", "unet/config.json")]
    assert not any(name in text for text in written for name in ("patch_bands", "initial_noise_scale"))
    assert "not expected" not in "".join(capfd.readouterr())  # Diffusers' warning of an unknown setting


def test_other_values_are_refused_without_the_pipelines_checks_too(old_folder):
    change(old_folder / "unet" / "config.json", patch_bands=2)
    with pytest.raises(ValueError, match="`patch_bands` is no longer a setting and must be None or left out, got 2"):
        ConditionalUNet2DModel.from_pretrained(old_folder / "unet")
    with pytest.raises(ValueError, match=r"`initial_noise_scale` is no longer .* must be 1\.0 or left out"):
        SpeechEnhancementPipeline.extract_init_dict({"initial_noise_scale": 0.0})


@pytest.mark.parametrize("bands", [None, 2])
def test_training_configs(tmp_path, bands):
    unet = json.dumps({**TINY_UNET, "patch_bands": bands})
    path = tmp_path / "config.yaml"
    path.write_text(
        f"output_dir: out\nspeech: [{{path: a}}]\nnoise: [{{path: b}}]\nunet: {unet}\npipeline: "
        f"{{initial_noise_scale: 1.0}}\n"
    )
    if bands is None:
        config = load_config(path)
        assert "patch_bands" not in config.unet
        assert config.pipeline == {}
    else:
        with pytest.raises(ValueError, match=r"config.yaml: .*`patch_bands` is no longer a setting"):
            load_config(path)
