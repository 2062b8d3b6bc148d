"""How the network for live sound runs fastest."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..pipelines.speech_enhancement import SpeechEnhancementPipeline


def prefer_onnx(pipeline: "SpeechEnhancementPipeline") -> bool:
    """Have ONNX Runtime run the network of a pipeline if that is faster and possible.

    It is faster for a [`CausalUNet2DModel`] on the CPU, and possible where `onnx` and `onnxruntime` are installed. The
    export takes about a second.

    Returns:
        Whether ONNX Runtime runs the network from now on.
    """
    from ..models.causal_unet import CausalUNet2DModel
    from ..models.onnx_causal_unet import OnnxCausalUNet
    from ..models.onnx_export import onnx_installed

    network = pipeline.unet
    if not isinstance(network, CausalUNet2DModel) or network.device.type != "cpu" or not onnx_installed():
        return False
    pipeline.unet = OnnxCausalUNet(network)
    return True


@contextlib.contextmanager
def one_thread(pipeline: "SpeechEnhancementPipeline") -> Iterator[None]:
    """Have PyTorch compute in one thread for as long as this lasts, if the network is one for live sound on the CPU.

    Its frames are too small to share: a second thread does not rest between two frames, and takes a core from other
    programs. Threads of this program that have computed before are not changed, so enter this before the sound starts.
    """
    network = pipeline.unet
    if getattr(network, "look_ahead_frames", None) is None or network.device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
