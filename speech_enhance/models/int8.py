"""Convolutions that compute in 8-bit integers, for ONNX Runtime on CPUs.

What a convolution sees and gives is rounded to 256 even steps over a range that the checkpoint knows, and its weights
to 127 steps for each output channel (static quantization, Jacob et al., arXiv:1712.05877). All else stays in float32.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from .unet import ConditionalUNet2DModel

INT8_RANGES = "_int8_ranges"
"""Entry of the network's configuration: for each convolution, the least and the largest value that it sees, and the
least and the largest that it gives. Diffusers saves and loads private entries, and passes them to nobody."""

MOST_WEIGHT = 63
"""Largest weight in steps. CPUs without VNNI add two products of 8-bit integers in 16 bits: 2 · 255 · 63 fits in, and
with 127 steps the sums would be cut off."""


class Int8Conv2d(torch.nn.Module):
    """A convolution with rounded input, weights and output. In PyTorch it computes in float32, as if in integers; ONNX
    Runtime sees that integers will do.

    Args:
        convolution: Convolution to round.
        ranges: Least and largest value of its input, and of its output.
    """

    weight_scale: torch.Tensor
    weight_zero: torch.Tensor

    def __init__(self, convolution: torch.nn.Conv2d, ranges: list[float]):
        super().__init__()
        self.convolution = convolution
        self.input_steps, self.output_steps = _steps(*ranges[:2]), _steps(*ranges[2:])
        weight = convolution.weight.detach()
        self.register_buffer("weight_scale", weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-8) / MOST_WEIGHT)
        self.register_buffer("weight_zero", torch.zeros(len(weight), dtype=torch.int32))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        layer = self.convolution
        hidden = torch.fake_quantize_per_tensor_affine(hidden, *self.input_steps, 0, 255)
        weight = torch.fake_quantize_per_channel_affine(layer.weight, self.weight_scale, self.weight_zero, 0, -128, 127)
        hidden = F.conv2d(hidden, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        return torch.fake_quantize_per_tensor_affine(hidden, *self.output_steps, 0, 255)


@contextmanager
def recording_int8_ranges(unet: ConditionalUNet2DModel) -> Iterator[None]:
    """Watch what the network's convolutions see and give while the block runs, and record the ranges in its
    configuration. What runs in the block should be like what the network will be used for."""
    ranges: dict[str, list[float]] = {}

    def watch(name: str, inputs: Any, output: Any) -> None:
        low, high = zip(*(torch.aminmax(values.float()) for values in (inputs, output)), strict=True)
        seen = ranges.setdefault(name, [0.0] * 4)
        for place in range(2):
            seen[2 * place] = min(seen[2 * place], low[place].item())
            seen[2 * place + 1] = max(seen[2 * place + 1], high[place].item())

    hooks = [
        layer.register_forward_hook(lambda _, inputs, output, name=name: watch(name, inputs[0], output))
        for name, layer in _convolutions(unet).items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    unet.register_to_config(**{INT8_RANGES: ranges})


def with_int8_convolutions(unet: ConditionalUNet2DModel) -> ConditionalUNet2DModel:
    """A copy of a network on the CPU whose convolutions are [`Int8Conv2d`].

    Raises:
        ValueError: if the network has no ranges, or those of another network.
    """
    ranges, names = unet.config.get(INT8_RANGES), _convolutions(unet).keys()
    if not ranges:
        raise ValueError(
            "this checkpoint has no ranges for int8; `python -m training.int8_ranges`, of the code's repository, "
            "records them"
        )
    if ranges.keys() != names:
        raise ValueError("the ranges for int8 are not those of this network: record them anew")
    unet = copy.deepcopy(unet).to("cpu", torch.float32)
    for name, layer in _convolutions(unet).items():
        parent, _, last = name.rpartition(".")
        setattr(unet.get_submodule(parent), last, Int8Conv2d(layer, ranges[name]))
    return unet


def check_int8_ranges(ranges) -> None:
    """Raise `ValueError` unless `ranges`, an entry of a configuration that was read, can be ranges of a network."""
    if not isinstance(ranges, dict) or not all(map(_is_range, ranges.values())):
        raise ValueError(f"`{INT8_RANGES}` must hold four finite numbers for each convolution, low, high, low, high")


def _is_range(values) -> bool:
    if not isinstance(values, list) or len(values) != 4 or not all(type(value) in (int, float) for value in values):
        return False
    return all(map(math.isfinite, values)) and values[0] <= values[1] and values[2] <= values[3]


def _convolutions(unet: torch.nn.Module) -> dict[str, torch.nn.Conv2d]:
    return {name: layer for name, layer in unet.named_modules() if isinstance(layer, torch.nn.Conv2d)}


def _steps(low: float, high: float) -> tuple[float, int]:
    """Size of 255 even steps from `low` to `high`, which are made to hold 0, and the number of the step that is 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    size = max((high - low) / 255, 1e-8)
    return size, round(-low / size)
