"""Train a speech enhancer: `accelerate launch training/train.py --config training/configs/….yaml [--resume]`."""

import argparse
import dataclasses
import json
import math
import os
import shutil
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, broadcast, set_seed
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.mel.spectrogram import mel_spectrogram
from speech_enhance.models.schedulers import training_scheduler
from training.carry import split_folder
from training.config import TrainingConfig, load_config, make_network
from training.ending import ending
from training.mixtures.degradation import degrade_batch
from training.mixtures.examples import TrainingExamples
from training.mixtures.tracks import PairedTracks
from training.muon import Muon
from training.objective import (
    Denoiser,
    cut_windows,
    diffusion_loss,
    enhanced_spectrum,
    loudness_weight,
    power_spectrum,
    sample_loss,
    sampled_estimate,
    spectrum_loss,
    stft_pair,
    training_windows,
    underestimation_weight,
)
from training.own_pairs import make_own_pairs, scored_pairs
from training.perceptual import perceptual_disturbance
from training.precision import usable_precision
from training.progress import FEW_STEPS, LossMeter, RunClock, progress_bar, schedule_position
from training.run_folder import run_in, write_errors
from training.validation import log_example, score_pairs
from training.weights import condition_channels, export_pipeline, start_from


class Trainer:
    """A training run and its state; [`Trainer.train`] is the loop."""

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.clock = RunClock(config.max_minutes, config.clock)
        self.output_dir = Path(config.output_dir)
        self.accelerator = Accelerator(
            mixed_precision=usable_precision(config.mixed_precision),
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            step_scheduler_with_optimizer=False,
            log_with="tensorboard",
            project_config=ProjectConfiguration(str(self.output_dir), logging_dir=str(self.output_dir / "logs")),
        )
        set_seed(config.seed)
        unet = make_network(config.unet)
        if config.init_from:
            start_from(unet, config.init_from, condition_channels(config.pipeline))
        self.noise_scheduler = training_scheduler(config.prediction_type, snr_shift_db=config.snr_shift_db)
        # The pipeline has a network of its own, for the averaged weights.
        averaged_unet = type(unet).from_config(unet.config)
        self.pipeline = SpeechEnhancementPipeline(averaged_unet, self.noise_scheduler, **config.pipeline)
        self.pipeline.set_progress_bar_config(disable=True)
        self.ema = EMAModel(
            unet.parameters(),
            decay=config.ema_decay,
            use_ema_warmup=True,
            power=0.75,
            foreach=True,
            model_cls=type(unet),
            model_config=unet.config,
        )
        optimizer = make_optimizer(unet, config)
        self.global_step, self.time_used, self.best_score = 0, 0.0, -math.inf
        if self.accelerator.device.type == "cuda":
            unet.to(memory_format=torch.channels_last)
        self.unet, self.optimizer, self.lr_scheduler = self.accelerator.prepare(
            unet, optimizer, LambdaLR(optimizer, self._learning_rate_factor(optimizer))
        )
        self.examples = self._paired_tracks() if config.tracks else self.accelerator.prepare(self._dataloader())
        self.ema.to(self.accelerator.device)
        self.pipeline.to(self.accelerator.device)
        self.accelerator.register_save_state_pre_hook(self._save_ema)
        self.accelerator.register_load_state_pre_hook(self._load_ema)
        self._carried = 0.0
        with self.accelerator.main_process_first():
            make_own_pairs(config, self.pipeline.config.sampling_rate)
        self.pairs = scored_pairs(config, self.pipeline.config.sampling_rate)

    def train(self) -> None:
        """Run to `max_train_steps` or to the end of the time budget; the averaged weights are in `pipeline/` then."""
        config, accelerator = self.config, self.accelerator
        accelerator.init_trackers("train")
        meter = LossMeter(accelerator.device)
        if self.global_step == 0:
            self.validate()  # a mistake there shows now and not after hours
        forward_steps = self.global_step * config.gradient_accumulation_steps
        if config.tracks:
            batches = self.examples.batches(forward_steps, _give_way)
        else:
            batches = accelerator.skip_first_batches(self.examples, forward_steps)
        self.time_used = self._agreed_time_used()
        progress = progress_bar(self._share_done(), self.global_step, disable=not accelerator.is_local_main_process)
        for batch in self.clock.waiting_for(batches):
            with accelerator.accumulate(self.unet):
                losses = self.losses(batch)
                accelerator.backward(losses.mean())
                if accelerator.sync_gradients:
                    gradient_norm = accelerator.clip_grad_norm_(self.unet.parameters(), config.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            meter.add(losses, batch["timestep"].masked_fill(batch["few_steps"], FEW_STEPS))
            if not accelerator.sync_gradients:
                continue
            self.ema.step(self.unet.parameters())
            self.global_step += 1
            self.time_used = self._agreed_time_used()
            self.lr_scheduler.step()
            progress.update(self._share_done() - progress.n)
            progress.set_description(f"step {self.global_step}", refresh=False)
            finished = self.global_step == config.max_train_steps or self.time_used >= 1
            if _due(self.global_step, config.log_every) or finished:
                report, num_windows = meter.report(accelerator)
                report |= self.clock.report(num_windows)
                progress.set_postfix(loss=f"{report['loss']:.4f}", wait=f"{report['data_wait_share']:.0%}")
                self._log(report | {"gradient_norm": float(gradient_norm)})
            if _due(self.global_step, config.validate_every) or finished:
                self.validate()
            if _due(self.global_step, config.checkpoint_every) or finished:
                self._check_finite(losses)
                self.save_checkpoint()
            if self._carry_is_due() or finished:
                self.carry()
            if finished:
                break
        accelerator.end_training()

    def losses(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of every example of a batch of [`TrainingExamples`]."""
        config, settings = self.config, self.pipeline.config
        with torch.no_grad():
            level = 10 ** (batch["level_db"] / 20)
            mel_config, starts = self.pipeline.mel_config, batch["start"]
            spectra = stft_pair(batch["clean"], batch["noisy"], mel_config, level)
            clean_mel, noisy_mel = (mel_spectrogram(spectrum.abs(), mel_config) for spectrum in spectra)
            if config.degradation:
                noisy_mel = degrade_batch(
                    noisy_mel, config.degradation, mel_config, config.seed, batch["index"].tolist()
                )
            clean_sample, condition = training_windows(
                clean_mel,
                noisy_mel,
                starts,
                settings.window_frames,
                self.pipeline.condition_config,
                self.pipeline.mel_target,
                batch["dereverb"],
            )
            weight = loudness_weight(condition, config.loudness_weight_power)
            noise = batch["noise"]
            own = batch["own"] & (self.global_step >= config.own_estimate_start_step)
        denoiser = Denoiser(self.unet, self.noise_scheduler, settings.self_conditioning)
        few = batch["few_steps"]
        losses = torch.zeros(len(few), device=noise.device)
        if few.any():
            number = config.few_step_numbers[self.global_step % len(config.few_step_numbers)]
            draws = condition[few], noise[few], number, batch["stochastic"][few], config.few_step_all_gradients
            estimate = sampled_estimate(denoiser, *draws)
            low = underestimation_weight(estimate, clean_sample[few], config.underestimation_weight)
            losses[few] = sample_loss(estimate, clean_sample[few], low * weight[few])
            if config.spectrum_loss_weight > 0 or config.perceptual_loss_weight > 0:
                clean, noisy = (cut_windows(spectrum, starts, settings.window_frames)[few] for spectrum in spectra)
                enhanced = enhanced_spectrum(estimate, condition[few, 0], noisy, self.pipeline.mel_target, mel_config)
                if config.spectrum_loss_weight > 0:
                    losses[few] += config.spectrum_loss_weight * spectrum_loss(enhanced, clean)
                if config.perceptual_loss_weight > 0:
                    powers = (power_spectrum(spectrum) for spectrum in (enhanced, clean))
                    losses[few] += config.perceptual_loss_weight * perceptual_disturbance(*powers, mel_config)
        if not few.all():
            parts = (part[~few] for part in (clean_sample, condition, noise[:, :1], batch["timestep"], own, weight))
            losses[~few] = diffusion_loss(denoiser, *parts)
        return losses

    def validate(self) -> None:
        """Score the pipeline's output with the averaged weights on the fixed pairs.

        Better weights than any before are kept in `pipeline-best/`.
        """
        if not self.accelerator.is_main_process or not self.pairs:
            return
        began = self.clock.elapsed
        pipeline = self.averaged_pipeline()
        for num_steps in self.config.validation_steps:
            scores = score_pairs(pipeline, self.pairs, num_steps)
            self._log({f"valid_{num_steps}_steps/{name}": value for name, value in scores.items()})
            if num_steps == self.config.validation_steps[0]:
                score = self._best_metric_of(scores)
        log_example(pipeline, self.pairs[0], self.accelerator.get_tracker("tensorboard").writer, self.global_step)
        if score > self.best_score and self.global_step > 0:
            self.best_score = score
            self.export(self.output_dir / "pipeline-best")
        self.clock.reserve = max(self.clock.reserve, 1.2 * (self.clock.elapsed - began))

    def averaged_pipeline(self) -> SpeechEnhancementPipeline:
        """The pipeline with the averaged weights in its network."""
        self.ema.copy_to(self.pipeline.unet.parameters())
        self.pipeline.unet.eval()
        return self.pipeline

    def save_checkpoint(self) -> None:
        """Write the full state beside and rename it, delete all but the newest, and export the averaged weights."""
        final = self.output_dir / f"checkpoint-{self.global_step:08d}"
        partial = self.output_dir / "checkpoint.partial"
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        with write_errors(final, partial):
            self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            run = {"global_step": self.global_step, "elapsed": self.clock.elapsed, "best_score": self.best_score}
            with write_errors(final, partial):
                (partial / "run.json").write_text(json.dumps(run), encoding="utf-8")
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
            for old in self.checkpoints()[: -self.config.keep_checkpoints]:
                shutil.rmtree(old)
            self.export(self.output_dir / "pipeline")

    def load_checkpoint(self) -> None:
        """Continue from the newest complete checkpoint, if there is one."""
        if checkpoints := self.checkpoints():
            self.accelerator.load_state(str(checkpoints[-1]))
            run = json.loads((checkpoints[-1] / "run.json").read_text(encoding="utf-8"))
            self.global_step, self.best_score = run["global_step"], run["best_score"]
            self.clock.elapsed_before = run["elapsed"]

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.output_dir.glob("checkpoint-*"))

    def export(self, folder: Path) -> None:
        """Save the pipeline with the averaged weights in half precision."""
        export_pipeline(self.averaged_pipeline(), self.noise_scheduler, folder)

    def carry(self) -> None:
        """Bring the averaged weights out in pieces, if the config asks for it."""
        if self.config.carry_to and self.accelerator.is_main_process:
            self._carried = self.clock.elapsed
            self.export(self.output_dir / "pipeline")
            split_folder(self.output_dir / "pipeline", Path(self.config.carry_to))

    def _carry_is_due(self) -> bool:
        return self.clock.elapsed - self._carried >= 60 * self.config.carry_every_minutes

    def _dataloader(self) -> DataLoader:
        config = self.config
        examples = TrainingExamples(
            config,
            self.pipeline.mel_config,
            self.pipeline.config.window_frames,
            self.noise_scheduler.config.num_train_timesteps,
            length=self._windows_per_step() * config.max_train_steps,
        )
        return DataLoader(
            examples,
            batch_size=config.batch_size,
            num_workers=config.num_workers,
            pin_memory=self.accelerator.device.type == "cuda",
            worker_init_fn=_give_way,
        )

    def _paired_tracks(self) -> PairedTracks:
        return PairedTracks(
            self.config,
            self.pipeline.mel_config,
            self.pipeline.config.window_frames,
            self.noise_scheduler.config.num_train_timesteps,
            self.accelerator.device,
            (self.accelerator.process_index, self.accelerator.num_processes),
        )

    def _windows_per_step(self) -> int:
        config = self.config
        return config.batch_size * config.gradient_accumulation_steps * self.accelerator.num_processes

    def _learning_rate_factor(self, optimizer):
        """The schedule of `get_scheduler` over steps, or over time once the budget is the shorter one."""
        config = self.config
        factor, *_ = get_scheduler(
            config.lr_scheduler,
            optimizer=optimizer,
            num_warmup_steps=config.lr_warmup_steps,
            num_training_steps=config.max_train_steps,
        ).lr_lambdas
        return lambda step: factor(
            schedule_position(step, self.time_used, config.lr_warmup_steps, config.max_train_steps)
        )

    def _share_done(self) -> float:
        """How much of the run is done, by its steps or by its time, whichever ends it."""
        return min(max(self.global_step / self.config.max_train_steps, self.time_used), 1.0)

    def _agreed_time_used(self) -> float:
        """Share of the time budget that is used, as the main process sees it."""
        if self.clock.budget is None:
            return 0.0
        return float(broadcast(torch.tensor(self.clock.used(), device=self.accelerator.device)))

    def _best_metric_of(self, scores: dict[str, float]) -> float:
        if self.config.best_metric not in scores:
            raise ValueError(f"best_metric: the package for {self.config.best_metric!r} is not installed")
        return scores[self.config.best_metric]

    def _check_finite(self, losses: torch.Tensor) -> None:
        if not losses.isfinite().all():
            raise RuntimeError(
                f"the loss is not finite at step {self.global_step}: the run has diverged, no checkpoint was written; "
                "lower learning_rate or max_grad_norm and --resume"
            )

    def _log(self, values: dict[str, float]) -> None:
        values = {**values, "learning_rate": self.lr_scheduler.get_last_lr()[0]}
        self.accelerator.log(values, step=self.global_step)
        if self.accelerator.is_main_process:
            with open(self.output_dir / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.global_step, **values}) + "\n")

    def _save_ema(self, models, weights, output_dir) -> None:
        if self.accelerator.is_main_process:
            self.ema.save_pretrained(str(Path(output_dir) / "ema"))

    def _load_ema(self, models, input_dir) -> None:
        loaded = EMAModel.from_pretrained(str(Path(input_dir) / "ema"), type(self.pipeline.unet))
        self.ema.load_state_dict(loaded.state_dict())
        self.ema.to(self.accelerator.device)


def make_optimizer(unet: torch.nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or [`Muon`] on the network's parameters, as `config` says."""
    if config.optimizer == "muon":
        return Muon(unet, config.learning_rate, config.adamw_learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW(unet.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _give_way(worker: int) -> None:
    """Mixing ahead must not keep the training step from its core."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


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

    def work() -> None:
        if options.resume:
            trainer.load_checkpoint()
        trainer.train()

    run_in(trainer.output_dir, work, parser, locked=trainer.accelerator.is_main_process)
    if trainer.accelerator.is_main_process:
        print(ending(config, len(trainer.pairs)))
    if about and trainer.accelerator.is_main_process:
        minutes = trainer.clock.elapsed / 60
        try:
            print(
                push(config, options.config, about, options.push_to_hub, trainer.global_step, minutes, options.private)
            )
        except (OSError, ValueError) as error:
            parser.error(f"{error} (the model is in {config.output_dir}/pipeline)")


if __name__ == "__main__":
    main()
