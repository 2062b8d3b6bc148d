"""The number formats in which a network computes."""

import torch


def is_bfloat16_fast(device: torch.device | str) -> bool:
    """Return whether `device` multiplies in bfloat16, as GPUs and CPUs with AMX or AVX-512 BF16 do. Other CPUs emulate
    it and are ten times slower than in float32."""
    if torch.device(device).type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
