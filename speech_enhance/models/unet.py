"""The network: a Diffusers UNet on patches of the mel, conditioned on the recording by concatenation."""

import logging
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput

from .removed_settings import without_removed


class ConditionalUNet2DModel(UNet2DModel):
    """A `UNet2DModel` that denoises `sample` given `condition`, on any number of bands and frames.

    Both are concatenated on channels (Palette, arXiv:2111.05826) and padded to a size that patches and levels divide.
    Then they are folded into patches (pixel-unshuffle), which makes the network cheap enough for a CPU. With one
    channel of sample and C of condition, a patch of `f` bands × `t` frames needs `out_channels = f·t` and
    `in_channels = (1 + C)·f·t`. `f` and `t` are powers of two as near to each other as possible; if they differ, `t`
    is the larger one.

    Args:
        kwargs: Arguments of `UNet2DModel`.
    """

    config: Any  # Diffusers annotates a plain dict; the real object also has its entries as attributes

    @classmethod
    def extract_init_dict(cls, config_dict, **kwargs):
        """Do as Diffusers does, but first drop settings that no longer exist if they change nothing, and refuse
        others."""
        return super().extract_init_dict(without_removed(config_dict), **kwargs)

    def to(self, *args, **kwargs):
        """Do as [`~torch.nn.Module.to`] does, but without a warning of Diffusers 0.42: it warns of modules that should
        stay in float32 even if there are none."""
        logger = logging.getLogger("diffusers.models.modeling_utils")
        logger.addFilter(_names_modules)
        try:
            return super().to(*args, **kwargs)
        finally:
            logger.removeFilter(_names_modules)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Size (bands, frames) of a patch."""
        size = self.config.out_channels
        exponent = size.bit_length() - 1
        if size != 2**exponent or self.config.in_channels % size:
            raise ValueError(
                "`out_channels` must be a power of two (bands × frames of a patch) and divide `in_channels`, got "
                f"out_channels={size}, in_channels={self.config.in_channels}"
            )
        bands = 2 ** (exponent // 2)
        return bands, size // bands

    @property
    def condition_channels(self) -> int:
        """Channels that `condition` must have."""
        return self.config.in_channels // self.config.out_channels - 1

    @property
    def frame_multiple(self) -> int:
        """Number of frames that patches and levels divide. Windows of a long recording start on this grid."""
        return self.patch_size[1] * 2 ** (len(self.config.block_out_channels) - 1)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | int,
        condition: torch.Tensor,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[torch.Tensor]:
        """Predict the scheduler's target for `sample`.

        Args:
            sample: Sample `(batch, 1, num_mel_bins, frames)`, noisy in the sense of the diffusion process.
            timestep: Timestep, one for all or `(batch,)`.
            condition: Condition `(batch, condition_channels, num_mel_bins, frames)`.
            return_dict: Whether to return a `UNet2DOutput` instead of a tuple.

        Returns:
            The prediction, shaped like `sample`.

        Raises:
            ValueError: if the shapes do not fit the model or each other.
        """
        if sample.ndim != 4 or sample.shape[1] != 1:
            raise ValueError(f"`sample` must be (batch, 1, bands, frames), got {tuple(sample.shape)}")
        expected = (sample.shape[0], self.condition_channels, *sample.shape[2:])
        if tuple(condition.shape) != expected:
            raise ValueError(f"`condition` must be {expected} for this `sample`, got {tuple(condition.shape)}")

        num_bands, num_frames = sample.shape[2:]
        band_multiple = self.patch_size[0] * 2 ** (len(self.config.block_out_channels) - 1)
        hidden = torch.cat([sample, condition], dim=1)
        hidden = F.pad(hidden, (0, -num_frames % self.frame_multiple, 0, -num_bands % band_multiple))
        hidden = fold_patches(hidden, self.patch_size)
        hidden = super().forward(hidden, timestep, return_dict=False)[0]
        prediction = unfold_patches(hidden, self.patch_size)[..., :num_bands, :num_frames]
        return UNet2DOutput(sample=prediction) if return_dict else (prediction,)


def _names_modules(record: logging.LogRecord) -> bool:
    return "should be kept in float32: []" not in record.getMessage()


def fold_patches(maps: torch.Tensor, patch_size: tuple[int, int]) -> torch.Tensor:
    """`(batch, C, bands, frames)` → `(batch, C·f·t, bands / f, frames / t)`: pixel-unshuffle for oblong patches."""
    batch, channels, bands, frames = maps.shape
    f, t = patch_size
    maps = maps.reshape(batch, channels, bands // f, f, frames // t, t)
    return maps.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * f * t, bands // f, frames // t)


def unfold_patches(maps: torch.Tensor, patch_size: tuple[int, int]) -> torch.Tensor:
    """Inverse of [`fold_patches`]."""
    batch, channels, bands, frames = maps.shape
    f, t = patch_size
    maps = maps.reshape(batch, channels // (f * t), f, t, bands, frames)
    return maps.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // (f * t), bands * f, frames * t)


# `model_index.json` records this path. So the file may move, and published weights stay loadable.
ConditionalUNet2DModel.__module__ = "speech_enhance"
