"""The network for live sound: convolutions over bands and a memory over time. It sees a fixed number of later frames
and nothing after them."""

import itertools
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import nn

_FEW_FRAMES = 16


class CausalState(NamedTuple):
    """State of [`CausalUNet2DModel`] between two parts of a sound.

    Attributes:
        inputs: Inputs `(batch, channels, num_bands, history_frames)` of the newest frames.
        memory: Memory `(num_memory_layers, batch, memory_channels)` of the recurrent layers.
    """

    inputs: torch.Tensor
    memory: torch.Tensor


Modulations = tuple[tuple[torch.Tensor, torch.Tensor], ...]
"""Scale and shift of each level of [`CausalUNet2DModel`], both `(batch, channels, 1)`."""


class CausalUNet2DModel(ModelMixin, ConfigMixin):
    """Denoises `sample` given `condition`, frame by frame. It is a network for live sound: it computes each frame once.

    It is a U-Net over the bands of each frame. Between its two halves, recurrent layers (GRU) remember earlier frames
    (cf. Tan & Wang, "A Convolutional Recurrent Neural Network for Real-Time Speech Enhancement", Interspeech 2018). The
    timestep scales and shifts every level. The answer for a frame depends on the condition up to `look_ahead_frames`
    after it, but on the sample only up to the frame itself. So further steps of sampling add no delay.

    Args:
        in_channels (`int`): Channels of sample and condition together.
        num_bands (`int`): Bands of the mel, a multiple of two to the number of levels.
        block_out_channels (`tuple[int]`): Channels of the levels. The first level sees two bands at once; each further
            level has half the bands of the one before.
        memory_channels (`int`): Channels of the recurrent layers.
        num_memory_layers (`int`): Number of recurrent layers.
        history_frames (`int`): Earlier frames that the first convolution sees.
        look_ahead_frames (`int`): Later frames of the condition that the first convolution sees.
        norm_num_groups (`int`): Groups of channels that share a normalisation. Each frame is normalised by itself.

    Raises:
        ValueError: if the bands cannot be halved that often.
    """

    config_name = "config.json"
    frame_multiple = 1
    """Windows of a long recording may start at any frame."""

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        num_bands: int = 80,
        block_out_channels: tuple[int, ...] = (32, 48, 64),
        memory_channels: int = 320,
        num_memory_layers: int = 2,
        history_frames: int = 4,
        look_ahead_frames: int = 2,
        norm_num_groups: int = 4,
    ):
        super().__init__()
        channels, depth = list(block_out_channels), len(block_out_channels)
        if num_bands % 2**depth:
            raise ValueError(f"`num_bands` must be a multiple of {2**depth}, one half for each level, got {num_bands}")
        if any(number % norm_num_groups for number in channels):
            raise ValueError(f"`block_out_channels` must be multiples of {norm_num_groups}, got {channels}")
        width = 4 * channels[0]
        self.time_proj = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(channels[0], width)
        seen = 1 + (in_channels - 1) * (
            look_ahead_frames + 1
        )  # later frames of the condition have channels of their own
        self.conv_in = nn.Conv2d(2 * seen, channels[0], (3, history_frames + 1), padding=(1, 0))
        pairs = list(itertools.pairwise(channels))
        self.down_blocks = nn.ModuleList(_Level(a, b, width, norm_num_groups, stride=2) for a, b in pairs)
        self.mid_norm = nn.GroupNorm(norm_num_groups, channels[-1])
        flat = channels[-1] * num_bands // 2**depth
        self.proj_in = nn.Linear(flat, memory_channels)
        self.memory = nn.GRU(memory_channels, memory_channels, num_memory_layers, batch_first=True)
        self.proj_out = nn.Linear(memory_channels, flat)
        self.up_blocks = nn.ModuleList(_Level(2 * b, a, width, norm_num_groups) for a, b in reversed(pairs))
        self.norm_out = nn.GroupNorm(norm_num_groups, 2 * channels[0])
        self.conv_out = nn.Conv1d(2 * channels[0], 2, 3, padding=1)

    @property
    def condition_channels(self) -> int:
        """Channels that `condition` must have."""
        return self.config["in_channels"] - 1

    @property
    def look_ahead_frames(self) -> int:
        """Number of later frames of the condition that the answer for a frame depends on."""
        return self.config["look_ahead_frames"]

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | int,
        condition: torch.Tensor,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[torch.Tensor]:
        """Predict the scheduler's target for `sample`. Before and after its frames there is silence.

        Args:
            sample: Sample `(batch, 1, num_bands, frames)`, noisy in the sense of the diffusion process.
            timestep: Timestep, one for all or `(batch,)`.
            condition: Condition `(batch, condition_channels, num_bands, frames)`.
            return_dict: Whether to return a `UNet2DOutput` instead of a tuple.

        Returns:
            The prediction, shaped like `sample`.

        Raises:
            ValueError: if the shapes do not fit the model or each other.
        """
        condition = F.pad(condition, (0, self.look_ahead_frames))
        prediction, _ = self.step(sample, timestep, condition)
        return UNet2DOutput(sample=prediction) if return_dict else (prediction,)

    def modulations(self, timestep: torch.Tensor | float | int, batch_size: int = 1) -> Modulations:
        """Compute what a timestep does to the levels.

        Args:
            timestep: Timestep, one for all or `(batch,)`.
            batch_size: Number of sounds.

        Returns:
            Scale and shift of each level, both `(batch, channels, 1)`.
        """
        weight = self.conv_in.weight
        timesteps = torch.as_tensor(timestep, device=weight.device).reshape(-1).expand(batch_size)
        embedding = F.silu(self.time_embedding(self.time_proj(timesteps).to(weight.dtype)))
        levels = cast(list[_Level], [*self.down_blocks, *self.up_blocks])
        return tuple(level.time_emb_proj(embedding)[..., None].chunk(2, dim=1) for level in levels)

    def step(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | int | Modulations,
        condition: torch.Tensor,
        state: CausalState | None = None,
    ) -> tuple[torch.Tensor, CausalState]:
        """Predict the scheduler's target for the next frames of a sound.

        Args:
            sample: Sample `(batch, 1, num_bands, frames)`.
            timestep: Timestep, one for all or `(batch,)`, or its [`~CausalUNet2DModel.modulations`]. These need not be
                computed again for every part.
            condition: Condition `(batch, condition_channels, num_bands, frames + look_ahead_frames)` from the same
                frame on.
            state: State after the frames before; `None` at the beginning.

        Returns:
            The prediction, shaped like `sample`, and the new state. The prediction does not depend on how the sound is
            divided into parts, except for rounding.

        Raises:
            ValueError: if the shapes do not fit the model or each other.
        """
        self.check_shapes(sample, condition)
        batch, num_frames, history = sample.shape[0], sample.shape[-1], self.config["history_frames"]
        shifted = [condition[..., place : place + num_frames] for place in range(self.look_ahead_frames + 1)]
        inputs = torch.cat([sample, *shifted], dim=1)
        earlier = inputs.new_zeros(*inputs.shape[:3], history) if state is None else state.inputs
        inputs = torch.cat([earlier, inputs], dim=-1)
        modulations = iter(timestep if isinstance(timestep, tuple) else self.modulations(timestep, batch))

        pairs = inputs.unflatten(2, (-1, 2)).transpose(2, 3).flatten(1, 2)  # pairs of bands as channels
        hidden = self.conv_in(pairs).permute(0, 3, 1, 2).flatten(0, 1)  # (batch · frames, channels, pairs of bands)
        levels = [hidden]
        for block in self.down_blocks:
            levels.append(hidden := block(hidden, next(modulations)))
        flat = self.proj_in(F.silu(self.mid_norm(hidden)).flatten(1)).unflatten(0, (batch, num_frames))
        remembered, memory = self.memory(flat, None if state is None else state.memory)
        hidden = hidden + self.proj_out(flat + remembered).flatten(0, 1).view_as(hidden)
        for block in self.up_blocks:
            hidden = block(torch.cat([hidden, levels.pop()], dim=1), next(modulations)).repeat_interleave(2, dim=2)
        hidden = _convolve(self.conv_out, F.silu(self.norm_out(torch.cat([hidden, levels.pop()], dim=1))))
        prediction = hidden.transpose(1, 2).flatten(1).view(batch, num_frames, 1, -1).permute(0, 2, 3, 1)
        return prediction, CausalState(inputs[..., inputs.shape[-1] - history :], memory)

    def check_shapes(self, sample: torch.Tensor, condition: torch.Tensor) -> None:
        """Check the inputs of [`~CausalUNet2DModel.step`].

        Raises:
            ValueError: if the shapes do not fit the model or each other.
        """
        if sample.ndim != 4 or sample.shape[1] != 1 or sample.shape[2] != self.config["num_bands"]:
            raise ValueError(
                f"`sample` must be (batch, 1, {self.config['num_bands']}, frames), got {tuple(sample.shape)}"
            )
        frames = sample.shape[3] + self.look_ahead_frames
        expected = (sample.shape[0], self.condition_channels, sample.shape[2], frames)
        if tuple(condition.shape) != expected:
            given = (*condition.shape[:3], condition.shape[3] - self.look_ahead_frames)
            expected = (*expected[:3], sample.shape[3])
            raise ValueError(f"`condition` must be {expected} for this `sample`, got {given}")


class _Level(nn.Module):
    """A convolution over the bands of each frame. The timestep scales and shifts its input.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        width: Channels of the timestep's embedding.
        norm_num_groups: Groups of channels that share a normalisation.
        stride: Bands of the input for each band of the output.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, norm_num_groups: int, stride: int = 1):
        super().__init__()
        self.norm = nn.GroupNorm(norm_num_groups, in_channels)
        self.time_emb_proj = nn.Linear(width, 2 * in_channels)
        self.conv = nn.Conv1d(in_channels, out_channels, 3, stride=stride, padding=1)

    def forward(self, hidden: torch.Tensor, modulation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Map `hidden (batch · frames, in_channels, bands)`, with scale and shift `(batch, in_channels, 1)`, to
        `(batch · frames, out_channels, bands / stride)`."""
        scale, shift = modulation
        frames = self.norm(hidden).view(scale.shape[0], -1, *hidden.shape[1:])
        changed = torch.addcmul(shift[:, None], frames, 1 + scale[:, None]).flatten(0, 1)
        return _convolve(self.conv, F.silu(changed))


def _convolve(conv: nn.Conv1d, hidden: torch.Tensor) -> torch.Tensor:
    """`conv(hidden)`. For the few frames of live sound it is a product of matrices, which takes half the time there."""
    if hidden.requires_grad or torch.jit.is_tracing() or hidden.device.type != "cpu" or len(hidden) > _FEW_FRAMES:
        return conv(hidden)
    (width,), (stride,), (padding,) = conv.kernel_size, conv.stride, cast(tuple[int], conv.padding)
    patches = F.pad(hidden, (padding, padding)).unfold(2, width, stride).transpose(1, 2)
    rows = torch.addmm(cast(torch.Tensor, conv.bias), patches.flatten(2).flatten(0, 1), conv.weight.flatten(1).t())
    return rows.view(len(hidden), -1, conv.out_channels).mT


# `model_index.json` records this path. So the file may move, and published weights stay loadable.
CausalUNet2DModel.__module__ = "speech_enhance"
