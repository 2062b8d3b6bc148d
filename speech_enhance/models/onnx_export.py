"""What [`OnnxUNet`] and [`OnnxCausalUNet`] share: the way from a PyTorch network to a session of ONNX Runtime."""

import importlib.util
import io
import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch

from ..optional_packages import import_package, onnx_session


def onnx_installed() -> bool:
    """Whether the packages that a network needs for ONNX Runtime are installed: `onnx` and `onnxruntime`."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def exported_session(
    network: torch.nn.Module,
    inputs: dict[str, torch.Tensor],
    outputs: Sequence[str],
    dynamic_axes: dict[str, dict[int, str]],
    num_threads: int | None = None,
):
    """Trace a network and return a session of ONNX Runtime on the CPU that computes the same.

    Args:
        network: Network whose `forward` takes the inputs in their order.
        inputs: Names and examples of the inputs. An example decides type and size.
        outputs: Names of the outputs.
        dynamic_axes: Axes of inputs and outputs that may have any size, each with a name for its size.
        num_threads: Threads of ONNX Runtime; by default as many as PyTorch has.

    Raises:
        ImportError: if `onnx` or `onnxruntime` is missing.
    """
    for package in ("onnx", "onnxruntime"):  # else the export would fail only at its end, with another error
        import_package(package, package)

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Sizes are fixed on purpose, and so is the way to export (`dynamo=False`). A recurrent layer may have any
        # batch, since its state is an input.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "Exporting a model to ONNX with a batch_size other than 1", UserWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning, r"torch\.onnx\.")
        torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            cast(Any, buffer),  # the annotation knows only paths
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dynamic_axes,
        )
    return onnx_session(buffer.getvalue(), num_threads or torch.get_num_threads())
