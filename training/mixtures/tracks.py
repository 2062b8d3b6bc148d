"""Mixtures for a fast device: processes prepare single tracks, and the device pairs each speech with many noises.

One core takes some 10 ms to prepare a mixture of 5 s. A GPU takes less for its share of a training step. Here a track
of speech or noise is prepared once. It takes part in about a hundred windows, each time with another partner, ratio,
level and place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from speech_enhance.mel.spectrogram import MelConfig
from speech_enhance.pipelines.windows import seeded_generator

from ..bounds import COUNT, check_numbers
from .augment import active_rms, rms
from .filters import low_pass_on_device
from .mixing import MixtureDataset, draw_dereverb, noise_track, over_time, speech_track, without_rumble
from .mixing_config import MixingConfig
from .sources import SourceMix

_TRACK_STREAM, _PAIR_STREAM = 11, 12
_FULL_SCALE = 32767


@dataclass(frozen=True)
class TrackConfig:
    """How many tracks there are at a time.

    Args:
        number: Tracks of speech, and of noise, that the device holds (160 kB each for 5 s).
        uses: Windows that a track takes part in, on average, before a new one takes its place.

    Raises:
        ValueError: for a number below 1.
    """

    number: int = 4096
    uses: int = 100

    def __post_init__(self):
        check_numbers(self, number=COUNT, uses=COUNT)


class TrackDataset(MixtureDataset):
    """`length` pairs of a treated speech track and a treated noise track; item `i` depends on `(seed, i)` alone.

    Its arguments are those of [`MixtureDataset`]. Items are dicts of `speech` and `noise`, int16 samples, and
    `speech_scale` and `noise_scale`, which bring them to an active RMS and an RMS of 1. Where rooms or low frequencies
    are removed from the target, items also have `target`, at the scale of the speech, and `dereverb`, its dial.
    """

    def __getitem__(self, index: int) -> dict:
        self.seek(index)
        config, rate = self.config, self.speech.sampling_rate
        num_samples = round(config.seconds * rate)
        rng = np.random.default_rng((self.seed, _TRACK_STREAM, index))
        dereverb = draw_dereverb(config, rng)
        speech = speech_track(self.speech, config, num_samples, rng, self.rooms, dereverb)
        background = noise_track(self.speech, self.noise, config, num_samples, rng, self.rooms)
        background_rms = rms(background)  # before its level changes over time
        background = over_time(background, config, rate, rng)
        speech_rms = active_rms(speech.heard)
        item = _as_integers("speech", speech.heard, speech_rms)
        item |= _as_integers("noise", background, background_rms)
        if has_own_target(config):
            target = without_rumble(speech.target, config, rate)
            item |= _as_integers("target", target, speech_rms) | {"dereverb": np.float32(dereverb)}
        return item


def has_own_target(config: MixingConfig) -> bool:
    """Whether the target differs from the speech that is heard."""
    return config.dereverb_share > 0 or config.target_high_pass_hz is not None


def _as_integers(name: str, track: np.ndarray, level: float) -> dict:
    peak = float(max(track.max(), -track.min())) or 1.0
    samples = np.rint(track * np.float32(_FULL_SCALE / peak)).astype(np.int16)
    return {name: samples, f"{name}_scale": np.float32(peak / _FULL_SCALE / max(level, 1e-6))}


class PairedTracks:
    """Training batches that are made on the device from ready tracks.

    A batch depends on its number, the seed, the process and the kind of device alone, so a resumed run goes on like one
    that was never stopped. Batches have the entries of [`TrainingExamples`].

    Args:
        config: A [`TrainingConfig`] with `tracks`.
        mel_config: Analysis of the network.
        window_frames: Number of frames of a training window.
        num_train_timesteps: Number of timesteps of the noise schedule.
        device: Device that makes the batches.
        process: Number of this process and number of all.

    Raises:
        ValueError: if a track is shorter than a window.
    """

    def __init__(
        self,
        config,
        mel_config: MelConfig,
        window_frames: int,
        num_train_timesteps: int,
        device: torch.device,
        process: tuple[int, int] = (0, 1),
    ):
        self.config, self.device, self.process = config, device, process
        self.window_shape = mel_config.num_mel_bins, window_frames
        self.num_train_timesteps, self.sampling_rate = num_train_timesteps, mel_config.sampling_rate
        self.num_samples = round(config.mixing.seconds * mel_config.sampling_rate)
        self.last_start = mel_config.num_frames(self.num_samples) - window_frames
        if self.last_start < 0:
            raise ValueError(
                f"mixing: seconds: {config.mixing.seconds} s are shorter than a window of {window_frames} frames"
            )
        speech, noise = (
            SourceMix(sources, self.sampling_rate, preload=config.preload) for sources in (config.speech, config.noise)
        )
        rooms = SourceMix(config.rooms, self.sampling_rate, preload=config.preload) if config.rooms else None
        rank, num_processes = process
        length = num_processes * (self._num_made(config.max_train_steps * config.gradient_accumulation_steps) + 1)
        self.tracks = TrackDataset(speech, noise, config.mixing, config.seed, length, rooms)
        self.own_tracks = range(rank, length, num_processes)

    def batches(self, first: int = 0, worker_init_fn=None) -> Iterator[dict[str, torch.Tensor]]:
        """The endless batches, from number `first` on."""
        number = self.config.tracks.number
        made = self._num_made(first) - number
        loader = DataLoader(
            self.tracks,
            batch_size=None,
            sampler=self.own_tracks[made:],
            num_workers=self.config.num_workers,
            worker_init_fn=worker_init_fn,
            generator=torch.Generator(),  # starting the workers draws a number, which would shift the run's own
        )
        fresh = iter(loader)
        names = ("speech", "noise", *(("target",) if has_own_target(self.config.mixing) else ()))
        pool = {name: torch.zeros(number, self.num_samples, dtype=torch.int16, device=self.device) for name in names}
        pool |= {f"{name}_scale": torch.zeros(number, device=self.device) for name in names}
        pool["dereverb"] = torch.zeros(number, device=self.device)
        batch = first
        while True:
            while made < self._num_made(batch):
                for name, value in next(fresh).items():
                    pool[name][made % number] = torch.as_tensor(value).to(self.device)
                made += 1
            yield self._pair(pool, batch)
            batch += 1

    def _num_made(self, batch: int) -> int:
        """Number of tracks of each kind that this process has made before the batch with this number."""
        tracks = self.config.tracks
        return tracks.number + batch * self.config.batch_size // tracks.uses

    def _pair(self, pool: dict[str, torch.Tensor], batch: int) -> dict[str, torch.Tensor]:
        config, size = self.config, self.config.batch_size
        generator = seeded_generator(config.seed, _PAIR_STREAM, self.process[0], batch, device=self.device)
        draws = _Draws(size, generator, self.device)
        clean, noisy, dereverb = self._mix(pool, draws)
        start = (draws.uniform() * (self.last_start + 1)).long()
        start += (draws.chance(config.padded_share) * draws.uniform() * (self.window_shape[1] * 3 // 4)).long()
        last = self.num_train_timesteps - 1
        timestep = torch.where(
            draws.chance(config.terminal_share), last, draws.uniform(0, self.num_train_timesteps).long().clamp(max=last)
        )
        own = (timestep >= config.own_estimate_first_timestep) & (timestep < last)
        index = batch * size + torch.arange(size + 1, device=self.device)
        stochastic = draws.chance(config.stochastic_share)
        num_draws = max(config.few_step_numbers) if config.stochastic_share > 0 else 1
        return {
            "index": index[:-1],
            "clean": clean,
            "noisy": noisy,
            "dereverb": dereverb,
            "level_db": config.level_jitter_db * draws.normal(size),
            "start": start,
            "timestep": timestep,
            "own": own & draws.chance(config.own_estimate_share),
            "noise": draws.normal(size, num_draws, *self.window_shape),
            "few_steps": (index.double() * config.few_step_share).floor().diff() > 0,
            "stochastic": stochastic,
        }

    def _mix(self, pool: dict[str, torch.Tensor], draws: "_Draws") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pairs `(clean, noisy)`, each `(batch, samples)`, and the dial `(batch,)` of the clean ones. The speech in the
        mixture has an active RMS of 1."""
        mixing, number = self.config.mixing, self.config.tracks.number
        speech_places, noise_places = draws.integers(number), draws.integers(number)
        heard, noise = _samples(pool, "speech", speech_places), _samples(pool, "noise", noise_places)
        clean = _samples(pool, "target", speech_places) if "target" in pool else heard
        time = torch.arange(self.num_samples, device=self.device)
        noise = noise.gather(1, (time + draws.integers(self.num_samples)[:, None]) % self.num_samples)
        snr_db = torch.where(
            draws.chance(mixing.high_snr_share), draws.uniform(*mixing.high_snr_db), draws.uniform(*mixing.snr_db)
        )
        kind = draws.uniform()
        noise = noise * (10 ** (-snr_db / 20) * (kind < 1 - mixing.clean_share))[:, None]
        spoken = (kind >= mixing.noise_only_share)[:, None]
        clean, noisy = clean * spoken, heard * spoken + noise
        limited = round(mixing.band_limit_share * len(clean))  # their partners are random, so their places need not be
        if limited:
            cutoff = draws.uniform(3400, 7500)[:limited, None]
            both = low_pass_on_device(torch.stack([clean[:limited], noisy[:limited]]), self.sampling_rate, cutoff)
            clean, noisy = (torch.cat([part, rest[limited:]]) for part, rest in zip(both, (clean, noisy), strict=True))
        return clean, noisy, pool["dereverb"][speech_places]


def _samples(pool: dict[str, torch.Tensor], name: str, places: torch.Tensor) -> torch.Tensor:
    return pool[name][places].float() * pool[f"{name}_scale"][places, None]


class _Draws:
    """Random numbers for a batch, from one generator on the device."""

    def __init__(self, size: int, generator: torch.Generator, device: torch.device):
        self._size, self._options = size, {"generator": generator, "device": device}

    def uniform(self, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(self._size, **self._options)

    def chance(self, share: float) -> torch.Tensor:
        return self.uniform() < share

    def integers(self, below: int) -> torch.Tensor:
        return torch.randint(below, (self._size,), **self._options)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, **self._options)
