"""The network for recordings run by ONNX Runtime instead of PyTorch. On a CPU it is often faster; results are the same,
except for rounding. Convolutions in 8-bit integers are faster still, and round more."""

import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput

from .int8 import with_int8_convolutions
from .onnx_export import exported_session
from .unet import ConditionalUNet2DModel


class _Traced(torch.nn.Module):
    def __init__(self, unet: ConditionalUNet2DModel):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, condition):
        return self.unet(sample, timestep, condition, return_dict=False)[0]


class OnnxUNet:
    """A drop-in for `pipe.unet` at inference on the CPU: `pipe.unet = OnnxUNet(pipe.unet, pipe.config.window_frames)`.

    Such a pipeline runs as before, but it cannot be moved to another device or saved. The batch may have any size.
    Bands and frames are fixed, since attention is traced for them.

    Args:
        unet: Network to run.
        num_frames: Frames of a window, `pipe.config.window_frames`.
        num_threads: Threads of ONNX Runtime; by default as many as PyTorch has.
        num_bands: Bands of the mel, `pipe.config.num_mel_bins`.
        precision: Number format of the convolutions, `float32` or `int8`. The latter needs a checkpoint with ranges
            (see `int8.py`).

    Raises:
        ImportError: if `onnx` or `onnxruntime` is missing.
        ValueError: for another network or precision, and for `int8` without ranges.
    """

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(
        self,
        unet: ConditionalUNet2DModel,
        num_frames: int = 384,
        num_threads: int | None = None,
        num_bands: int = 80,
        precision: str = "float32",
    ):
        if not isinstance(unet, ConditionalUNet2DModel):
            raise ValueError(f"OnnxUNet is for a ConditionalUNet2DModel, got a {type(unet).__name__}")
        if precision not in ("float32", "int8"):
            raise ValueError(f"`precision` must be float32 or int8, got {precision!r}")
        self.config = unet.config
        self.condition_channels, self.frame_multiple = unet.condition_channels, unet.frame_multiple
        self.num_frames = num_frames
        inputs = {
            "sample": torch.zeros(2, 1, num_bands, num_frames),
            "timestep": torch.zeros(2),
            "condition": torch.zeros(2, unet.condition_channels, num_bands, num_frames),
        }
        dynamic_axes = {name: {0: "batch"} for name in (*inputs, "prediction")}
        computed = with_int8_convolutions(unet) if precision == "int8" else unet.to("cpu", torch.float32)
        network = _Traced(computed)
        self._session = exported_session(network, inputs, ["prediction"], dynamic_axes, num_threads)

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | int,
        condition: torch.Tensor,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[torch.Tensor]:
        """See [`ConditionalUNet2DModel.forward`]."""
        timesteps = np.broadcast_to(np.asarray(timestep, dtype=np.float32), len(sample))
        inputs = {"sample": sample.numpy(), "timestep": timesteps, "condition": condition.numpy()}
        prediction = torch.from_numpy(self._session.run(None, inputs)[0])
        return UNet2DOutput(sample=prediction) if return_dict else (prediction,)
