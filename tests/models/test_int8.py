import numpy as np
import pytest
import torch
from conftest import noise

from speech_enhance import OnnxUNet, SpeechEnhancementPipeline
from speech_enhance.models.int8 import INT8_RANGES, Int8Conv2d, recording_int8_ranges, with_int8_convolutions
from speech_enhance.models.onnx_export import exported_session


@pytest.fixture
def ranged(tiny_pipeline):
    """A tiny pipeline whose network knows its ranges."""
    with recording_int8_ranges(tiny_pipeline.unet):
        tiny_pipeline(noise(9000, seed=1), 16000, 2)
    return tiny_pipeline


def test_ranges_hold_what_convolutions_see_and_give(ranged):
    seen = {}
    layer = ranged.unet.conv_in
    layer.register_forward_hook(lambda _, inputs, output: seen.update(inputs=inputs[0], output=output))
    ranged(noise(9000, seed=1), 16000, 1)
    low, high, least, most = ranged.unet.config[INT8_RANGES]["conv_in"]
    assert low <= seen["inputs"].min() < seen["inputs"].max() <= high
    assert least <= seen["output"].min() < seen["output"].max() <= most
    assert high - low < 20


def test_onnx_runtime_computes_all_convolutions_in_integers(ranged, tmp_path, monkeypatch):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession

    def saved(model, options, **more):
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        return session(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", saved)
    replacement = OnnxUNet(ranged.unet, ranged.config.window_frames, precision="int8")
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == len(ranged.unet.config[INT8_RANGES])
    assert "Conv" not in kinds

    audio = noise(9000, seed=2)
    expected = ranged(audio, 16000, 2).audios
    rounded = with_int8_convolutions(ranged.unet)
    ranged.unet = rounded
    as_if = ranged(audio, 16000, 2).audios
    ranged.unet = replacement
    found = ranged(audio, 16000, 2).audios
    assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    np.testing.assert_allclose(found, as_if, atol=0.01 * np.abs(expected).max())


def test_sums_of_products_fit_on_every_cpu():
    """Without VNNI two products are added in 16 bits, which cuts off what does not fit in."""
    pytest.importorskip("onnx")
    convolution = torch.nn.Conv2d(16, 16, 3, padding=1)
    torch.nn.init.constant_(convolution.weight, 0.1)
    values = torch.full((1, 16, 12, 12), 2.0)
    layer = Int8Conv2d(convolution, [0.0, 2.0, 0.0, 30.0])
    session = exported_session(layer, {"values": values}, ["result"], {}, 1)
    found = session.run(None, {"values": values.numpy()})[0]
    np.testing.assert_allclose(found, layer(values).detach().numpy(), atol=30 / 255)


def test_a_saved_pipeline_keeps_the_ranges(ranged, tmp_path):
    ranged.save_pretrained(tmp_path)
    loaded = SpeechEnhancementPipeline.from_pretrained(tmp_path)
    assert loaded.unet.config[INT8_RANGES] == ranged.unet.config[INT8_RANGES]
    audio = noise(9000, seed=2)
    np.testing.assert_array_equal(loaded(audio, 16000, 1).audios, ranged(audio, 16000, 1).audios)


def test_without_the_network_s_own_ranges_there_is_no_int8(ranged, tiny_unet):
    with pytest.raises(ValueError, match="this checkpoint has no ranges for int8"):
        OnnxUNet(tiny_unet, precision="int8")
    others = dict(ranged.unet.config[INT8_RANGES])
    others.pop("conv_in")
    tiny_unet.register_to_config(**{INT8_RANGES: others})
    with pytest.raises(ValueError, match="not those of this network"):
        OnnxUNet(tiny_unet, precision="int8")
    with pytest.raises(ValueError, match="`precision` must be float32 or int8, got 'int4'"):
        OnnxUNet(tiny_unet, precision="int4")


def test_a_convolution_rounds_to_the_steps_of_its_ranges():
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(2, 3, 1)
    values = torch.linspace(-1, 3, 200).reshape(1, 2, 10, 10)
    exact = convolution(values)
    low, high = exact.min().item(), exact.max().item()
    rounded = Int8Conv2d(convolution, [-1.0, 3.0, low, high])(values)
    assert len(rounded.unique()) <= 256
    assert (rounded - exact).abs().max() < 4 * (high - low) / 255
    beyond = Int8Conv2d(convolution, [-1.0, 1.0, low, high])(values)
    torch.testing.assert_close(beyond, Int8Conv2d(convolution, [-1.0, 1.0, low, high])(values.clamp(max=1)))
