"""Train a speech enhancer: `accelerate launch training/train.py --config training/configs/….yaml [--resume]`."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.models.schedulers import training_scheduler
from training.carry import split_folder
from training.config import TrainingConfig, load_config, make_network
from training.ending import ending
from training.mixtures.batches import TrainingBatches
from training.muon import Muon
from training.objective import Objective
from training.own_pairs import make_own_pairs, scored_pairs
from training.precision import usable_precision
from training.progress import FEW_STEPS, LossMeter, progress_bar
from training.run import AcceleratedRun
from training.run_folder import run_in
from training.validation import log_example, score_pairs
from training.weights import condition_channels, export_pipeline, start_from


class Trainer:
    """What a training run of the enhancer consists of; [`Trainer.train`] is its loop.

    Args:
        config: Configuration of the run.

    Raises:
        OSError, ValueError: if recordings, pairs or the model to start from cannot be read or do not fit.
    """

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.accelerator = Accelerator(
            mixed_precision=usable_precision(config.mixed_precision),
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            step_scheduler_with_optimizer=False,
            log_with="tensorboard",
            project_config=ProjectConfiguration(config.output_dir, logging_dir=str(Path(config.output_dir) / "logs")),
        )
        self.run = AcceleratedRun(config, self.accelerator)
        set_seed(config.seed)
        unet = make_network(config.unet)
        if config.init_from:
            start_from(unet, config.init_from, condition_channels(config.pipeline))
        # The pipeline has a network of its own, for the averaged weights.
        averaged_unet: Any = type(unet).from_config(unet.config)
        noise_scheduler = training_scheduler(config.prediction_type, snr_shift_db=config.snr_shift_db)
        self.pipeline = SpeechEnhancementPipeline(averaged_unet, noise_scheduler, **config.pipeline)
        self.pipeline.set_progress_bar_config(disable=True)
        self.ema = make_average(unet, config.ema_decay)
        optimizer = make_optimizer(unet, config)
        learning_rate_factor = self.run.learning_rate_factor(optimizer, config.lr_scheduler)
        if self.accelerator.device.type == "cuda" or self.accelerator.mixed_precision == "bf16":
            unet.to(memory_format=torch.channels_last)  # saves an eighth of the network's time on a CPU with AMX
        self.unet, self.optimizer, self.lr_scheduler = self.accelerator.prepare(
            unet, optimizer, LambdaLR(optimizer, learning_rate_factor)
        )
        self.batches = TrainingBatches(config, self.pipeline, self.accelerator)
        self.objective = Objective(config, self.pipeline, self.unet)
        self.ema.to(self.accelerator.device)
        self.pipeline.to(self.accelerator.device)
        self.accelerator.register_save_state_pre_hook(self._save_average)
        self.accelerator.register_load_state_pre_hook(self._load_average)
        self._exported_step, self._carried, self._gradient_norm = None, 0.0, 0.0
        with self.accelerator.main_process_first():
            make_own_pairs(config, self.pipeline.config.sampling_rate)
        self.pairs = scored_pairs(config, self.pipeline.config.sampling_rate)

    def train(self, resume: bool = False) -> None:
        """Train until the steps or the time are used up. The averaged weights are then in `pipeline/`.

        Args:
            resume: Whether to go on from the newest checkpoint, if there is one.

        Raises:
            RunError: if the folder of the run cannot be written.
            RuntimeError: if the run has diverged.
        """
        config, accelerator, run = self.config, self.accelerator, self.run
        if resume:
            run.load_checkpoint()
        accelerator.init_trackers("train")
        meter = LossMeter(accelerator.device)
        if run.global_step == 0:
            self.validate()  # a mistake there shows now and not after hours
        batches = self.batches.after(run.global_step)
        run.read_clock()
        progress = progress_bar(run.share_done, run.global_step, disable=not accelerator.is_local_main_process)
        for batch in run.clock.waiting_for(batches):
            losses = self.learn(batch)
            meter.add(losses, batch["timestep"].masked_fill(batch["few_steps"], FEW_STEPS))
            if not accelerator.sync_gradients:
                continue
            self.ema.step(self.unet.parameters())
            run.count_step()
            self.lr_scheduler.step()
            progress.update(run.share_done - progress.n)
            progress.set_description(f"step {run.global_step}", refresh=False)
            if run.is_due(config.log_every):
                self.report(meter, progress)
            if run.is_due(config.validate_every):
                self.validate()
            if run.is_due(config.checkpoint_every):
                self.save_checkpoint(losses)
            if self._carry_is_due():
                self.carry()
            if run.is_finished:
                break
        accelerator.end_training()

    def learn(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Learn from a batch: the weights change once as many batches as an optimiser step takes have been seen.

        Returns:
            The loss of each example `(batch,)`.
        """
        accelerator = self.accelerator
        with accelerator.accumulate(self.unet):
            losses = torch.stack([*self.objective(batch, self.run.global_step).values()]).sum(dim=0)
            accelerator.backward(losses.mean())
            if accelerator.sync_gradients:
                parameters = self.unet.parameters()
                self._gradient_norm = accelerator.clip_grad_norm_(parameters, self.config.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return losses

    def report(self, meter: LossMeter, progress: tqdm) -> None:
        """Log what `meter` and the clock have counted since the last report, and show some of it beside the bar."""
        values, num_windows = meter.report(self.accelerator)
        values |= self.run.clock.report(num_windows)
        progress.set_postfix(loss=f"{values['loss']:.4f}", wait=f"{values['data_wait_share']:.0%}")
        self._log(values | {"gradient_norm": float(cast(torch.Tensor, self._gradient_norm))})

    def validate(self) -> None:
        """Score the pipeline's output with the averaged weights on the run's pairs, if it has any.

        If the weights are better than all before, they are kept in `pipeline-best/`.
        """
        if not self.accelerator.is_main_process or not self.pairs:
            return
        config, run = self.config, self.run
        began, pipeline = run.clock.elapsed, self.averaged_pipeline()
        for num_steps in config.validation_steps:
            scores = score_pairs(pipeline, self.pairs, num_steps)
            self._log({f"valid_{num_steps}_steps/{name}": value for name, value in scores.items()})
            if num_steps == config.validation_steps[0]:
                if config.best_metric not in scores:
                    raise ValueError(f"best_metric: the package for {config.best_metric!r} is not installed")
                score = scores[config.best_metric]
        tracker = cast(Any, self.accelerator.get_tracker("tensorboard"))
        log_example(pipeline, self.pairs[0], tracker.writer, run.global_step)
        if score > run.best_score and run.global_step > 0:
            run.best_score = score
            export_pipeline(pipeline, run.folder / "pipeline-best")
        run.clock.reserve = max(run.clock.reserve, 1.2 * (run.clock.elapsed - began))

    def averaged_pipeline(self) -> SpeechEnhancementPipeline:
        """The pipeline with the averaged weights in its network."""
        self.ema.copy_to(self.pipeline.unet.parameters())
        self.pipeline.unet.eval()
        return self.pipeline

    def save_checkpoint(self, losses: torch.Tensor) -> None:
        """Write a checkpoint and the averaged weights so far.

        Raises:
            RuntimeError: if the last `losses` show that the run has diverged.
        """
        if not losses.isfinite().all():
            raise RuntimeError(
                f"the loss is not finite at step {self.run.global_step}: the run has diverged, no checkpoint was "
                "written; lower learning_rate or max_grad_norm and --resume"
            )
        self.run.save_checkpoint(self.config.keep_checkpoints)
        self.export()

    def export(self) -> None:
        """Save the pipeline with the averaged weights in `pipeline/`, unless it is there from this step."""
        if self.accelerator.is_main_process and self._exported_step != self.run.global_step:
            export_pipeline(self.averaged_pipeline(), self.run.folder / "pipeline")
            self._exported_step = self.run.global_step

    def carry(self) -> None:
        """Save the averaged weights, and a copy of them in pieces."""
        if self.accelerator.is_main_process and self.config.carry_to:
            self._carried = self.run.clock.elapsed
            self.export()
            split_folder(self.run.folder / "pipeline", Path(self.config.carry_to))

    def _carry_is_due(self) -> bool:
        if not self.config.carry_to:
            return False
        waited = self.run.clock.elapsed - self._carried
        return waited >= 60 * self.config.carry_every_minutes or self.run.is_finished

    def _log(self, values: dict[str, float]) -> None:
        self.run.log({**values, "learning_rate": self.lr_scheduler.get_last_lr()[0]})

    def _save_average(self, models, weights, folder: str) -> None:
        if self.accelerator.is_main_process:
            self.ema.save_pretrained(str(Path(folder) / "ema"))

    def _load_average(self, models, folder: str) -> None:
        # Diffusers' `EMAModel.from_pretrained` uses a part of Diffusers that will be removed, and warns of it.
        saved, unet = Path(folder) / "ema", self.pipeline.unet
        unet.load_state_dict(load_file(saved / "diffusion_pytorch_model.safetensors"))
        self.ema.load_state_dict({**unet.load_config(saved), "shadow_params": list(unet.parameters())})
        self.ema.to(self.accelerator.device)


def make_average(unet: Any, decay: float) -> EMAModel:
    """The moving average of the network's weights. Its decay grows to `decay` over the first steps."""
    return EMAModel(
        unet.parameters(),
        decay=decay,
        use_ema_warmup=True,
        power=0.75,
        foreach=True,
        model_cls=type(unet),
        model_config=unet.config,
    )


def make_optimizer(unet: torch.nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or [`Muon`] on the network's parameters, as `config` says."""
    if config.optimizer == "muon":
        return Muon(unet, config.learning_rate, config.adamw_learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW(unet.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a speech enhancement pipeline from one config file.")
    parser.add_argument("--config", required=True, help="YAML file, see training/config.py for its fields")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in output_dir")
    parser.add_argument("--max-minutes", type=float, help="budget of time, in place of the config's max_minutes")
    parser.add_argument(
        "--push_to_hub", metavar="USER/NAME", help="measure the result and publish it with the card of model_card"
    )
    parser.add_argument("--private", action="store_true", default=None, help="with --push_to_hub: a private repository")
    options = parser.parse_args(arguments)
    about = None
    try:
        config = load_config(options.config)
        if options.max_minutes is not None:
            config = dataclasses.replace(config, max_minutes=options.max_minutes)
        if not options.resume and any(Path(config.output_dir).glob("checkpoint-*")):
            parser.error(f"{config.output_dir} holds checkpoints: continue with --resume or choose another output_dir")
        if options.push_to_hub:
            from training.hub import check_push, push

            about = check_push(config, options.push_to_hub)
        Path(config.output_dir).mkdir(parents=True, exist_ok=True)
        trainer = Trainer(config)
    except (OSError, ValueError) as error:
        parser.error(str(error))

    run = trainer.run
    run_in(run.folder, lambda: trainer.train(options.resume), parser, locked=trainer.accelerator.is_main_process)
    if trainer.accelerator.is_main_process:
        print(ending(config, len(trainer.pairs)))
    if about and trainer.accelerator.is_main_process:
        minutes = run.clock.elapsed / 60
        try:
            print(push(config, options.config, about, options.push_to_hub, run.global_step, minutes, options.private))
        except (OSError, ValueError) as error:
            parser.error(f"{error} (the model is in {config.output_dir}/pipeline)")


if __name__ == "__main__":
    main()
