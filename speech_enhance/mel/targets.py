"""The diffusion's sample: the clean mel relative to the noisy one."""

import inspect
from dataclasses import dataclass

import torch

from ..models.limits import check_settings

_EPSILON = 1e-4  # value of the compressed mel below which a band is silent


@dataclass(frozen=True)
class MelTarget:
    """The map between a clean mel and the diffusion's sample, both shaped like the noisy mel.

    A `"gain"` says which share of every band is speech, on a scale from -1 (none) to 1 (all). A `"residual"` says what
    must be added to the noisy mel. Where the recording must stay as it is, both are constant, so the network need not
    copy its input through patches. A gain is also constant where there is only noise to remove. A residual can also
    add what the noisy mel lacks.

    Args:
        kind: Kind of target, `"gain"` or `"residual"`.
        gain_power: Power of the gain, which is a ratio of compressed mels. A larger power spends the network's
            precision on gains near 1, that is, on speech; a smaller one spends it on how far noise is turned down.
            With 1 / `mel_power` the result is the ratio of magnitudes.
        residual_scale: Divisor of the residual.

    Raises:
        ValueError: for an unknown kind or a number out of its range (see [`RANGES`]).
    """

    kind: str = "gain"
    gain_power: float = 2.5
    residual_scale: float = 0.4

    def __post_init__(self):
        if self.kind not in ("gain", "residual"):
            raise ValueError(f'`target` must be "gain" or "residual", got {self.kind!r}')
        numbers = {name: value for name, value in vars(self).items() if name != "kind"}
        check_settings(numbers, inspect.signature(MelTarget).parameters)

    def encode(self, clean_mel: torch.Tensor, noisy_mel: torch.Tensor) -> torch.Tensor:
        """The diffusion's sample for a clean mel. A gain is at most 1: where speech and noise cancel, nothing is
        added."""
        if self.kind == "residual":
            return (clean_mel - noisy_mel) / self.residual_scale
        gain = ((clean_mel + _EPSILON) / (noisy_mel + _EPSILON)).clamp(max=1)
        return 2 * gain.pow(self.gain_power) - 1

    def decode(self, sample: torch.Tensor, noisy_mel: torch.Tensor) -> torch.Tensor:
        """The clean mel that a generated sample stands for, never below silence."""
        if self.kind == "residual":
            return (noisy_mel + self.residual_scale * sample).clamp(min=0)
        return ((sample + 1) / 2).clamp(0, 1).pow(1 / self.gain_power) * noisy_mel
