"""One YAML file describes a training run; these are its fields."""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .mixing import MixingConfig
from .sources import SourceConfig


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Args:
        output_dir: Folder for checkpoints, logs and, at the end, the pipeline in `pipeline/`.
        speech, noise: Where clean speech and noise come from.
        rooms: Where room impulse responses come from, of which `mixing.room_share` makes use.
        validation_pairs: Parquet pattern, folder or Hub dataset with columns `clean` and `noisy`.
        validation_limit: Pairs used, evenly spread.
        validation_steps: Numbers of inference steps to validate with.
        mixing: How mixtures are made.
        unet: Arguments of `ConditionalUNet2DModel`.
        pipeline: Arguments of `SpeechEnhancementPipeline` beside its components.
        prediction_type: `v_prediction` or `sample`.
        terminal_share: Share of training draws at the last timestep, the one-step estimate.
        own_estimate_share: Share of the draws at timesteps from `own_estimate_first_timestep` on in which the noisy
            sample is built from the network's own estimate, as in sampling, instead of the truth.
        own_estimate_start_step: Optimiser step from which on that is done; earlier estimates are too poor.
        own_estimate_first_timestep: See above; below it little noise is left that could carry a correction.
        padded_share: Share of windows that reach past the end of their mixture.
        level_jitter_db: Standard deviation of the level around the level rule.
        seed: Of weights, mixtures, noise and timesteps.
        batch_size: Windows per process and forward pass.
        gradient_accumulation_steps: Forward passes per optimiser step.
        max_train_steps: Optimiser steps.
        learning_rate, lr_scheduler, lr_warmup_steps, weight_decay, max_grad_norm: Of AdamW and `get_scheduler`.
        ema_decay: Of the weights' moving average, which is what gets validated and exported.
        mixed_precision: `no`, `fp16` or `bf16`. On a CPU without AMX or AVX-512 use `no`: bf16 is ten times slower.
        num_workers: Processes that mix; each keeps its own cache of decoded audio.
        log_every, validate_every, checkpoint_every: In optimiser steps; 0 turns it off.
        keep_checkpoints: Older ones are deleted.
    """

    output_dir: str
    speech: list[SourceConfig]
    noise: list[SourceConfig]
    rooms: list[SourceConfig] = field(default_factory=list)
    validation_pairs: str | None = None
    validation_limit: int = 12
    validation_steps: list[int] = field(default_factory=lambda: [1, 4])
    mixing: MixingConfig = field(default_factory=MixingConfig)
    unet: dict[str, typing.Any] = field(default_factory=dict)
    pipeline: dict[str, typing.Any] = field(default_factory=dict)
    prediction_type: str = "v_prediction"
    terminal_share: float = 0.5
    own_estimate_share: float = 0.0
    own_estimate_start_step: int = 0
    own_estimate_first_timestep: int = 200
    padded_share: float = 0.15
    level_jitter_db: float = 2.0
    seed: int = 0
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    max_train_steps: int = 10000
    learning_rate: float = 6e-4
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = 200
    weight_decay: float = 1e-4
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    mixed_precision: str = "no"
    num_workers: int = 1
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500
    keep_checkpoints: int = 2

    def __post_init__(self):
        if bool(self.rooms) != (self.mixing.room_share > 0):
            raise ValueError(
                f"`rooms` has {len(self.rooms)} sources and mixing.room_share is {self.mixing.room_share}: give both or neither"
            )


def load_config(path: str | Path) -> TrainingConfig:
    """Read a YAML file into a [`TrainingConfig`]; see [`read_config`]."""
    return read_config(TrainingConfig, path)


def read_config(kind: type, path: str | Path):
    """Read a YAML file into the dataclass `kind`, which may hold others, lists and mappings of them.

    Raises:
        ValueError: if the file is no YAML, or for a missing or unknown field or one of the wrong type or value, named by
            its path in the file.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: no valid YAML ({' '.join(str(error).split())})") from None
    return _build(kind, content, str(path))


def _build(kind, value, where: str):
    """Build `kind` from plain YAML data; every error says where."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _build(next(item for item in arguments if item is not types.NoneType), value, where)
    if dataclasses.is_dataclass(kind):
        _expect(isinstance(value, dict), where, "a mapping", value)
        hints = typing.get_type_hints(kind)
        for name in value:
            if name not in hints:
                raise ValueError(f"{where}: unknown field {name!r}; known are {', '.join(hints)}")
        built = {name: _build(hints[name], item, f"{where}: {name}") for name, item in value.items()}
        try:
            return kind(**built)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
    if origin in (list, tuple):
        _expect(isinstance(value, list), where, "a list", value)
        return origin(_build(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), where, "a mapping", value)
        return {name: _build(arguments[1], item, f"{where}: {name}") for name, item in value.items()}
    if kind is float:
        _expect(isinstance(value, (int, float)) and not isinstance(value, bool), where, "a number", value)
        return float(value)
    _expect(isinstance(value, kind) and not (kind is int and isinstance(value, bool)), where, kind.__name__, value)
    return value


def _expect(condition: bool, where: str, expected: str, value) -> None:
    if not condition:
        raise ValueError(f"{where}: expected {expected}, got {value!r}")
