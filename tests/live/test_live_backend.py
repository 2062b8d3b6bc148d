from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from causal import make_pipeline
from conftest import make_tiny_pipeline, quiet

from speech_enhance import CausalUNet2DModel, ConditionalUNet2DModel, OnnxCausalUNet
from speech_enhance.live.backend import one_thread, prefer_onnx
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


def threads_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.parametrize(("make", "expected"), [(make_pipeline, 1), (make_tiny_pipeline, 3)])
def test_a_network_for_live_sound_computes_in_one_thread_and_no_other(make, expected):
    """Also with ONNX Runtime, whose networks are made for one thread; the network for files is faster with more."""
    pipeline, before = quiet(make()), torch.get_num_threads()
    prefer_onnx(pipeline)
    torch.set_num_threads(3)
    try:
        with one_thread(pipeline):
            assert (torch.get_num_threads(), threads_of_a_new_thread()) == (expected, expected)
        assert (torch.get_num_threads(), threads_of_a_new_thread()) == (3, 3)
    finally:
        torch.set_num_threads(before)
