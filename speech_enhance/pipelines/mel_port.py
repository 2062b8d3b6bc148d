"""Mels in and out: the pipeline as a stage between an acoustic model and a vocoder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..audio.resampling import num_resampled, resample
from ..mel.layouts import MEL_LAYOUTS, convert_mel, level_mel, rescale_mel
from ..mel.spectrogram import MelConfig
from ..mel.vocoding import vocode
from .analysis import Analysis
from .inputs import as_tensor, is_batch


@dataclass(frozen=True)
class MelPort:
    """Reads and writes mels, in the network's own form or in that of other models.

    The network's own form is its input, `(num_mel_bins, frames)` at the model's level. Mels of other models are
    `(frames, num_mel_bins)`, as in transformers, and at the level of the sound.

    Args:
        config: Layout of the network's own mel.
        layout: Layout of the other models' mels; `None` for the network's own form.
    """

    config: MelConfig
    layout: MelConfig | None = None

    @classmethod
    def of(cls, config: MelConfig, mel_layout: str | None) -> "MelPort":
        """The port for mels of `mel_layout`, one of [`MEL_LAYOUTS`].

        Raises:
            ValueError: if there is none of that name.
        """
        if mel_layout is not None and mel_layout not in MEL_LAYOUTS:
            raise ValueError(f"`mel_layout` must be one of {', '.join(MEL_LAYOUTS)} or None, got {mel_layout!r}")
        return cls(config, None if mel_layout is None else MEL_LAYOUTS[mel_layout])

    @property
    def outer(self) -> MelConfig:
        """Layout of the mels that are read and written."""
        return self.layout or self.config

    def check(self, mel) -> None:
        """Raise `TypeError` or `ValueError` unless `mel` is one mel, or an array, tensor or list of several."""
        listed = isinstance(mel, (list, tuple))
        if listed and not mel:
            raise ValueError("`mel` is an empty list")
        for index, item in enumerate(mel if listed else [mel]):
            self._check_one(item, f"`mel[{index}]`" if listed else "`mel`", batch=not listed)

    def _check_one(self, mel, name: str, batch: bool) -> None:
        if not isinstance(mel, (np.ndarray, torch.Tensor)):
            raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(mel).__name__}")
        axis, shape = (-1, "(frames, {})") if self.layout else (-2, "({}, frames)")
        shape = shape.format(self.outer.num_mel_bins)
        if mel.ndim not in ((2, 3) if batch else (2,)) or mel.shape[axis] != self.outer.num_mel_bins:
            raise ValueError(f"{name} must be {shape}{' or a batch of them' if batch else ''}, got {tuple(mel.shape)}")
        if 0 in mel.shape:
            raise ValueError(f"{name} is empty: shape {tuple(mel.shape)}")
        if not (torch.isfinite(mel) if torch.is_tensor(mel) else np.isfinite(mel)).all():
            raise ValueError(f"{name} contains NaN or infinite values")

    def read(self, mel, device: torch.device) -> "GivenMel":
        """Read one mel from outside."""
        mel = (mel if torch.is_tensor(mel) else as_tensor(mel)).detach().to(device, torch.float32)
        if self.layout is None:
            return GivenMel(mel[None], torch.ones(1, dtype=torch.float32, device=device))
        own, scale = level_mel(mel.T, self.layout, self.config)
        return GivenMel(own[None], scale[None])

    def write(self, clean_mel: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Convert `clean_mel (groups, num_mel_bins, frames)` into the form for outside, on the CPU. `clean_mel` is
        `scale (groups,)` times as loud as the sound."""
        if self.layout is None:
            return clean_mel.cpu()
        own = rescale_mel(clean_mel.float(), 1 / scale.to(clean_mel), self.config)
        return convert_mel(own, self.config, self.layout).mT.cpu()

    def sound(self, vocoder, clean_mel: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Make sound `(groups, samples)` on the CPU from `clean_mel (groups, num_mel_bins, frames)`, which is
        `scale (groups,)` times as loud as the sound. `vocoder` is one for mels of this port."""
        mels = self.write(clean_mel, scale)
        if self.layout is None:
            return torch.stack([vocode(vocoder, mel) for mel in mels]) / scale.cpu()[:, None]
        return torch.stack([vocode(vocoder, mel.T) for mel in mels])


class GivenMel:
    """A mel in the place of a recording. It can be used like an [`Analysis`], but there is nothing to read.

    Args:
        mel: Mel `(1, num_mel_bins, frames)` in the network's own form.
        scale: Factor `(1,)` that says how many times as loud as the sound the mel is.
    """

    def __init__(self, mel: torch.Tensor, scale: torch.Tensor):
        self.scale, self.num_frames, self.num_views = scale, mel.shape[-1], 1
        self.noisy_mel: SlidingBuffer[torch.Tensor] = SlidingBuffer()
        self.noisy_mel.append(mel[None])

    def read_to(self, frame: int) -> None:
        """Do nothing: all frames are there."""

    def at_mean_level(self, clean_mel: torch.Tensor, first: int) -> torch.Tensor:
        """Return `clean_mel` as it is: a mel from outside has one level."""
        return clean_mel

    def forget(self, frame: int, made: int | None) -> None:
        """Drop the frames before `frame`."""
        self.noisy_mel.forget(frame)


class MelOutput:
    """Collects the clean mel of a recording and returns the output when the mel is complete; an [`Output`].

    Args:
        analysis: Recording, or mel that has no recording.
        finish: Function from a clean mel `(groups, num_mel_bins, frames)` and a factor `scale (groups,)` to the output.
            The factor says how many times as loud as the sound the mel is.
    """

    num_made = None

    def __init__(
        self,
        analysis: "Analysis | GivenMel",
        finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor | np.ndarray],
    ):
        self._analysis, self._finish = analysis, finish
        self._pieces: list[torch.Tensor] = []

    def first_frame_needed(self, frame: int) -> int:
        """No frame before `frame` is needed."""
        return frame

    def push(self, clean_mel: torch.Tensor, first: int, last: bool) -> torch.Tensor | np.ndarray | None:
        """Add the frames `clean_mel (views, groups, num_mel_bins, frames)`, which begin at frame `first`. Returns the
        output if they are the last ones, else `None`."""
        self._pieces.append(self._analysis.at_mean_level(clean_mel, first)[0])
        return self._finish(torch.cat(self._pieces, dim=-1), self._analysis.scale) if last else None


@dataclass(frozen=True)
class RecordingVocoder:
    """Makes new sound of a recording from its clean mel.

    Args:
        port: Port for whose mels the vocoder was made.
        vocoder: Vocoder, one of [`VOCODERS`].
        sampling_rate, num_samples: Sampling rate and length of the recording. The sound has the same.
    """

    port: MelPort
    vocoder: torch.nn.Module
    sampling_rate: int
    num_samples: int

    def __call__(self, clean_mel: torch.Tensor, scale: torch.Tensor) -> np.ndarray:
        """Make sound `(groups, num_samples)` from `clean_mel (groups, num_mel_bins, frames)`, which is
        `scale (groups,)` times as loud as the sound."""
        rate = self.port.config.sampling_rate
        sound = self.port.sound(self.vocoder, clean_mel, scale)
        sound = sound[:, : num_resampled(self.num_samples, self.sampling_rate, rate)].numpy()
        return resample(sound, rate, self.sampling_rate, self.num_samples)


def join_mels(items: list, mel, audio) -> Any:
    """Return results in the caller's form. For `mel` this is one item, a batch, or a list. For `audio` it is one item
    for a single recording, otherwise a list."""
    if mel is None:
        return items if is_batch(audio) else items[0]
    if isinstance(mel, (list, tuple)):
        return items
    if mel.ndim == 2:
        return items[0]
    return torch.stack(items) if torch.is_tensor(items[0]) else np.stack(items)
