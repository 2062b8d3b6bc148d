"""The batches of a training run."""

import os
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from speech_enhance import SpeechEnhancementPipeline

from ..config import TrainingConfig
from .examples import TrainingExamples
from .tracks import PairedTracks


class TrainingBatches:
    """Batches of [`TrainingExamples`], or of [`PairedTracks`] if the configuration has `tracks`, on the device.

    Args:
        config: Configuration of the run.
        pipeline: The pipeline that is trained, for its mel, window and timesteps.
        accelerator: The processes that share the examples.

    Raises:
        OSError, ValueError: if the recordings cannot be read or do not fit the configuration.
    """

    def __init__(self, config: TrainingConfig, pipeline: SpeechEnhancementPipeline, accelerator: Accelerator):
        self.config, self.accelerator = config, accelerator
        shape = pipeline.mel_config, pipeline.config.window_frames, pipeline.scheduler.config.num_train_timesteps
        if config.tracks:
            process = accelerator.process_index, accelerator.num_processes
            self.examples = PairedTracks(config, *shape, accelerator.device, process)
            return
        windows_per_step = config.batch_size * config.gradient_accumulation_steps * accelerator.num_processes
        loader = DataLoader(
            TrainingExamples(config, *shape, length=windows_per_step * config.max_train_steps),
            batch_size=config.batch_size,
            num_workers=config.num_workers,
            pin_memory=accelerator.device.type == "cuda",
            generator=torch.Generator(),  # starting the workers draws a number, which would shift the run's own
            worker_init_fn=_give_way,
        )
        self.examples = accelerator.prepare(loader)

    def after(self, global_step: int) -> Iterable[dict[str, torch.Tensor]]:
        """The batches that follow optimiser step `global_step`."""
        forward_steps = global_step * self.config.gradient_accumulation_steps
        if self.config.tracks:
            return self.examples.batches(forward_steps, _give_way)
        return self.accelerator.skip_first_batches(self.examples, forward_steps)


def _give_way(worker: int) -> None:
    """Lower the priority of a worker: mixing ahead must not keep the training step from its core."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)
