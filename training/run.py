"""A training run, of the enhancer or of the vocoder: its step, time, learning rate, log and checkpoints."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from diffusers.optimization import get_scheduler

from .evaluation.reports import append_row
from .progress import RunClock
from .run_folder import write_errors


class Run:
    """Where a training run stands, over all its resumed parts.

    Args:
        config: A dataclass with `output_dir`, `max_train_steps`, `max_minutes`, `clock` and `lr_warmup_steps`, such as
            [`TrainingConfig`].
    """

    def __init__(self, config):
        self.config, self.folder = config, Path(config.output_dir)
        self.clock = RunClock(config.max_minutes, config.clock)
        self.global_step, self.time_used = 0, 0.0

    def read_clock(self) -> None:
        """Renew `time_used`, the share of the time budget that is used; it is 0 without a budget."""
        self.time_used = self.clock.used()

    def count_step(self) -> None:
        """Count an optimiser step, and read the clock."""
        self.global_step += 1
        self.read_clock()

    @property
    def is_finished(self) -> bool:
        """Whether the steps or the time are used up."""
        return self.global_step == self.config.max_train_steps or self.time_used >= 1

    @property
    def share_done(self) -> float:
        """The share of the run that is done, by its steps or by its time, whichever ends it."""
        return min(max(self.global_step / self.config.max_train_steps, self.time_used), 1.0)

    def is_due(self, interval: int) -> bool:
        """Whether this step ends an `interval` of steps, or the run. An interval of 0 never ends."""
        return self.is_finished or (interval > 0 and self.global_step % interval == 0)

    def learning_rate_factor(self, optimizer: torch.optim.Optimizer, name: str) -> Callable[[int], float]:
        """The factor of the learning rate at a step, by the schedule `name` of Diffusers' `get_scheduler`.

        The warm-up counts steps. After it, the schedule follows the time budget if the time is used up faster than the
        steps, so that it ends with the run.
        """
        config = self.config
        factor, *_ = get_scheduler(
            name,
            optimizer=optimizer,
            num_warmup_steps=config.lr_warmup_steps,
            num_training_steps=config.max_train_steps,
        ).lr_lambdas

        def at(step: int) -> float:
            if step < config.lr_warmup_steps:
                return factor(step)
            return factor(max(step, min(self.time_used, 1) * config.max_train_steps))

        return at

    def log(self, values: dict[str, float]) -> None:
        """Add a line to `log.jsonl`."""
        append_row(self.folder / "log.jsonl", {"step": self.global_step, **values})

    def state(self) -> dict[str, Any]:
        """The numbers of the run that a checkpoint keeps."""
        return {"global_step": self.global_step, "elapsed": self.clock.elapsed}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what [`Run.state`] gave."""
        self.global_step, self.clock.elapsed_before = int(state["global_step"]), state["elapsed"]


class AcceleratedRun(Run):
    """A run of one or several processes under Accelerate.

    The clock of the main process counts for all. The main process writes the log, also for TensorBoard, and the
    checkpoints, each a folder with the state of all that Accelerate has prepared.

    Args:
        config: Configuration as in [`Run`].
        accelerator: Accelerator of the processes.
    """

    def __init__(self, config, accelerator: Accelerator):
        super().__init__(config)
        self.accelerator, self.best_score = accelerator, -math.inf

    def read_clock(self) -> None:
        super().read_clock()
        if self.clock.budget is not None:
            time_used = torch.tensor(self.time_used, device=self.accelerator.device)
            self.time_used = float(cast(torch.Tensor, broadcast(time_used)))

    def log(self, values: dict[str, float]) -> None:
        self.accelerator.log(values, step=self.global_step)
        if self.accelerator.is_main_process:
            super().log(values)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "best_score": self.best_score}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.best_score = state["best_score"]

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.folder.glob("checkpoint-*"))

    def save_checkpoint(self, num_kept: int) -> None:
        """Write a checkpoint beside its place and rename it; then delete all but the newest `num_kept`. All processes
        call this.

        Raises:
            RunError: if it cannot be written; the earlier checkpoints stay.
        """
        final, partial = self.folder / f"checkpoint-{self.global_step:08d}", self.folder / "checkpoint.partial"
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        with write_errors(final, partial):
            self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with write_errors(final, partial):
                (partial / "run.json").write_text(json.dumps(self.state()), encoding="utf-8")
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
            for old in self.checkpoints()[:-num_kept]:
                shutil.rmtree(old)

    def load_checkpoint(self) -> None:
        """Go on from the newest complete checkpoint, if there is one."""
        if checkpoints := self.checkpoints():
            self.accelerator.load_state(str(checkpoints[-1]))
            self.load_state(json.loads((checkpoints[-1] / "run.json").read_text(encoding="utf-8")))
