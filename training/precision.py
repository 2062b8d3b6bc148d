"""The precision in which this machine trains."""

import warnings

import torch

from speech_enhance.models.precision import is_bfloat16_fast


def usable_precision(mixed_precision: str) -> str:
    """The precision to train in: `mixed_precision` if this machine is fast in it, otherwise `no`, with a warning.

    GPUs are fast in all precisions. Some CPUs are fast in `bf16` (see [`is_bfloat16_fast`]): a step then takes 0.57 of
    the time that it takes in `no`.
    """
    if mixed_precision == "no" or torch.cuda.is_available():
        return mixed_precision
    if mixed_precision == "bf16" and is_bfloat16_fast("cpu"):
        return mixed_precision
    warnings.warn(f"mixed_precision: {mixed_precision} is slow on this processor; using 'no'", stacklevel=2)
    return "no"
