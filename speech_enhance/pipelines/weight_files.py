"""Checks the weights of a component from elsewhere: which file is loaded, what its header says, and whether they fit.

Only headers are read, of at most a megabyte. The component is built and run on PyTorch's `meta` device, which knows
only shapes and needs no memory for values. So a configuration cannot ask for more than is allowed.
"""

import math
import stat
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WEIGHT_FILES = {"unet": "diffusion_pytorch_model", "vocoder": "model"}  # names that Diffusers and transformers use
NOT_LOADED = ("*index*.json", "adapter_config.json")  # they would name other files, or another model, to load
LONGEST_HEADER = 2**20
MOST_WEIGHTS = 2**30
MOST_VALUES = 2**26  # of a single tensor while one window is computed: 256 MB
FLOATS = ("F16", "BF16", "F32", "F64")


def check_weights(folder: Path, variant: str | None, make_empty: Callable, try_out: Callable) -> None:
    """Refuse a component whose weights are incomplete or do not fit its configuration. Loaders would fill missing
    weights with random values.

    Args:
        folder: Folder of the component.
        variant: Variant of the weights, such as `fp16`.
        make_empty: Function that builds the component from its configuration.
        try_out: Function that runs it once; called with the component on the `meta` device.

    Raises:
        OSError: if the file of weights is missing or damaged.
        ValueError: if it does not fit the configuration, or the folder names other files to load.
    """
    for pattern in NOT_LOADED:
        for path in folder.glob(pattern):
            raise ValueError(f"{path} names other files or models; all weights must be in one safetensors file")
    try:
        with torch.device("meta"):
            component = make_empty().eval()
    except Exception as error:  # whatever an impossible network raises
        raise ValueError(f"{folder / 'config.json'} describes no network ({_reason(error)})") from error
    expected = {name: list(tensor.shape) for name, tensor in component.state_dict().items()}
    for path in _weight_files(folder, variant):
        found = read_header(path)
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise ValueError(
                    f"{folder}: {name[:200]} should be of shape {expected.get(name)} by config.json, the weights have "
                    f"{found.get(name)}; these files do not belong together"
                )
    try:
        with torch.no_grad(), _BoundedTensors():
            try_out(component)
    except Exception as error:
        raise ValueError(f"{folder / 'config.json'} describes a network that cannot run ({_reason(error)})") from error


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    """Files of which the loaders take one: the file of the variant, or the plain one if there is none."""
    name = WEIGHT_FILES[folder.name]
    names = [f"{name}.{variant}.safetensors"] if variant else []
    names.append(f"{name}.safetensors")
    files = [folder / name for name in names if (folder / name).exists()]
    if not files:
        asked = f" (asked for by variant={variant})" if variant else ""
        raise OSError(
            f"{folder.parent} has no {folder.name}/{names[0]}{asked}: weights are loaded from safetensors only, "
            "never from a "
            "pickle"
        )
    return files


def variant_to_load(folder: Path, variant: str | None) -> str | None:
    """The variant that loaders should look for in a pipeline's folder. It is `None` instead of `"fp16"` if there are no
    such files but the plain ones are already in half precision."""
    if variant != "fp16" or any(folder.glob(f"*/*.{variant}.safetensors")):
        return variant
    plain = [folder / name / f"{stem}.safetensors" for name, stem in WEIGHT_FILES.items()]
    types = {kind for path in plain if path.exists() for kind in read_types(path)}
    return None if types == {"F16"} else variant


def read_types(path: Path) -> set[str]:
    """Types of the tensors in a safetensors file, such as `F16`."""
    from safetensors import safe_open

    with safe_open(path, "pt") as weights:
        return {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 - it is no dict


def read_header(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a safetensors file, by name.

    Raises:
        OSError: if the file is damaged.
        ValueError: if it is no regular file, has too many weights, or has weights that are not floating-point numbers.
    """
    from safetensors import SafetensorError, safe_open

    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is no regular file")
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > LONGEST_HEADER:
        raise OSError(
            f"{path} is damaged or no file of a model: its header would have {size} bytes; get it again with "
            "force_download=True"
        )
    found = {}
    try:
        with safe_open(path, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no dict
                part = weights.get_slice(name)
                if part.get_dtype() not in FLOATS:
                    raise ValueError(f"{path}: {name[:200]} is of type {part.get_dtype()}, not floating point")
                found[name] = part.get_shape()
    except (SafetensorError, OSError) as error:
        raise OSError(f"{path} is damaged ({error}); get it again with force_download=True") from None
    if sum(map(math.prod, found.values())) > MOST_WEIGHTS:
        raise ValueError(f"{path} has more than {MOST_WEIGHTS} weights")
    return found


class _BoundedTensors(TorchDispatchMode):
    """Raises `ValueError` for a result of more than [`MOST_VALUES`] values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, (list, tuple)) else [result]:
            if torch.is_tensor(item) and item.numel() > MOST_VALUES:
                raise ValueError(f"a window would need a tensor of shape {list(item.shape)}")
        return result


def _reason(error: Exception) -> str:
    """The reason of an error, in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def check_loaded(component, place: str) -> None:
    """Raise `ValueError` unless all weights of a loaded component are finite."""
    if isinstance(component, torch.nn.Module):
        for name, tensor in component.state_dict().items():
            if not (tensor.is_meta or tensor.isfinite().all()):
                raise ValueError(f"{place}: {name} holds NaN or infinite weights")
