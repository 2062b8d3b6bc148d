import json

import pytest
import torch
from conftest import TINY_UNET

from speech_enhance import ConditionalUNet2DModel
from speech_enhance.models.unet import fold_patches, unfold_patches


@pytest.mark.parametrize(("bands", "frames"), [(80, 1), (80, 64), (80, 101), (128, 48), (37, 5)])
def test_any_number_of_bands_and_frames(tiny_unet, bands, frames):
    sample, condition = torch.randn(2, 1, bands, frames), torch.randn(2, 3, bands, frames)
    with torch.no_grad():
        output = tiny_unet(sample, torch.tensor([3, 999]), condition)
        assert output.sample.shape == sample.shape
        torch.testing.assert_close(
            tiny_unet(sample, torch.tensor([3, 999]), condition, return_dict=False)[0], output.sample
        )


def test_condition_and_timestep_matter(tiny_unet):
    sample, condition = torch.randn(1, 1, 80, 16), torch.randn(1, 3, 80, 16)
    with torch.no_grad():
        base = tiny_unet(sample, 10, condition).sample
        assert not torch.allclose(base, tiny_unet(sample, 900, condition).sample)
        assert not torch.allclose(base, tiny_unet(sample, 10, condition + 1).sample)


@pytest.mark.parametrize("patch_size", [(2, 4), (4, 4), (4, 8)])
def test_patches_fold_and_unfold(patch_size):
    maps = torch.arange(2 * 3 * 16 * 32, dtype=torch.float32).reshape(2, 3, 16, 32)
    folded = fold_patches(maps, patch_size)
    assert folded.shape == (2, 3 * patch_size[0] * patch_size[1], 16 // patch_size[0], 32 // patch_size[1])
    torch.testing.assert_close(unfold_patches(folded, patch_size), maps, rtol=0, atol=0)
    if patch_size == (4, 4):
        torch.testing.assert_close(folded, torch.nn.functional.pixel_unshuffle(maps, 4), rtol=0, atol=0)


@pytest.mark.parametrize(("out_channels", "patch_size"), [(1, (1, 1)), (8, (2, 4)), (16, (4, 4)), (32, (4, 8))])
def test_patch_size_follows_from_the_channels(out_channels, patch_size):
    channels = {"in_channels": 4 * out_channels, "out_channels": out_channels}
    unet = ConditionalUNet2DModel(**TINY_UNET | channels)
    assert unet.patch_size == patch_size
    assert unet.condition_channels == 3
    assert unet.frame_multiple == patch_size[1] * 2


def test_channels_that_are_no_patch_are_refused():
    unet = ConditionalUNet2DModel(**{**TINY_UNET, "out_channels": 12, "in_channels": 48})
    with pytest.raises(ValueError, match="power of two"):
        _ = unet.patch_size


def test_save_and_load(tiny_unet, tmp_path):
    tiny_unet.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "ConditionalUNet2DModel"
    loaded = ConditionalUNet2DModel.from_pretrained(tmp_path, use_safetensors=True).eval()
    sample, condition = torch.randn(1, 1, 80, 16), torch.randn(1, 3, 80, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(sample, 5, condition).sample, tiny_unet(sample, 5, condition).sample, rtol=0, atol=0
        )


@pytest.mark.parametrize(
    ("sample", "condition"),
    [((1, 80, 16), (1, 3, 80, 16)), ((1, 1, 80, 16), (1, 2, 80, 16)), ((1, 1, 80, 16), (1, 3, 80, 17))],
)
def test_wrong_shapes_are_named(tiny_unet, sample, condition):
    with pytest.raises(ValueError, match="must be"):
        tiny_unet(torch.zeros(sample), 0, torch.zeros(condition))


def test_a_change_of_type_brings_no_warning_of_an_empty_list(tiny_unet, caplog):
    from diffusers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_warning()
    logging.enable_propagation()
    try:
        assert tiny_unet.to(torch.bfloat16).dtype == torch.bfloat16
        assert not caplog.records
        tiny_unet._keep_in_fp32_modules = ["time_proj"]
        tiny_unet.to(torch.float32)
        assert "time_proj" in caplog.text
    finally:
        logging.disable_propagation()
        logging.set_verbosity(verbosity)
