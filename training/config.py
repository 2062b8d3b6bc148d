"""One YAML file describes a training run; these are its fields. With `extends: FILE` it holds only what differs from
another."""

import dataclasses
import inspect
import math
import types
import typing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import yaml

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.jobs.file import first_line
from speech_enhance.metrics.reference import BASIC_METRICS
from speech_enhance.models.removed_settings import without_removed
from speech_enhance.models.schedulers import training_scheduler

from .bounds import COUNT, NOT_NEGATIVE, POSITIVE, SEED, Bounds, check_numbers
from .mixtures.degradation import DegradationConfig
from .mixtures.mixing import MixingConfig
from .mixtures.sources import SourceConfig
from .mixtures.tracks import TrackConfig
from .progress import CLOCKS

CHOICES = {
    "best_metric": tuple(BASIC_METRICS),
    "clock": tuple(CLOCKS),
    "prediction_type": ("v_prediction", "sample"),
    "optimizer": ("adamw", "muon"),
    "lr_scheduler": ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"),
    "mixed_precision": ("no", "fp16", "bf16"),
}
NUMBERS = {
    "validation_limit": COUNT,
    "own_pairs": NOT_NEGATIVE,
    "validation_steps": Bounds(1, 1000),
    "windows_per_mixture": COUNT,
    "own_estimate_start_step": NOT_NEGATIVE,
    "own_estimate_first_timestep": Bounds(0, 1000),
    "few_step_number": Bounds(1, 1000),
    "spectrum_loss_weight": NOT_NEGATIVE,
    "perceptual_loss_weight": NOT_NEGATIVE,
    "underestimation_weight": NOT_NEGATIVE,
    "loudness_weight_power": Bounds(0, 10),
    "level_jitter_db": Bounds(0, 60),
    "seed": SEED,
    "batch_size": COUNT,
    "gradient_accumulation_steps": COUNT,
    "max_train_steps": COUNT,
    "max_minutes": POSITIVE,
    "learning_rate": POSITIVE,
    "adamw_learning_rate": POSITIVE,
    "lr_warmup_steps": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "max_grad_norm": POSITIVE,
    "ema_decay": Bounds(0, 1, without_high=True),
    "num_workers": Bounds(0, 1000),
    "log_every": NOT_NEGATIVE,
    "validate_every": NOT_NEGATIVE,
    "checkpoint_every": NOT_NEGATIVE,
    "keep_checkpoints": COUNT,
    "snr_shift_db": Bounds(-60, 60),
    "carry_every_minutes": POSITIVE,
}
"""Bounds of the numbers; every `*_share` is a probability."""


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Args:
        output_dir: Folder for checkpoints, logs, the averaged weights so far and at the end in `pipeline/`, and the
            best ones in `pipeline-best/`.
        init_from: Pipeline folder whose weights the run starts from; its network must be that of `unet`, or have fewer
            layers a block: those that it lacks change nothing at first.
        speech, noise: Where clean speech and noise come from.
        pairs: Where recorded pairs come from, with columns `clean` and `noisy`.
        paired_share: Share of the examples that are crops of recorded pairs instead of mixtures.
        rooms: Where room impulse responses come from, of which `mixing.room_share` makes use.
        validation_pairs: Parquet pattern, folder or Hub dataset with columns `clean` and `noisy`.
        own_pairs: Pairs that the run mixes instead at its start, of recordings that training leaves out: those that
            `valid_share` of the first source of speech, and of noise, that has one keeps apart.
        validation_split: Split of a folder or Hub dataset.
        validation_limit: Pairs used, evenly spread.
        validation_steps: Numbers of inference steps to validate with.
        best_metric: `pesq`, `estoi` or `si_sdr`: what `pipeline-best/` is best in, at the first of `validation_steps`.
        model_card: YAML file of facts for `--push_to_hub`, such as `model_cards/own.yaml`.
        degradation: What is done to the mel of a mixture, for a model that mends mels of acoustic models (see
            `degradation.py`); needs a pipeline with `compression: log10`.
        mixing: How mixtures are made; `mixing.seconds` is also the length of crops of pairs.
        tracks: Mix on the device, out of ready tracks that many windows share (see `tracks.py`), for a GPU; mixtures
            are then made without `pairs`, `mixing.clip_share`, `mixing.channel_share`, `mixing.floor_share` and
            `mixing.noise_room_share`.
        windows_per_mixture: Examples in a row that are windows of one mixture, for a GPU that is faster than the mixing
            (Choi et al., "Faster Neural Network Training with Data Echoing", arXiv:1907.05550).
        unet: Arguments of `ConditionalUNet2DModel`.
        pipeline: Arguments of `SpeechEnhancementPipeline` beside its components.
        prediction_type: `v_prediction` or `sample`.
        snr_shift_db: Of the noise schedule, see [`zero_snr_betas`].
        terminal_share: Share of training draws at the last timestep, the one-step estimate.
        own_estimate_share: Share of the draws at timesteps from `own_estimate_first_timestep` on in which the network
            meets an estimate of its own, as in sampling: it is shown it with `pipeline.self_conditioning`, else the
            noisy sample is built from it instead of the truth.
        own_estimate_start_step: Optimiser step from which on that is done; earlier estimates are too poor.
        own_estimate_first_timestep: See above; below it little noise is left that could carry a correction.
        few_step_share: Share of the draws that train the end of `few_step_number` steps of sampling instead of one
            timestep (see [`sampled_estimate`]).
        few_step_number: Steps of those; of several numbers, each optimiser step takes the next.
        few_step_all_gradients: Whether their gradient goes through all steps instead of the last alone.
        stochastic_share: Share of those draws in which every step adds fresh noise instead of the noise that it found.
        spectrum_loss_weight: Of the error of the sound that those would end in (see [`spectrum_loss`]).
        perceptual_loss_weight: Of how different that sounds (see [`perceptual_disturbance`]), in points of opinion.
        underestimation_weight: How much more the error of those counts where the estimate lies below the truth.
        loudness_weight_power: An error counts in proportion to the noisy mel's value to this power; 0 for all alike.
        padded_share: Share of windows that reach past the end of their mixture.
        level_jitter_db: Standard deviation of the level around the level rule.
        seed: Of weights, mixtures, noise and timesteps.
        batch_size: Windows per process and forward pass.
        gradient_accumulation_steps: Forward passes per optimiser step.
        max_train_steps: Optimiser steps.
        max_minutes: Budget of time over all resumed parts; if it would end the run before `max_train_steps`, the
            learning rate follows the time instead of the steps, so that the schedule ends with the budget.
        clock: Of that budget: `wall`, or `cpu` for the main process's processor time, which makes runs on a machine
            that has other work comparable.
        optimizer: `adamw`, or `muon` for the matrices of hidden layers (see [`Muon`]) with AdamW for the rest.
        adamw_learning_rate: Of that rest, with `muon`.
        learning_rate, lr_scheduler, lr_warmup_steps, weight_decay, max_grad_norm: Of the optimiser and `get_scheduler`.
        ema_decay: Of the weights' moving average, which is what gets validated and exported.
        mixed_precision: `no`, `fp16` or `bf16`; takes effect on a GPU, `bf16` also on a CPU with AMX or AVX-512 BF16
            (without, it is ten times slower than `no`).
        num_workers: Processes that mix; each keeps its own cache of decoded audio.
        preload: Decode everything at the start, on all cores, into memory that the workers share (115 MB an hour at 16
            kHz).
        log_every, validate_every, checkpoint_every: In optimiser steps; 0 turns it off.
        keep_checkpoints: Older ones are deleted.
        carry_to: Folder for the averaged weights in pieces of at most 15 MiB, renewed every `carry_every_minutes`, for
            a machine that may vanish (see `carry.py`).
        carry_every_minutes: Minutes between two of them.
    """

    output_dir: str
    init_from: str | None = None
    speech: list[SourceConfig] = field(default_factory=list)
    noise: list[SourceConfig] = field(default_factory=list)
    pairs: list[SourceConfig] = field(default_factory=list)
    paired_share: float = 0.0
    rooms: list[SourceConfig] = field(default_factory=list)
    validation_pairs: str | None = None
    own_pairs: int = 0
    validation_split: str = "test"
    validation_limit: int = 12
    validation_steps: list[int] = field(default_factory=lambda: [1, 4])
    best_metric: str = "estoi"
    model_card: str | None = None
    degradation: DegradationConfig | None = None
    mixing: MixingConfig = field(default_factory=MixingConfig)
    tracks: TrackConfig | None = None
    windows_per_mixture: int = 1
    unet: dict[str, typing.Any] = field(default_factory=dict)
    pipeline: dict[str, typing.Any] = field(default_factory=dict)
    prediction_type: str = "v_prediction"
    snr_shift_db: float = 0.0
    terminal_share: float = 0.5
    own_estimate_share: float = 0.0
    own_estimate_start_step: int = 0
    own_estimate_first_timestep: int = 200
    few_step_share: float = 0.0
    few_step_number: int | list[int] = 4
    few_step_all_gradients: bool = False
    stochastic_share: float = 0.0
    spectrum_loss_weight: float = 0.0
    perceptual_loss_weight: float = 0.0
    underestimation_weight: float = 0.0
    loudness_weight_power: float = 0.0
    padded_share: float = 0.15
    level_jitter_db: float = 2.0
    seed: int = 0
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    max_train_steps: int = 10000
    max_minutes: float | None = None
    clock: str = "wall"
    optimizer: str = "adamw"
    learning_rate: float = 6e-4
    adamw_learning_rate: float = 6e-4
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = 200
    weight_decay: float = 1e-4
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    mixed_precision: str = "no"
    num_workers: int = 1
    preload: bool = False
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    carry_to: str | None = None
    carry_every_minutes: float = 3.0

    def __post_init__(self):
        check_numbers(self, **NUMBERS)
        for name, used in {
            "speech": self.paired_share < 1,
            "noise": self.paired_share < 1,
            "pairs": self.paired_share > 0,
        }.items():
            sources = getattr(self, name)
            _expect(
                bool(sources) == used,
                name,
                f"{'sources' if used else 'none'} at paired_share {self.paired_share}",
                sources,
            )
        _expect(
            bool(self.few_step_numbers), "few_step_number", "a whole number from 1, or several", self.few_step_number
        )
        for name in ("spectrum_loss_weight", "perceptual_loss_weight"):
            weight = getattr(self, name)
            _expect(self.few_step_share > 0 or weight == 0, name, "0 at few_step_share 0", weight)
        if self.own_pairs:
            _expect(self.validation_pairs is None, "validation_pairs", "none with own_pairs", self.validation_pairs)
            for name in ("speech", "noise"):
                apart = any(source.valid_share > 0 for source in getattr(self, name))
                _expect(apart, name, "a source with a valid_share above 0, for own_pairs", getattr(self, name))
        if self.tracks:
            _expect(self.paired_share == 0, "paired_share", "0 with tracks", self.paired_share)
            for name in ("clip_share", "channel_share", "floor_share", "noise_room_share"):
                share = getattr(self.mixing, name)
                _expect(share == 0, f"mixing.{name}", "0 with tracks, which are mixed on the device", share)
        for name, choices in CHOICES.items():
            _expect(getattr(self, name) in choices, name, f"one of {', '.join(choices)}", getattr(self, name))
        compression = self.pipeline.get("compression", "power")
        if self.degradation and compression != "log10":
            raise ValueError(f"degradation: needs pipeline: compression: log10, got {compression!r}")
        _expect(bool(self.validation_steps), "validation_steps", "at least one number", self.validation_steps)
        _expect(
            bool(self.rooms) == (self.mixing.room_share > 0),
            "rooms",
            f"{'none' if self.rooms else 'sources'} at mixing.room_share {self.mixing.room_share}",
            self.rooms,
        )

    @property
    def pairs_path(self) -> str | None:
        """Where the validation pairs are, `None` without any."""
        return str(Path(self.output_dir) / "own-pairs.parquet") if self.own_pairs else self.validation_pairs

    @property
    def few_step_numbers(self) -> list[int]:
        """`few_step_number` as the numbers that optimiser steps take in turn."""
        return self.few_step_number if isinstance(self.few_step_number, list) else [self.few_step_number]


def load_config(path: str | Path) -> TrainingConfig:
    """Read a YAML file into a [`TrainingConfig`] (see [`read_config`]) whose network and pipeline can be made.

    Raises:
        ValueError: for what cannot be read, or arguments that these do not take.
    """
    config = read_config(TrainingConfig, path)
    try:
        config = dataclasses.replace(
            config, unet=without_removed(config.unet), pipeline=without_removed(config.pipeline)
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    with torch.device("meta"):  # which takes no memory
        unet = _make(ConditionalUNet2DModel, config.unet, f"{path}: unet")
    components = {
        "unet": unet,
        "scheduler": training_scheduler(config.prediction_type, snr_shift_db=config.snr_shift_db),
    }
    _make(partial(SpeechEnhancementPipeline, **components), config.pipeline, f"{path}: pipeline")
    return config


def _make(kind, arguments: dict, where: str):
    """`kind(**arguments)`; every error says where."""
    known = [name for name in inspect.signature(kind).parameters if name not in ("args", "kwargs")]
    if isinstance(kind, partial):
        known = [name for name in known if name not in (*kind.keywords, "vocoder")]
    for name in arguments:
        if name not in known:
            raise ValueError(f"{where}: unknown field {name!r}; known are {', '.join(known)}")
    try:
        return kind(**arguments)
    except Exception as error:  # of Diffusers and PyTorch, of any class
        raise ValueError(f"{where}: {first_line(error)}") from error


Kind = typing.TypeVar("Kind")


def read_config(kind: type[Kind], path: str | Path) -> Kind:
    """Read a YAML file (see [`read_yaml`]) into the dataclass `kind`, which may hold others, lists and mappings of
    them.

    Raises:
        ValueError: if the file is no YAML, or for a missing or unknown field or one of the wrong type or value, named
            by its path in the file.
    """
    return _build(kind, read_yaml(path), str(path))


def read_yaml(path: str | Path, extended_by: tuple[Path, ...] = ()):
    """The content of a YAML file. A file with `extends: FILE` has all of that file, whose path is relative to it,
    except for the entries that differ; mappings are merged, lists are replaced.

    Raises:
        ValueError: if a file is no YAML or extends itself.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: no valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or "extends" not in content:
        return content
    files = (*extended_by, Path(path).resolve())
    _expect(isinstance(content["extends"], str), f"{path}: extends", "the path of a file", content["extends"])
    base = files[-1].parent / content.pop("extends")
    _expect(base.resolve() not in files, f"{path}: extends", "a file that does not extend this one", str(base))
    extended = read_yaml(base, files)
    _expect(isinstance(extended, dict), f"{base}", "a mapping", extended)
    return _merge(extended, content)


def _merge(base: dict, changes: dict) -> dict:
    merged = base | changes
    for name in base.keys() & changes.keys():
        if isinstance(base[name], dict) and isinstance(changes[name], dict):
            merged[name] = _merge(base[name], changes[name])
    return merged


def _build(kind, value, where: str) -> typing.Any:
    """Build `kind` from plain YAML data; every error says where."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        choices = [item for item in arguments if item is not types.NoneType]
        lists = [item for item in choices if typing.get_origin(item) is list]
        return _build(lists[0] if lists and isinstance(value, list) else choices[0], value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        _expect(isinstance(value, dict), where, "a mapping", value)
        hints = typing.get_type_hints(kind)
        for name in value:
            if name not in hints:
                raise ValueError(f"{where}: unknown field {name!r}; known are {', '.join(hints)}")
        fields = {name: _build(hints[name], item, f"{where}: {name}") for name, item in value.items()}
        try:
            return kind(**fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
    if origin in (list, tuple):
        _expect(isinstance(value, list), where, "a list", value)
        return origin(_build(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), where, "a mapping", value)
        return {name: _build(arguments[1], item, f"{where}: {name}") for name, item in value.items()}
    if kind is float:
        finite = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        _expect(finite, where, "a number", value)
        return float(value)
    _expect(isinstance(value, kind) and not (kind is int and isinstance(value, bool)), where, kind.__name__, value)
    return value


def _expect(condition: bool, where: str, expected: str, value) -> None:
    if not condition:
        raise ValueError(f"{where}: expected {expected}, got {value!r}")
