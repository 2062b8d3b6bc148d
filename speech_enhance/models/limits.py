"""Allowed settings of a model: types, ranges, and bounds on the products of settings, which decide about memory.

The bounds are far above those of any sensible model (SECURITY.md has the reasons). They are checked before anything is
built, so that a configuration of a few bytes cannot ask for all of the memory.
"""

import inspect
import math
import re
import types
import typing
from collections import OrderedDict
from collections.abc import Mapping

RANGES: dict[str, tuple[float, float]] = {  # lowest and highest, both allowed
    # pipeline
    "sampling_rate": (1000, 192_000),
    "n_fft": (2, 2**15),
    "win_length": (2, 2**15),
    "hop_length": (1, 2**14),
    "num_mel_bins": (1, 1024),
    "mel_power": (0.01, 10),
    "mel_scale": (1e-6, 1e6),
    "level": (1e-6, 100),
    "min_frequency": (0, 96_000),
    "max_frequency": (1, 96_000),
    "mel_floor": (1e-20, 1),
    "window_frames": (1, 2**14),
    "overlap_frames": (0, 2**13),
    "noise_floor_span": (8, 2**14),
    "noise_floor_block": (8, 2**14),
    "gain_power": (0.01, 100),
    "residual_scale": (1e-6, 1e6),
    "gain_exponent": (0.01, 100),
    "num_views": (1, 64),
    "frequency_warp": (1, 4),
    # network
    "sample_size": (1, 2**16),
    "in_channels": (1, 2**13),
    "out_channels": (1, 2**12),
    "block_out_channels": (1, 2**13),
    "layers_per_block": (1, 16),
    "time_embedding_dim": (1, 2**14),
    "attention_head_dim": (1, 2**12),
    "norm_num_groups": (1, 2**12),
    "attn_norm_num_groups": (1, 2**12),
    "num_class_embeds": (1, 2**12),
    "downsample_padding": (0, 1),
    "freq_shift": (0, 1),
    "norm_eps": (0, 1),
    "num_bands": (1, 1024),
    "memory_channels": (1, 2**12),
    "num_memory_layers": (1, 16),
    "history_frames": (0, 64),
    "look_ahead_frames": (0, 64),
    "dropout": (0, 1),
    # scheduler
    "num_train_timesteps": (1, 10_000),
    "trained_betas": (0, 1),
    "beta_start": (0, 1),
    "beta_end": (0, 1),
    "solver_order": (1, 8),
    "predictor_order": (1, 8),
    "corrector_order": (1, 8),
    "original_inference_steps": (1, 10_000),
    "disable_corrector": (0, 10_000),
    "lambda_min_clipped": (-math.inf, 1e4),  # Diffusers' default is no bound
    # vocoder
    "model_in_dim": (1, 1024),
    "upsample_initial_channel": (1, 2**13),
    "upsample_rates": (1, 64),
    "upsample_kernel_sizes": (1, 128),
    "resblock_kernel_sizes": (1, 64),
    "resblock_dilation_sizes": (1, 64),
    "leaky_relu_slope": (0, 1),
    "initializer_range": (0, 1),
}
OTHER_RANGES = {int: (0, 1000), float: (-1e4, 1e4)}
LONGEST_LISTS = {"trained_betas": 10_000, "disable_corrector": 10_000}
OTHER_LISTS = 8  # values of any other list: levels of a network or of a vocoder
MOST_LAYERS = 64  # levels × layers of each
MOST_FILTER_VALUES = 2**22  # n_fft × bands × views
MOST_WINDOW_VALUES = 2**19  # frames × bands of a window
MOST_BUFFER_VALUES = 2**24  # frames that are held × n_fft
MOST_OVERLAP = 32  # frames that share a sample
_NAME = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_STRING = re.compile(r"[\w .+:-]{0,64}", re.ASCII)


def check_settings(values: Mapping, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Raise `ValueError` unless every one of `values` is of its parameter's type and in its range (see [`RANGES`]).

    Args:
        values: Settings by name. A setting that is no parameter gets only the checks that hold for every setting.
        parameters: Parameters of the constructor that will get the settings.
    """
    for name, value in values.items():
        if name not in parameters and (not _NAME.fullmatch(name) or hasattr(OrderedDict, name)):
            raise ValueError(f"{name[:100]!r} is no name of a setting")  # Diffusers makes attributes of all of them
        kinds = setting_kinds(parameters[name]) if name in parameters else {int, float, str, bool, type(None)}
        if isinstance(value, (list, tuple)):
            _check_list(name, value, kinds)
        else:
            _check_scalar(name, value, kinds)


def setting_kinds(parameter: inspect.Parameter) -> set[type]:
    """Types that a parameter takes, by its annotation and its default; a tuple counts as a list."""
    kinds, pending = {type(parameter.default)} - {type}, [parameter.annotation]
    while pending:
        item = pending.pop()
        origin = typing.get_origin(item)
        if origin in (typing.Union, types.UnionType):
            pending.extend(typing.get_args(item))
        elif origin is typing.Literal:
            kinds |= {type(choice) for choice in typing.get_args(item)}
        elif isinstance(origin or item, type) and item is not inspect.Parameter.empty:
            kinds.add(origin or item)
    return {list if kind is tuple else kind for kind in kinds}


def _check_scalar(name: str, value, kinds: set[type]) -> None:
    if value is None:
        if type(None) not in kinds:
            raise ValueError(f"`{name}` must not be None")
    elif isinstance(value, bool):
        if bool not in kinds:
            raise ValueError(f"`{name}` must not be a truth value, got {value}")
    elif isinstance(value, str):
        if str not in kinds or not _STRING.fullmatch(value):
            raise ValueError(f"`{name}` must be {_names(kinds)}, got {value[:100]!r}")
    elif (isinstance(value, int) and kinds & {int, float}) or (isinstance(value, float) and float in kinds):
        _check_range(name, value)
    else:
        raise ValueError(f"`{name}` must be {_names(kinds)}, got {_shown(value)}")


def _check_range(name: str, value: float) -> None:
    lowest, highest = RANGES.get(name) or OTHER_RANGES[type(value)]
    if not lowest <= value <= highest:
        raise ValueError(f"`{name}` must be from {lowest} to {highest}, got {_shown(value)}")


def _check_list(name: str, values, kinds: set[type]) -> None:
    if list not in kinds:
        raise ValueError(f"`{name}` must be {_names(kinds)}, got a list")
    longest = LONGEST_LISTS.get(name, OTHER_LISTS)
    if len(values) > longest:
        raise ValueError(f"`{name}` must have at most {longest} entries, got {len(values)}")
    of_lists = name == "resblock_dilation_sizes"
    entries = {list} if of_lists else {str} if name.endswith("_types") else {int, float}
    for value in values:
        if of_lists and isinstance(value, (list, tuple)) and len(value) <= OTHER_LISTS:
            for item in value:
                _check_scalar(name, item, {int})
        else:
            _check_scalar(name, value, entries if name == "trained_betas" else entries - {float})


def _names(kinds: set[type]) -> str:
    known = {int: "a whole number", float: "a number", str: "a short name", bool: "a truth value"}
    known |= {list: "a list", type(None): "None"}
    return " or ".join(name for kind, name in known.items() if kind in kinds) or "left out"


def _shown(value) -> str:
    if isinstance(value, int) and abs(value) > 10**18:
        return "a number of many digits"
    text = repr(value) if isinstance(value, (int, float)) else type(value).__name__
    return text if len(text) <= 100 else f"{text[:100]}…"


def check_pipeline_sizes(settings: Mapping) -> None:
    """Raise `ValueError` if a pipeline's settings, each in its range, together ask for too much memory."""
    filters = settings["n_fft"] * settings["num_mel_bins"] * settings["num_views"]
    frames = settings["window_frames"] + settings["noise_floor_span"] + settings["noise_floor_block"]
    sizes = {
        "`n_fft` × `num_mel_bins` × `num_views`": (filters, MOST_FILTER_VALUES),
        "`window_frames` × `num_mel_bins`": (settings["window_frames"] * settings["num_mel_bins"], MOST_WINDOW_VALUES),
        "(`window_frames` + `noise_floor_span` + `noise_floor_block`) × `n_fft`": (
            frames * settings["n_fft"],
            MOST_BUFFER_VALUES,
        ),
        "`n_fft` / `hop_length`": (settings["n_fft"] / settings["hop_length"], MOST_OVERLAP),
    }
    for name, (value, highest) in sizes.items():
        if value > highest:
            raise ValueError(f"{name} must be at most {highest}, got {value:g}")


def check_network_sizes(config: Mapping) -> None:
    """Raise `ValueError` if a network's settings, each in its range, ask for too many layers."""
    levels, layers = len(config.get("block_out_channels", ())), config.get("layers_per_block", 1)
    if levels * layers > MOST_LAYERS:
        raise ValueError(
            f"`block_out_channels` × `layers_per_block` must be at most {MOST_LAYERS} layers, got {levels * layers}"
        )


def check_schedule(config: Mapping) -> None:
    """Raise `ValueError` unless a scheduler's configuration has a noise schedule for each of its timesteps."""
    betas, timesteps = config.get("trained_betas"), config.get("num_train_timesteps", 1000)
    if betas is not None and len(betas) != timesteps:
        raise ValueError(
            f"`trained_betas` must be {timesteps} numbers, as `num_train_timesteps` says, got {len(betas)}"
        )
