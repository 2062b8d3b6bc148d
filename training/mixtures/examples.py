"""What a training step draws at random, example by example."""

import math
from functools import partial

import numpy as np
import torch
from torch.utils.data import Dataset

from speech_enhance.mel.spectrogram import MelConfig
from speech_enhance.pipelines.windows import seeded_generator

from ..config import TrainingConfig
from .mixing import MixtureDataset
from .sources import SourceMix

_DRAW_STREAM = 7


class TrainingExamples(Dataset):
    """`length` training examples: a mixture made on the fly or a crop of a recorded pair, with its level, window,
    timestep and noise.

    Item `i` is a function of `(config.seed, i)` alone. So two processes with half the batch train as one does, and a
    resumed run trains as one that was never stopped.

    Items are dicts of `index`, `clean`, `noisy` (float32 samples of `config.mixing.seconds`), `dereverb` (dial of the
    target from 0 to 1, 0 for recorded pairs), `level_db`, `start` (first frame of the window), `timestep`, `own`
    (whether the network meets an estimate of its own), `noise (draws, num_mel_bins, window_frames)`, `few_steps`
    (whether a few steps of sampling are trained in place of the timestep) and `stochastic` (whether those add fresh
    noise).
    """

    def __init__(
        self, config: TrainingConfig, mel_config: MelConfig, window_frames: int, num_train_timesteps: int, length: int
    ):
        rate = mel_config.sampling_rate
        self.config, self.mel_config, self.length = config, mel_config, length
        self.window_frames, self.num_train_timesteps = window_frames, num_train_timesteps
        self.num_samples = round(config.mixing.seconds * rate)
        self.last_start = mel_config.num_frames(self.num_samples) - window_frames
        if self.last_start < 0:
            raise ValueError(
                f"mixing: seconds: {config.mixing.seconds} s are shorter than a window of {window_frames} frames"
            )
        mix = partial(SourceMix, sampling_rate=rate, preload=config.preload)
        self.pairs = mix(config.pairs, columns=("clean", "noisy")) if config.paired_share > 0 else None
        self.mixtures: MixtureDataset | None = None
        self._mixed: tuple[int, dict] | None = None  # number and content of the last mixture
        if config.paired_share < 1:
            speech, noise = (mix(sources) for sources in (config.speech, config.noise))
            columns = ("audio", "noise_audio") if config.mixing.noise_room_share > 0 else None
            rooms = mix(config.rooms, columns=columns) if config.rooms else None
            self.mixtures = MixtureDataset(speech, noise, config.mixing, config.seed, length, rooms)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        config = self.config
        generator = seeded_generator(config.seed, _DRAW_STREAM, index)

        def uniform() -> float:
            return float(torch.rand((), generator=generator))

        if uniform() < config.paired_share:
            (clean, noisy), dereverb = self._crop_of_pair(index), 0.0
        else:
            clean, noisy, dereverb = self._mixture(index)
        start = int(uniform() * (self.last_start + 1))
        if uniform() < config.padded_share:
            start += int(uniform() * (self.window_frames * 3 // 4))
        timestep = draw_timestep(self.num_train_timesteps, config.terminal_share, generator)
        own = config.own_estimate_first_timestep <= timestep < self.num_train_timesteps - 1
        example = {
            "index": index,
            "clean": clean,
            "noisy": noisy,
            "dereverb": torch.tensor(dereverb, dtype=torch.float32),
            "level_db": config.level_jitter_db * torch.randn((), generator=generator),
            "start": start,
            "timestep": timestep,
            "own": uniform() < config.own_estimate_share and own,
            "noise": torch.randn(1, self.mel_config.num_mel_bins, self.window_frames, generator=generator),
            # Evenly spread, so that every batch has as many: cuDNN plans every size of a batch anew.
            "few_steps": math.floor((index + 1) * config.few_step_share) > math.floor(index * config.few_step_share),
        }
        return example | self._fresh_noise(example["noise"], generator)

    def _fresh_noise(self, noise: torch.Tensor, generator: torch.Generator) -> dict:
        """Whether the steps of sampling add fresh noise, and the noise with draws for them where some examples do."""
        config = self.config
        if config.stochastic_share == 0:
            return {"stochastic": False}
        shape = (max(config.few_step_numbers) - 1, *noise.shape[1:])
        stochastic = float(torch.rand((), generator=generator)) < config.stochastic_share
        fresh = torch.randn(shape, generator=generator) if stochastic else torch.zeros(shape)
        return {"stochastic": stochastic, "noise": torch.cat([noise, fresh])}

    def _mixture(self, index: int) -> tuple[np.ndarray, np.ndarray, float]:
        number = index // self.config.windows_per_mixture
        if self._mixed is None or self._mixed[0] != number:
            assert self.mixtures is not None  # there are some at a `paired_share` below 1
            self._mixed = number, self.mixtures[number]
        mixture = self._mixed[1]
        return mixture["clean"], mixture["noisy"], mixture["dereverb"]

    def _crop_of_pair(self, index: int) -> np.ndarray:
        """`(clean, noisy)` `(2, samples)` at a random position, silence after the end of a short pair."""
        rng = np.random.default_rng((self.config.seed, index))
        assert self.pairs is not None  # there are some at a `paired_share` above 0
        self.pairs.seek(index)
        pair = self.pairs.draw(rng)
        start = int(rng.integers(0, max(1, pair.shape[1] - self.num_samples + 1)))
        crop = pair[:, start : start + self.num_samples]
        return np.pad(crop, ((0, 0), (0, self.num_samples - crop.shape[1])))


def draw_timestep(num_train_timesteps: int, terminal_share: float, generator: torch.Generator) -> int:
    """The last timestep, at which the network gets pure noise, with probability `terminal_share`; else any timestep."""
    uniform = int(torch.randint(num_train_timesteps, (), generator=generator))
    terminal = float(torch.rand((), generator=generator)) < terminal_share
    return num_train_timesteps - 1 if terminal else uniform
