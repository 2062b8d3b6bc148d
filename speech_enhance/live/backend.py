"""The faster way to run the network for live sound."""

from typing import TYPE_CHECKING

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
