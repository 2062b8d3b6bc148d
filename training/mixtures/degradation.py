"""Degrades the mel of real speech as acoustic models degrade theirs: a function of configuration and generator.

A text-to-speech model that is trained with a squared error answers with the mean of all mels that a text may have:
spectra are smeared over time and frequency and their variance shrinks (Toda & Tokuda, "A Speech Parameter Generation
Algorithm Considering Global Variance for HMM-Based Speech Synthesis", 2007). Others quantise, lose detail in places, or
add patterns of their own. Here each of these is drawn at random, in the domain in which they happen: the logarithm of
the mel.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from speech_enhance.mel.spectrogram import MelConfig
from speech_enhance.pipelines.windows import seeded_generator

from ..bounds import DECIBELS, SHARE, Bounds, check_numbers

_DEGRADATION_STREAM = 8


@dataclass(frozen=True)
class DegradationConfig:
    """How a mel is degraded. Each `*_share` is a probability; each range is two numbers, the lower first.

    Args:
        untouched_share: Mels that stay as they are, so that good ones learn to pass.
        smooth_share: Mels that are smeared.
        smooth_frames, smooth_bands: Range of the standard deviation of the smearing over time and frequency.
        smooth_strength: Range of the share of the smeared mel in the result.
        shrink_share: Mels of which every band varies less around its mean.
        shrink_factor: Range of the factor.
        cepstrum_share: Mels whose frames keep their first cosine coefficients only.
        cepstrum_kept: Range of the number of coefficients kept.
        quantise_share: Mels whose values are rounded.
        quantise_db: Range of the step of the rounding.
        hole_share: Mels that have lost all detail in a few rectangles.
        hole_number: Range of the number of rectangles for every 100 frames.
        wobble_share: Mels with a smooth random field on top.
        wobble_db: Range of the standard deviation of the field.

    Raises:
        ValueError: for a number out of its range or a range upside down.
    """

    untouched_share: float = 0.1
    smooth_share: float = 0.8
    smooth_frames: tuple[float, float] = (0.6, 2.5)
    smooth_bands: tuple[float, float] = (0.5, 2.5)
    smooth_strength: tuple[float, float] = (0.5, 1.0)
    shrink_share: float = 0.4
    shrink_factor: tuple[float, float] = (0.75, 1.0)
    cepstrum_share: float = 0.3
    cepstrum_kept: tuple[int, int] = (14, 40)
    quantise_share: float = 0.3
    quantise_db: tuple[float, float] = (1.0, 8.0)
    hole_share: float = 0.3
    hole_number: tuple[float, float] = (1.0, 5.0)
    wobble_share: float = 0.4
    wobble_db: tuple[float, float] = (0.5, 3.0)

    def __post_init__(self):
        deviation, level = Bounds(0, 100, without_low=True), Bounds(0, DECIBELS.high, without_low=True)
        check_numbers(
            self,
            smooth_frames=deviation,
            smooth_bands=deviation,
            smooth_strength=SHARE,
            shrink_factor=SHARE,
            cepstrum_kept=Bounds(1, 10000),
            quantise_db=level,
            hole_number=Bounds(0, 1000),
            wobble_db=level,
        )


def degrade_batch(
    mels: torch.Tensor, config: DegradationConfig, mel_config: MelConfig, seed: int, indices: list[int]
) -> torch.Tensor:
    """Each of `mels (batch, num_mel_bins, frames)`, compressed as `mel_config` says, by [`degrade`] with a generator of
    `seed` and its number in `indices`."""
    decibel = mel_config.mel_scale / 20
    generators = [seeded_generator(seed, _DEGRADATION_STREAM, index) for index in indices]
    return torch.stack([degrade(mel, config, decibel, item) for mel, item in zip(mels, generators, strict=True)])


def degrade(mel: torch.Tensor, config: DegradationConfig, decibel: float, generator: torch.Generator) -> torch.Tensor:
    """A mel as an acoustic model might have predicted it.

    Args:
        mel: Logarithmic mel `(num_mel_bins, frames)`; silence is 0.
        config: Configuration of the degradation.
        decibel: Value of 1 dB in `mel`.
        generator: Generator on the CPU; everything drawn comes from it.

    Returns:
        `(num_mel_bins, frames)`, never below silence.
    """

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    def chosen(share: float) -> bool:
        return uniform(0, 1) < share

    if chosen(config.untouched_share):
        return mel
    if chosen(config.smooth_share):
        smeared = smear(mel, uniform(*config.smooth_bands), uniform(*config.smooth_frames))
        mel = mel + uniform(*config.smooth_strength) * (smeared - mel)
    if chosen(config.shrink_share):
        mean = mel.mean(dim=-1, keepdim=True)
        mel = mean + uniform(*config.shrink_factor) * (mel - mean)
    if chosen(config.cepstrum_share):
        mel = keep_cepstrum(mel, round(uniform(*config.cepstrum_kept)))
    if chosen(config.hole_share):
        mel = punch_holes(mel, uniform(*config.hole_number) * mel.shape[-1] / 100, uniform)
    if chosen(config.wobble_share):
        field = torch.randn(mel.shape, generator=generator).to(mel)
        field = smear(field, uniform(0.7, 3), uniform(0.7, 4))
        mel = mel + uniform(*config.wobble_db) * decibel * field / field.std().clamp(min=1e-6)
    if chosen(config.quantise_share):
        step, offset = uniform(*config.quantise_db) * decibel, uniform(0, 1)
        mel = ((mel / step - offset).round() + offset) * step
    return mel.clamp(min=0)


def smear(mel: torch.Tensor, bands: float, frames: float) -> torch.Tensor:
    """`(num_mel_bins, frames)` convolved with a Gaussian of these standard deviations. Beyond an edge, the values at
    the edge go on."""
    for deviation in (frames, bands):  # each pass turns the mel over, so the second one is over bands
        reach = max(1, math.ceil(3 * deviation))
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=mel.device) / deviation) ** 2)
        padded = F.pad(mel[:, None], (reach, reach), mode="replicate")
        mel = F.conv1d(padded, (kernel / kernel.sum())[None, None]).squeeze(1).T
    return mel


def keep_cepstrum(mel: torch.Tensor, number: int) -> torch.Tensor:
    """`(num_mel_bins, frames)` with the first `number` coefficients of every frame's orthonormal cosine transform
    only."""
    bands = torch.arange(len(mel), device=mel.device)
    basis = torch.cos(math.pi / len(mel) * (bands + 0.5) * torch.arange(number, device=mel.device)[:, None])
    basis = basis * math.sqrt(2 / len(mel))
    basis[0] /= math.sqrt(2)
    return basis.T @ (basis @ mel)


def punch_holes(mel: torch.Tensor, number: float, uniform) -> torch.Tensor:
    """`(num_mel_bins, frames)` with about `number` rectangles in which only the coarsest shape is left."""
    coarse, mel = smear(mel, 5.0, 6.0), mel.clone()
    for _ in range(math.floor(number + uniform(0, 1))):
        height, width = int(uniform(4, 30)), int(uniform(4, 40))
        band, frame = (
            int(uniform(0, max(1, size - side))) for size, side in zip(mel.shape, (height, width), strict=True)
        )
        place = (slice(band, band + height), slice(frame, frame + width))
        mel[place] = coarse[place]
    return mel
