"""Train a speech enhancer: `accelerate launch training/train.py --config training/configs/….yaml [--resume]`."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance import ConditionalUNet2DModel, SpeechEnhancementPipeline
from speech_enhance.schedulers import training_scheduler
from speech_enhance.windows import seeded_generator
from training.config import TrainingConfig, load_config
from training.mixing import MixtureDataset
from training.objective import diffusion_loss, draw_timesteps, mel_pair, training_windows
from training.sources import SourceMix
from training.validation import load_pairs, log_example, score_pairs

_NOISE_STREAM = 7
_TIMESTEP_BANDS = {"low": (0, 333), "middle": (333, 666), "high": (666, 999), "terminal": (999, 1000)}


class Trainer:
    """A training run and its state; [`Trainer.train`] is the loop."""

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.output_dir = Path(config.output_dir)
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            log_with="tensorboard",
            project_config=ProjectConfiguration(str(self.output_dir), logging_dir=str(self.output_dir / "logs")),
        )
        set_seed(config.seed)
        unet = ConditionalUNet2DModel(**config.unet)
        self.noise_scheduler = training_scheduler(config.prediction_type)
        self.pipeline = SpeechEnhancementPipeline(unet, self.noise_scheduler, **config.pipeline)
        self.ema = EMAModel(
            unet.parameters(),
            decay=config.ema_decay,
            use_ema_warmup=True,
            power=0.75,
            model_cls=ConditionalUNet2DModel,
            model_config=unet.config,
        )
        optimizer = torch.optim.AdamW(
            unet.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        processes = self.accelerator.num_processes
        lr_scheduler = get_scheduler(
            config.lr_scheduler,
            optimizer=optimizer,
            num_warmup_steps=config.lr_warmup_steps * processes,
            num_training_steps=config.max_train_steps * processes,
        )
        self.unet, self.optimizer, self.lr_scheduler, self.dataloader = self.accelerator.prepare(
            unet, optimizer, lr_scheduler, self._dataloader()
        )
        self.ema.to(self.accelerator.device)
        self.global_step = 0
        self.accelerator.register_save_state_pre_hook(self._save_ema)
        self.accelerator.register_load_state_pre_hook(self._load_ema)
        self.pairs = load_pairs(config.validation_pairs, config.validation_limit) if config.validation_pairs else []

    def train(self) -> None:
        """Run to `max_train_steps`, then export the pipeline."""
        config, accelerator = self.config, self.accelerator
        accelerator.init_trackers("train")
        forward_steps = self.global_step * config.gradient_accumulation_steps
        batches = accelerator.skip_first_batches(self.dataloader, forward_steps)
        progress = tqdm(
            total=config.max_train_steps, initial=self.global_step, disable=not accelerator.is_local_main_process
        )
        running: dict[str, list[float]] = {}
        for forward_step, batch in enumerate(batches, start=forward_steps):
            with accelerator.accumulate(self.unet):
                loss, bands = self.loss(batch, forward_step)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.unet.parameters(), config.max_grad_norm)
                    running.setdefault("gradient_norm", []).append(float(norm))
                self.optimizer.step()
                self.lr_scheduler.step()
                self.optimizer.zero_grad()
            for name, value in {"loss": float(loss.detach()), **bands}.items():
                running.setdefault(name, []).append(value)
            if not accelerator.sync_gradients:
                continue
            self.ema.step(self.unet.parameters())
            self.global_step += 1
            progress.update()
            if _due(self.global_step, config.log_every):
                self._log({name: sum(values) / len(values) for name, values in running.items()})
                running = {}
            if _due(self.global_step, config.validate_every) or self.global_step == config.max_train_steps:
                self.validate()
            if _due(self.global_step, config.checkpoint_every):
                self.save_checkpoint()
            if self.global_step >= config.max_train_steps:
                break
        self.export(self.output_dir / "pipeline")
        accelerator.end_training()

    def loss(self, batch: dict[str, torch.Tensor], forward_step: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Mean loss of a batch and its means by band of timesteps; randomness depends on seed, step and rank only."""
        config, settings = self.config, self.pipeline.config
        generator = seeded_generator(config.seed, _NOISE_STREAM, forward_step, self.accelerator.process_index)
        with torch.no_grad():
            clean, noisy = batch["clean"], batch["noisy"]
            jitter_db = config.level_jitter_db * torch.randn(len(clean), generator=generator)
            clean_mel, noisy_mel = mel_pair(
                clean, noisy, self.pipeline.mel_config, (10 ** (jitter_db / 20)).to(clean.device)
            )
            residual, condition = training_windows(
                clean_mel,
                noisy_mel,
                settings.window_frames,
                settings.noise_floor_span,
                settings.noise_floor_block,
                settings.residual_scale,
                config.padded_share,
                generator,
            )
            num_timesteps = self.noise_scheduler.config.num_train_timesteps
            timesteps = draw_timesteps(len(residual), num_timesteps, config.terminal_share, generator)
            noise = torch.randn(residual.shape, generator=generator).to(residual.device)
            noise = settings.initial_noise_scale * noise
            own = (timesteps >= config.own_estimate_first_timestep) & (timesteps < num_timesteps - 1)
            own &= torch.rand(len(own), generator=generator) < config.own_estimate_share
            own &= self.global_step >= config.own_estimate_start_step
            timesteps, own = timesteps.to(residual.device), own.to(residual.device)
        losses = diffusion_loss(self.unet, self.noise_scheduler, residual, condition, noise, timesteps, own)
        bands = {}
        for name, (first, end) in _TIMESTEP_BANDS.items():
            members = (timesteps >= first) & (timesteps < end)
            if members.any():
                bands[f"loss_{name}"] = float(losses.detach()[members].mean())
        return losses.mean(), bands

    def validate(self) -> None:
        """Score the pipeline's output with the averaged weights on the fixed pairs; the raw weights come back after."""
        if not self.accelerator.is_main_process or not self.pairs:
            return
        with self.averaged_pipeline() as pipeline:
            for num_steps in self.config.validation_steps:
                scores = score_pairs(pipeline, self.pairs, num_steps)
                self._log({f"valid_{num_steps}_steps/{name}": value for name, value in scores.items()})
            log_example(pipeline, self.pairs[0], self.accelerator.get_tracker("tensorboard").writer, self.global_step)

    def averaged_pipeline(self):
        """Context in which the network carries the averaged weights, in evaluation mode."""
        return _AveragedPipeline(self)

    def save_checkpoint(self) -> None:
        """Write the full state beside and rename it, then delete all but the newest."""
        final = self.output_dir / f"checkpoint-{self.global_step:08d}"
        partial = self.output_dir / "checkpoint.partial"
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (partial / "step.json").write_text(json.dumps({"global_step": self.global_step}), encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            for old in self.checkpoints()[: -self.config.keep_checkpoints]:
                shutil.rmtree(old)

    def load_checkpoint(self) -> None:
        """Continue from the newest complete checkpoint, if there is one."""
        if checkpoints := self.checkpoints():
            self.accelerator.load_state(str(checkpoints[-1]))
            self.global_step = json.loads((checkpoints[-1] / "step.json").read_text(encoding="utf-8"))["global_step"]

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.output_dir.glob("checkpoint-*"))

    def export(self, folder: Path) -> None:
        """Save the pipeline with the averaged weights in half precision; a folder there before is replaced whole."""
        if not self.accelerator.is_main_process:
            return
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with self.averaged_pipeline() as pipeline:
            half = ConditionalUNet2DModel.from_config(pipeline.unet.config)
            half.load_state_dict(pipeline.unet.state_dict())
            settings = {name: getattr(pipeline.config, name) for name in pipeline._get_signature_keys(pipeline)[1]}
            SpeechEnhancementPipeline(half.half(), self.noise_scheduler, **settings).save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    def _dataloader(self) -> DataLoader:
        config = self.config
        sampling_rate = self.pipeline.mel_config.sampling_rate
        per_step = config.batch_size * config.gradient_accumulation_steps * self.accelerator.num_processes
        mixtures = MixtureDataset(
            SourceMix(config.speech, sampling_rate),
            SourceMix(config.noise, sampling_rate),
            config.mixing,
            config.seed,
            length=per_step * config.max_train_steps,
            rooms=SourceMix(config.rooms, sampling_rate) if config.rooms else None,
        )
        return DataLoader(mixtures, batch_size=config.batch_size, num_workers=config.num_workers)

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
        loaded = EMAModel.from_pretrained(str(Path(input_dir) / "ema"), ConditionalUNet2DModel)
        self.ema.load_state_dict(loaded.state_dict())
        self.ema.to(self.accelerator.device)


class _AveragedPipeline:
    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def __enter__(self) -> SpeechEnhancementPipeline:
        trainer = self.trainer
        self.unet = trainer.accelerator.unwrap_model(trainer.unet, keep_fp32_wrapper=False)
        trainer.ema.store(self.unet.parameters())
        trainer.ema.copy_to(self.unet.parameters())
        self.unet.eval()
        trainer.pipeline.unet = self.unet
        trainer.pipeline.set_progress_bar_config(disable=True)
        return trainer.pipeline

    def __exit__(self, *_) -> None:
        self.trainer.ema.restore(self.unet.parameters())
        self.unet.train()


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a speech enhancement pipeline from one config file.")
    parser.add_argument("--config", required=True, help="YAML file, see training/config.py for its fields")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint in output_dir")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not options.resume and any(Path(config.output_dir).glob("checkpoint-*")):
        parser.error(f"{config.output_dir} holds checkpoints: continue with --resume or choose another output_dir")
    Path(config.output_dir).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config)
    if options.resume:
        trainer.load_checkpoint()
    trainer.train()


if __name__ == "__main__":
    main()
