"""The fields of the YAML file that describes a training run of the enhancer."""

import dataclasses
import inspect
import typing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.jobs.file import first_line
from speech_enhance.metrics.reference import BASIC_METRICS
from speech_enhance.models.networks import DEFAULT_NETWORK, network_class
from speech_enhance.models.removed_settings import without_removed
from speech_enhance.models.schedulers import training_scheduler

from .bounds import COUNT, NOT_NEGATIVE, POSITIVE, SEED, Bounds, check_numbers
from .config_file import expect, read_config
from .config_file import read_yaml as read_yaml
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
        output_dir: Folder for checkpoints and logs. Its folder `pipeline/` holds the averaged weights so far, and
            `pipeline-best/` the best ones.
        init_from: Pipeline folder whose weights the run starts from. Its network must be that of `unet`, but may have
            fewer layers a block: the layers that it lacks change nothing at first.
        speech, noise: Sources of clean speech and of noise.
        pairs: Sources of recorded pairs, with columns `clean` and `noisy`.
        paired_share: Share of the examples that are crops of recorded pairs instead of mixtures.
        rooms: Sources of room impulse responses, for `mixing.room_share`.
        validation_pairs: Parquet pattern, folder or Hub dataset with columns `clean` and `noisy`.
        own_pairs: Number of pairs that the run mixes at its start in place of `validation_pairs`. Their recordings do
            not train: the first source of speech with a `valid_share`, and the first such source of noise, keep them
            apart.
        validation_split: Split of a folder or Hub dataset.
        validation_limit: Number of pairs used, evenly spread.
        validation_steps: Numbers of inference steps to validate with.
        best_metric: Metric by which `pipeline-best/` is chosen, at the first of `validation_steps`: `pesq`, `estoi` or
            `si_sdr`.
        model_card: YAML file of facts for `--push_to_hub`, such as `model_cards/own.yaml`.
        degradation: Degradation of the mels of mixtures, for a model that mends mels of acoustic models (see
            `degradation.py`). It needs a pipeline with `compression: log10`.
        mixing: Settings of the mixtures. `mixing.seconds` is also the length of crops of pairs.
        tracks: Settings of mixing on the device, which suits a GPU: many windows share ready tracks (see `tracks.py`).
            Mixtures are then made without `pairs`, `mixing.clip_share`, `mixing.channel_share`, `mixing.floor_share`
            and `mixing.noise_room_share`.
        windows_per_mixture: Examples in a row that are windows of one mixture, for a GPU that is faster than the mixing
            (Choi et al., "Faster Neural Network Training with Data Echoing", arXiv:1907.05550).
        unet: Arguments of the network. `_class_name` says which it is: `ConditionalUNet2DModel` without it, or
            `CausalUNet2DModel` for live sound.
        pipeline: Arguments of `SpeechEnhancementPipeline` beside its components.
        prediction_type: Type of the prediction, `v_prediction` or `sample`.
        snr_shift_db: Shift of the noise schedule, see [`zero_snr_betas`].
        terminal_share: Share of training draws at the last timestep, the one-step estimate.
        own_estimate_share: Share of the draws in which the network meets an estimate of its own, as in sampling. With
            `pipeline.self_conditioning` it is shown the estimate; otherwise the noisy sample is built from the estimate
            instead of the truth.
        own_estimate_start_step: First optimiser step with such draws; earlier estimates are too poor.
        own_estimate_first_timestep: First timestep with such draws; below it too little noise is left to correct.
        few_step_share: Share of the draws that train the end of `few_step_number` steps of sampling instead of one
            timestep (see [`sampled_estimate`]).
        few_step_number: Number of those steps. Optimiser steps take turns if there are several numbers.
        few_step_all_gradients: Whether the gradient goes through all of those steps instead of the last one alone.
        stochastic_share: Share of those draws in which each step adds fresh noise instead of the noise that it found.
        spectrum_loss_weight: Weight of the error of the sound after those steps (see [`spectrum_loss`]).
        perceptual_loss_weight: Weight of the audible difference of that sound, in points of opinion (see
            [`perceptual_disturbance`]).
        underestimation_weight: Additional weight of an error after those steps where the estimate lies below the truth.
        loudness_weight_power: Power of the noisy mel by which errors are weighted; 0 weighs all errors alike.
        padded_share: Share of windows that reach past the end of their mixture.
        level_jitter_db: Standard deviation of the level around the level rule.
        seed: Seed of weights, mixtures, noise and timesteps.
        batch_size: Windows per process and forward pass.
        gradient_accumulation_steps: Forward passes per optimiser step.
        max_train_steps: Number of optimiser steps.
        max_minutes: Budget of time over all resumed parts. If it would end the run before `max_train_steps`, the
            learning rate follows the time instead of the steps, so that the schedule ends with the budget.
        clock: Clock of the time budget: `wall`, or `cpu` for the processor time of the main process, which makes runs
            comparable on a machine that has other work.
        optimizer: Name of the optimiser: `adamw`, or `muon` for the matrices of hidden layers (see [`Muon`]) with AdamW
            for the rest.
        adamw_learning_rate: Learning rate of AdamW, with `muon`.
        learning_rate, lr_scheduler, lr_warmup_steps: Learning rate, and its schedule by Diffusers' `get_scheduler`.
        weight_decay, max_grad_norm: Weight decay, and the norm to which gradients are clipped.
        ema_decay: Decay of the moving average of the weights. The average is what is validated and exported.
        mixed_precision: Precision, `no`, `fp16` or `bf16`. It takes effect on a GPU; `bf16` also on a CPU with AMX or
            AVX-512 BF16 (on others it is ten times slower than `no`).
        num_workers: Number of processes that mix. Each keeps its own cache of decoded audio.
        preload: Whether everything is decoded at the start, on all cores, into memory that the workers share (115 MB an
            hour at 16 kHz).
        log_every, validate_every, checkpoint_every: Numbers of optimiser steps between two log lines, validations and
            checkpoints. With 0, each happens at the end of the run alone; validation also happens at its start.
        keep_checkpoints: Number of checkpoints kept; older ones are deleted.
        carry_to: Folder for the averaged weights in pieces of at most 15 MiB, for a machine that may vanish (see
            `carry.py`).
        carry_every_minutes: Minutes between two renewals of those pieces.
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
            expect(
                bool(sources) == used,
                name,
                f"{'sources' if used else 'none'} at paired_share {self.paired_share}",
                sources,
            )
        expect(
            bool(self.few_step_numbers), "few_step_number", "a whole number from 1, or several", self.few_step_number
        )
        for name in ("spectrum_loss_weight", "perceptual_loss_weight"):
            weight = getattr(self, name)
            expect(self.few_step_share > 0 or weight == 0, name, "0 at few_step_share 0", weight)
        if self.own_pairs:
            expect(self.validation_pairs is None, "validation_pairs", "none with own_pairs", self.validation_pairs)
            for name in ("speech", "noise"):
                apart = any(source.valid_share > 0 for source in getattr(self, name))
                expect(apart, name, "a source with a valid_share above 0, for own_pairs", getattr(self, name))
        if self.tracks:
            expect(self.paired_share == 0, "paired_share", "0 with tracks", self.paired_share)
            for name in ("clip_share", "channel_share", "floor_share", "noise_room_share"):
                share = getattr(self.mixing, name)
                expect(share == 0, f"mixing.{name}", "0 with tracks, which are mixed on the device", share)
        for name, choices in CHOICES.items():
            expect(getattr(self, name) in choices, name, f"one of {', '.join(choices)}", getattr(self, name))
        compression = self.pipeline.get("compression", "power")
        if self.degradation and compression != "log10":
            raise ValueError(f"degradation: needs pipeline: compression: log10, got {compression!r}")
        expect(bool(self.validation_steps), "validation_steps", "at least one number", self.validation_steps)
        expect(
            bool(self.rooms) == (self.mixing.room_share > 0),
            "rooms",
            f"{'none' if self.rooms else 'sources'} at mixing.room_share {self.mixing.room_share}",
            self.rooms,
        )

    @property
    def pairs_path(self) -> str | None:
        """Path of the validation pairs, `None` without any."""
        return str(Path(self.output_dir) / "own-pairs.parquet") if self.own_pairs else self.validation_pairs

    @property
    def few_step_numbers(self) -> list[int]:
        """The values of `few_step_number` as a list; optimiser steps use them in turn."""
        return self.few_step_number if isinstance(self.few_step_number, list) else [self.few_step_number]


def load_config(path: str | Path) -> TrainingConfig:
    """Read a YAML file into a [`TrainingConfig`] (see [`read_config`]) whose network and pipeline can be made.

    Raises:
        ValueError: if the file cannot be read, or if the network or the pipeline does not take its arguments.
    """
    config = read_config(TrainingConfig, path)
    try:
        config = dataclasses.replace(
            config, unet=without_removed(config.unet), pipeline=without_removed(config.pipeline)
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    with torch.device("meta"):  # this device takes no memory
        unet = make_network(config.unet, f"{path}: unet")
    components = {
        "unet": unet,
        "scheduler": training_scheduler(config.prediction_type, snr_shift_db=config.snr_shift_db),
    }
    _make(partial(SpeechEnhancementPipeline, **components), config.pipeline, f"{path}: pipeline")
    return config


def make_network(settings: dict, where: str = "unet"):
    """The network of a config's `unet`.

    Raises:
        ValueError: for an unknown network or settings that it does not take; the message begins with `where`.
    """
    arguments = dict(settings)
    try:
        kind = network_class(arguments.pop("_class_name", DEFAULT_NETWORK))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return _make(kind, arguments, where)


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
    except Exception as error:  # Diffusers and PyTorch raise errors of any class
        raise ValueError(f"{where}: {first_line(error)}") from error
