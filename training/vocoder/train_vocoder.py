"""Train a small HiFi-GAN of transformers' class on the mel of a pipeline or of an acoustic model.

    python -m training.vocoder.train_vocoder --config training/configs/vocoder.yaml [--resume]

It learns from [`stft_loss`] alone, without a discriminator: that takes hours on a CPU, where published vocoders were
trained for days on a GPU. The result is a folder that `SpeechT5HifiGan.from_pretrained` loads.
"""

import argparse
import typing
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.mel.layouts import MEL_LAYOUTS
from speech_enhance.mel.spectrogram import MelConfig, active_level, mel_spectrogram, stft_frames
from training.bounds import COUNT, NOT_NEGATIVE, POSITIVE, SEED, Bounds, check_numbers
from training.config_file import read_config
from training.mixtures.sources import SourceConfig, SourceMix
from training.progress import CLOCKS
from training.run import Run
from training.run_folder import run_in, written_whole

FFT_SIZES = (64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class VocoderConfig:
    """A training run of a vocoder.

    Args:
        output_dir: Folder for checkpoints, the log, and the vocoder so far in `vocoder/`.
        speech: Sources of clean speech.
        model: Pipeline folder, for a vocoder of its own mel.
        mel_layout: Name of one of [`MEL_LAYOUTS`], in place of `model`.
        vocoder: Arguments of `SpeechT5HifiGanConfig`. The product of `upsample_rates` is the hop.
        frames: Number of mel frames of a crop.
        level_jitter_db: Standard deviation of the level of speech around the level of the layout.
        seed: Seed of weights and crops.
        batch_size: Crops per optimiser step.
        max_train_steps: Number of optimiser steps.
        max_minutes: Budget of time over all resumed parts. If it would end the run before `max_train_steps`, the
            learning rate follows the time instead of the steps.
        clock: Clock of the time budget, `wall` or `cpu`.
        learning_rate, lr_warmup_steps, max_grad_norm: Learning rate of AdamW, length of the warm-up before its cosine
            schedule, and the norm to which gradients are clipped.
        ema_decay: Decay of the moving average of the weights. The average is what is exported.
        log_every, checkpoint_every: Numbers of optimiser steps.
    """

    output_dir: str
    speech: list[SourceConfig]
    model: str | None = None
    mel_layout: str | None = None
    vocoder: dict[str, typing.Any] = field(default_factory=dict)
    frames: int = 32
    level_jitter_db: float = 3.0
    seed: int = 0
    batch_size: int = 8
    max_train_steps: int = 100000
    max_minutes: float | None = None
    clock: str = "wall"
    learning_rate: float = 1e-3
    lr_warmup_steps: int = 100
    max_grad_norm: float = 10.0
    ema_decay: float = 0.995
    log_every: int = 50
    checkpoint_every: int = 200

    def __post_init__(self):
        if (self.model is None) == (self.mel_layout is None):
            raise ValueError("name either a `model`, whose own mel is meant, or a `mel_layout`")
        if self.mel_layout is not None and self.mel_layout not in MEL_LAYOUTS:
            raise ValueError(f"mel_layout must be one of {', '.join(MEL_LAYOUTS)}, got {self.mel_layout!r}")
        if self.clock not in CLOCKS:
            raise ValueError(f"clock must be one of {', '.join(CLOCKS)}, got {self.clock!r}")
        if unknown := sorted(set(self.vocoder) - set(SpeechT5HifiGanConfig().to_dict())):
            raise ValueError(f"vocoder: unknown field {unknown[0]!r}")
        check_numbers(
            self,
            frames=COUNT,
            level_jitter_db=Bounds(0, 60),
            seed=SEED,
            batch_size=COUNT,
            max_train_steps=COUNT,
            max_minutes=POSITIVE,
            learning_rate=POSITIVE,
            lr_warmup_steps=NOT_NEGATIVE,
            max_grad_norm=POSITIVE,
            ema_decay=Bounds(0, 1, without_high=True),
            log_every=COUNT,
            checkpoint_every=COUNT,
        )

    def layout(self) -> MelConfig:
        """The mel that the vocoder is for."""
        if self.mel_layout is not None:
            return MEL_LAYOUTS[self.mel_layout]
        assert self.model is not None  # the other one of the two
        return SpeechEnhancementPipeline.from_pretrained(self.model).mel_config


class Crops:
    """Crops of speech with their mels. A batch depends on the seed and the step alone."""

    def __init__(self, config: VocoderConfig, layout: MelConfig):
        self.config, self.layout = config, layout
        self.speech = SourceMix(config.speech, layout.sampling_rate)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The mels `(batch, frames, num_mel_bins)` and the sound `(batch, frames · hop_length)` of a step. Frame `t` is
        centred at sample `t · hop_length`."""
        audio = torch.from_numpy(
            np.stack([self._crop(step * self.config.batch_size + i) for i in range(self.config.batch_size)])
        )
        layout, margin = self.layout, self.layout.n_fft // 2
        mel = mel_spectrogram(stft_frames(audio, layout).abs(), layout)[..., : self.config.frames]
        return mel.mT, audio[:, margin : margin + self.config.frames * layout.hop_length]

    def _crop(self, index: int) -> np.ndarray:
        """A crop with half a window before and after it, at the level of the layout."""
        config, layout = self.config, self.layout
        rng = np.random.default_rng((config.seed, index))
        self.speech.seek(index)
        speech = self.speech.draw(rng)
        level = active_level(torch.from_numpy(speech)[None], layout.sampling_rate).item()
        speech = speech * np.float32(
            layout.level / max(level, 1e-4) * 10 ** (config.level_jitter_db * rng.standard_normal() / 20)
        )
        speech = speech / max(1.0, np.abs(speech).max() / 0.98)
        margin, length = layout.n_fft // 2, config.frames * layout.hop_length
        speech = np.pad(speech, (margin, max(margin, length + margin - len(speech))))
        start = int(rng.integers(0, len(speech) - length - 2 * margin + 1))
        return speech[start : start + length + 2 * margin]

    def statistics(self, number: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the mel, each `(num_mel_bins,)`, over `number` batches."""
        mels = torch.cat([self.batch(step)[0].flatten(0, 1) for step in range(number)])
        return mels.mean(dim=0), mels.std(dim=0).clamp(min=1e-3)


def stft_loss(sound: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Spectral convergence and the error of log magnitudes at several resolutions (Yamamoto et al., "Parallel WaveGAN",
    arXiv:1910.11480).

    The loss knows no phase. But its shortest windows are shorter than a period of the voice, so they follow its course
    in time.

    Args:
        sound: Sound `(batch, samples)`.
        target: Sound that is wanted, of the same shape.

    Returns:
        The mean over resolutions.
    """
    losses = []
    for size in FFT_SIZES:
        window = torch.hann_window(size, device=sound.device)
        magnitude, wanted = (
            torch.stft(item, size, size // 4, window=window, return_complex=True).abs().clamp(min=1e-4)
            for item in (sound, target)
        )
        convergence = (magnitude - wanted).norm() / wanted.norm()
        losses.append(convergence + (magnitude.log() - wanted.log()).abs().mean())
    return torch.stack(losses).mean()


class VocoderTrainer:
    """What a training run of a vocoder consists of; [`VocoderTrainer.train`] is its loop.

    Args:
        config: Configuration of the run.

    Raises:
        OSError, ValueError: if the recordings or the model cannot be read or do not fit.
    """

    def __init__(self, config: VocoderConfig):
        self.config, self.run = config, Run(config)
        layout = config.layout()
        self.crops = Crops(config, layout)
        torch.manual_seed(config.seed)
        names = {"model_in_dim": layout.num_mel_bins, "sampling_rate": layout.sampling_rate}
        self.vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**{**config.vocoder, **names}))
        if np.prod(self.vocoder.config.upsample_rates) != layout.hop_length:
            raise ValueError(f"vocoder: the product of upsample_rates must be the hop of {layout.hop_length}")
        # transformers starts all weights at a deviation of 0.01, since it expects to load other weights next.
        for module in self.vocoder.modules():
            if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
                module.reset_parameters()
        mean, deviation = self.crops.statistics()
        self.vocoder.mean.copy_(mean)
        self.vocoder.scale.copy_(deviation)
        self.averaged = torch.optim.swa_utils.AveragedModel(
            self.vocoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema_decay)
        )
        self.optimizer = torch.optim.AdamW(self.vocoder.parameters(), config.learning_rate, betas=(0.8, 0.99))
        self.learning_rate_factor = self.run.learning_rate_factor(self.optimizer, "cosine")
        self.checkpoint = self.run.folder / "checkpoint.pt"

    def train(self, resume: bool = False) -> None:
        """Train until the steps or the time are used up. The averaged weights are then in `vocoder/`.

        Args:
            resume: Whether to go on from the checkpoint, if there is one.

        Raises:
            RunError: if the folder of the run cannot be written.
            RuntimeError: if the run has diverged.
        """
        config, run, losses = self.config, self.run, []
        if resume and self.checkpoint.exists():
            self.load()
        run.read_clock()
        progress = tqdm(total=config.max_train_steps, initial=run.global_step)
        while True:
            losses.append(self.step())
            run.count_step()
            progress.update()
            if run.is_due(config.log_every):
                loss, minutes = sum(losses) / len(losses), run.clock.elapsed / 60
                progress.set_postfix(loss=f"{loss:.3f}", minutes=f"{minutes:.1f}")
                run.log({"loss": loss, "minutes": minutes})
                losses.clear()
            if run.is_due(config.checkpoint_every):
                self.save()
            if run.is_finished:
                return

    def step(self) -> float:
        """Take one optimiser step and return its loss.

        Raises:
            RuntimeError: if the run has diverged.
        """
        step = self.run.global_step
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self.learning_rate_factor(step)
        mel, sound = self.crops.batch(step)
        loss = stft_loss(self.vocoder(mel), sound)
        if not loss.isfinite():
            raise RuntimeError(f"the loss is not finite at step {step}: lower learning_rate and --resume")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.vocoder.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.averaged.update_parameters(self.vocoder)
        return loss.item()

    def save(self) -> None:
        """Write the checkpoint, then the averaged weights in half precision, each beside its place and renamed."""
        state = {"vocoder": self.vocoder, "averaged": self.averaged, "optimizer": self.optimizer}
        with written_whole(self.checkpoint) as partial:
            torch.save({name: item.state_dict() for name, item in state.items()} | self.run.state(), partial)
        half = SpeechT5HifiGan(self.vocoder.config)
        half.load_state_dict(self.averaged.module.state_dict())
        with written_whole(self.run.folder / "vocoder") as folder:
            half.half().save_pretrained(folder)

    def load(self) -> None:
        """Go on from the checkpoint, which holds tensors and numbers only."""
        state = torch.load(self.checkpoint, weights_only=True)
        for name in ("vocoder", "averaged", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.run.load_state(state)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, see VocoderConfig for its fields")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in output_dir")
    options = parser.parse_args(arguments)
    try:
        trainer = VocoderTrainer(read_config(VocoderConfig, options.config))
        if trainer.checkpoint.exists() and not options.resume:
            parser.error(f"{trainer.run.folder} holds a checkpoint: go on with --resume or choose another output_dir")
        trainer.run.folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    run_in(trainer.run.folder, lambda: trainer.train(options.resume), parser)


if __name__ == "__main__":
    main()
