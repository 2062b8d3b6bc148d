"""The network for live sound run by ONNX Runtime instead of PyTorch. For a few frames it takes less time; results
are the same, except for rounding."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d import UNet2DOutput

from .causal_unet import CausalState, CausalUNet2DModel, Modulations
from .onnx_export import exported_session

_EXAMPLE_FRAMES = 2


class _Traced(torch.nn.Module):
    def __init__(self, unet: CausalUNet2DModel):
        super().__init__()
        self.unet = unet

    def forward(self, sample, condition, inputs, memory, *modulations):
        pairs = tuple(zip(modulations[::2], modulations[1::2], strict=True))
        prediction, state = self.unet.step(sample, pairs, condition, CausalState(inputs, memory))
        return prediction, state.inputs, state.memory


class OnnxCausalUNet:
    """A drop-in for `pipe.unet` of a pipeline for live sound, on the CPU: `pipe.unet = OnnxCausalUNet(pipe.unet)`.

    Such a pipeline runs as before, but it cannot be moved to another device or saved. Batch and number of frames may
    have any size.

    Args:
        unet: Network to run.
        num_threads: Threads of ONNX Runtime. For the few frames of live sound, one is the fastest, since several wait
            for each other.

    Raises:
        ImportError: if `onnx` or `onnxruntime` is missing.
        ValueError: for another network.
    """

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, unet: CausalUNet2DModel, num_threads: int = 1):
        if not isinstance(unet, CausalUNet2DModel):
            raise ValueError(f"OnnxCausalUNet is for a CausalUNet2DModel, got a {type(unet).__name__}")
        self.config, self.frame_multiple = unet.config, unet.frame_multiple
        self.condition_channels, self.look_ahead_frames = unet.condition_channels, unet.look_ahead_frames
        self._unet = unet  # for its modulations
        torch.nn.Module.to(unet, "cpu", torch.float32)
        batch, num_frames, num_bands = 2, _EXAMPLE_FRAMES, unet.config["num_bands"]
        inputs = {
            "sample": torch.zeros(batch, 1, num_bands, num_frames),
            "condition": torch.zeros(batch, unet.condition_channels, num_bands, num_frames + unet.look_ahead_frames),
            **_first_state(unet, batch)._asdict(),
            **_named(unet.modulations(0, batch)),
        }
        outputs = {"prediction": {0: "batch", 3: "frames"}, "new_inputs": {0: "batch"}, "new_memory": {1: "batch"}}
        dynamic_axes = {name: {0: "batch"} for name in inputs} | outputs
        dynamic_axes["sample"][3], dynamic_axes["condition"][3] = "frames", "seen_frames"
        dynamic_axes["memory"] = {1: "batch"}
        self._modulations: Modulations = ()
        self._named: dict[str, np.ndarray] = {}
        self._session = exported_session(_Traced(self._unet), inputs, list(outputs), dynamic_axes, num_threads)

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | int,
        condition: torch.Tensor,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[torch.Tensor]:
        """See [`CausalUNet2DModel.forward`]."""
        prediction, _ = self.step(sample, timestep, F.pad(condition, (0, self.look_ahead_frames)))
        return UNet2DOutput(sample=prediction) if return_dict else (prediction,)

    def modulations(self, timestep: torch.Tensor | float | int, batch_size: int = 1) -> Modulations:
        """See [`CausalUNet2DModel.modulations`]."""
        with torch.no_grad():
            return self._unet.modulations(timestep, batch_size)

    def step(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | int | Modulations,
        condition: torch.Tensor,
        state: CausalState | None = None,
    ) -> tuple[torch.Tensor, CausalState]:
        """See [`CausalUNet2DModel.step`]."""
        self._unet.check_shapes(sample, condition)
        modulations = timestep if isinstance(timestep, tuple) else self.modulations(timestep, len(sample))
        state = _first_state(self._unet, len(sample)) if state is None else state
        if modulations is not self._modulations:  # those of live sound are the same in every call
            self._modulations, self._named = modulations, _arrays(_named(modulations))
        inputs = _arrays({"sample": sample, "condition": condition, **state._asdict()}) | self._named
        answers = self._session.run(None, inputs)
        prediction, *new_state = map(torch.from_numpy, answers)
        return prediction, CausalState(*new_state)


def _first_state(unet: CausalUNet2DModel, batch_size: int) -> CausalState:
    """The state before the first frame of a sound: silence, and an empty memory."""
    config = unet.config
    channels = unet.conv_in.in_channels // 2  # it sees two bands at once
    inputs = torch.zeros(batch_size, channels, config["num_bands"], config["history_frames"])
    return CausalState(inputs, torch.zeros(config["num_memory_layers"], batch_size, config["memory_channels"]))


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _named(modulations: Modulations) -> dict[str, torch.Tensor]:
    """The modulations as inputs of ONNX Runtime, a scale and a shift for each level."""
    return {
        f"{name}_{level}": value
        for level, modulation in enumerate(modulations)
        for name, value in zip(("scale", "shift"), modulation, strict=True)
    }
