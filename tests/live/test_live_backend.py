import pytest
from causal import make_pipeline
from conftest import make_tiny_pipeline, quiet

from speech_enhance import CausalUNet2DModel, ConditionalUNet2DModel, OnnxCausalUNet
from speech_enhance.live.backend import prefer_onnx
from speech_enhance.models import onnx_export


def test_onnx_runtime_runs_a_network_for_live_sound_and_no_other():
    pipeline = make_pipeline()
    assert prefer_onnx(pipeline)
    assert isinstance(pipeline.unet, OnnxCausalUNet)
    assert not prefer_onnx(pipeline), "it does so already"
    pipeline = quiet(make_tiny_pipeline())
    assert not prefer_onnx(pipeline)
    assert isinstance(pipeline.unet, ConditionalUNet2DModel)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_pytorch_runs_it_where_a_package_is_missing(monkeypatch, missing):
    find = onnx_export.importlib.util.find_spec
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    pipeline = make_pipeline()
    assert not prefer_onnx(pipeline)
    assert isinstance(pipeline.unet, CausalUNet2DModel)
