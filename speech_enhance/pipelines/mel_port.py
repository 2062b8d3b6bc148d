"""Mels in and out: the pipeline as a stage between an acoustic model and a vocoder."""

from dataclasses import dataclass

import numpy as np
import torch

from ..audio.buffers import SlidingBuffer
from ..audio.resampling import num_resampled, resample
from ..mel.layouts import MEL_LAYOUTS, convert_mel, level_mel, rescale_mel
from ..mel.spectrogram import MelConfig
from ..mel.vocoding import vocode
from .inputs import as_tensor, check_audio, is_batch, split_batch
from .settings import EnhancementSettings, check_sampling_rate


@dataclass(frozen=True)
class MelPort:
    """How mels come and go: in the network's own form, or in that of other models.

    The own form is what the network is shown, `(num_mel_bins, frames)` at the model's level. Those of other models are
    `(frames, num_mel_bins)`, as transformers has them, and as loud as the sound.

    Args:
        config: Of the network's own mel.
        layout: Of the other models'; `None` for the own form.
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
        """Layout of the mels outside."""
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
        """One mel from outside."""
        mel = (mel if torch.is_tensor(mel) else as_tensor(mel)).detach().to(device, torch.float32)
        if self.layout is None:
            return GivenMel(mel[None], torch.ones(1, dtype=torch.float32, device=device))
        own, scale = level_mel(mel.T, self.layout, self.config)
        return GivenMel(own[None], scale[None])

    def write(self, clean_mel: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """What outside is to be seen of `clean_mel (groups, num_mel_bins, frames)`, which is `scale (groups,)` times as
        loud as the sound; on the CPU."""
        if self.layout is None:
            return clean_mel.cpu()
        own = rescale_mel(clean_mel.float(), 1 / scale.to(clean_mel), self.config)
        return convert_mel(own, self.config, self.layout).mT.cpu()

    def sound(self, vocoder, clean_mel: list[torch.Tensor], scale: torch.Tensor) -> torch.Tensor:
        """What `vocoder`, which is for mels of this port, makes of a clean mel in pieces along time: `(groups,
        samples)` on the CPU."""
        mels = self.write(torch.cat(clean_mel, dim=-1), scale)
        if self.layout is None:
            return torch.stack([vocode(vocoder, mel) for mel in mels]) / scale.cpu()[:, None]
        return torch.stack([vocode(vocoder, mel.T) for mel in mels])


class GivenMel:
    """A mel in the place of a recording: what [`Analysis`] gives, without anything to read.

    Args:
        mel: `(1, num_mel_bins, frames)` as the network sees it.
        scale: `(1,)`, how many times as loud that is as the sound.
    """

    def __init__(self, mel: torch.Tensor, scale: torch.Tensor):
        self.scale, self.num_frames, self.num_views = scale, mel.shape[-1], 1
        self.noisy_mel = SlidingBuffer()
        self.noisy_mel.append(mel[None])

    def read_to(self, frame: int) -> None:
        """All frames are there."""

    def at_mean_level(self, clean_mel: torch.Tensor, first: int) -> torch.Tensor:
        """`clean_mel` as it is: a mel from outside has one level."""
        return clean_mel

    def forget(self, frame: int, made: int | None) -> None:
        """Let go of the frames before `frame`."""
        self.noisy_mel.forget(frame)


def check_source(
    pipeline, audio, sampling_rate, mel, use_vocoder: bool, settings: EnhancementSettings, output_type: str
) -> None:
    """Raise `TypeError` or `ValueError` for input that is none, and for what mels and vocoders cannot do."""
    if (audio is None) == (mel is None):
        raise ValueError("give either `audio` or `mel`")
    if mel is None:
        check_audio(audio)
        check_sampling_rate(sampling_rate)
    else:
        pipeline.mel_port.check(mel)
        if sampling_rate is not None:
            raise ValueError(f"`sampling_rate` is that of `audio`; a mel has the model's, got {sampling_rate!r}")
    by_vocoder = use_vocoder or (mel is not None and output_type != "mel")
    if by_vocoder and pipeline.vocoder is None:
        raise ValueError(
            "this pipeline has no vocoder to make sound of a mel: give `vocoder` to `from_pretrained`, or take the mel "
            'with `output_type="mel"`'
        )
    if by_vocoder or mel is not None:
        settings.check_without_recording()
    linked = mel is None and not settings.independent_channels
    if use_vocoder and linked and any(len(item) > 1 for item in split_batch(audio)):
        raise ValueError("a vocoder makes one channel of a mel: set `independent_channels=True` for several")


def resynthesise(
    pipeline, clean_mel: list[torch.Tensor], scale: torch.Tensor, recording: np.ndarray, sampling_rate: int
) -> np.ndarray:
    """Sound of a clean mel, in pieces `(channels, num_mel_bins, frames)` along time, by the pipeline's vocoder: as long
    as `recording (channels, samples)` and at its rate."""
    rate = pipeline.config.sampling_rate
    sound = pipeline.mel_port.sound(pipeline.vocoder, clean_mel, scale)
    sound = sound[:, : num_resampled(recording.shape[1], sampling_rate, rate)].numpy()
    return resample(sound, rate, sampling_rate, recording.shape[1])


def join_mels(items: list, mel, audio):
    """Give what was made of `mel` the form of it: one, a batch, or a list. Of `audio` only a single one is no list."""
    if mel is None:
        return items if is_batch(audio) else items[0]
    if isinstance(mel, (list, tuple)):
        return items
    if mel.ndim == 2:
        return items[0]
    return torch.stack(items) if torch.is_tensor(items[0]) else np.stack(items)
