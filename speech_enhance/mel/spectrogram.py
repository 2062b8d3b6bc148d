"""Mel front end: waveform ↔ STFT ↔ compressed mel, as pure functions.

Shapes are ``(batch, samples)``, ``(batch, frequencies, frames)`` and ``(batch, mel bins, frames)``. Everything is
torch, works on any device and is cheap enough to run inside a training step.

A checkpoint depends on what is fixed here (`docs/decisions.md`): the level rule, the zero padding of both ends, and
the compression that makes silence exactly 0.
"""

import functools
import inspect
import warnings
from dataclasses import dataclass
from typing import TypeVar, cast

import torch

from ..models.limits import check_settings

LEVEL_FRAME_SECONDS = 0.032
LEVEL_MEDIAN_FRAMES = 5
SILENT_LEVEL = 1e-8
"""RMS up to which a sound counts as silence."""


def full_precision(function):
    """Decorator of a function whose first argument is a tensor. The function computes in the types of its arguments,
    even under autocast, which is meant for networks only."""

    @functools.wraps(function)
    def compute(tensor, *args, **kwargs):
        if not torch.is_autocast_enabled(tensor.device.type):
            return function(tensor, *args, **kwargs)
        with torch.autocast(tensor.device.type, enabled=False):
            return function(tensor, *args, **kwargs)

    return compute


@dataclass(frozen=True)
class MelConfig:
    """The analysis a checkpoint was trained with.

    Args:
        sampling_rate: Samples per second of the waveform.
        n_fft: FFT size in samples.
        win_length: Hann window length in samples, at most `n_fft`.
        hop_length: Samples between frames, at most half of `win_length`.
        num_mel_bins: Mel bands between `min_frequency` and `max_frequency`.
        mel_power: Exponent of the compression `"power"`. 0.3 follows loudness better than a logarithm, with which a
            network spends its error on inaudible bins.
        mel_scale: Factor after the compression that brings speech near unit range.
        level: Active RMS to which a recording is scaled before analysis (1.0 is full scale).
        min_frequency, max_frequency: Frequencies in Hz; `None` is half the sampling rate.
        filter_norm: `None` for filters that sum to 1, or `"slaney"` for filters of equal area in Hz.
        compression: `"power"`, or `"log10"` as acoustic models and vocoders have it.
        mel_floor: Linear magnitude below which everything is silence with `"log10"`.
        mel_silence: Value of silence with `"log10"`. It must be 0 for our networks, whose input is padded with 0;
            mels of other models have other values (see [`MEL_LAYOUTS`]).
        frequency_warp: Factor, at least 1, by which all frequencies are raised before the filters, as if the
            recording were played faster and yet took as long. Frequencies raised above `max_frequency` have no band.

    Raises:
        ValueError: for a value of another type or out of its range (see [`RANGES`]). The message names the value.
    """

    sampling_rate: int = 16000
    n_fft: int = 512
    win_length: int = 512
    hop_length: int = 128
    num_mel_bins: int = 80
    mel_power: float = 0.3
    mel_scale: float = 1.0
    level: float = 0.1
    min_frequency: float = 0.0
    max_frequency: float | None = None
    filter_norm: str | None = None
    compression: str = "power"
    mel_floor: float = 1e-5
    mel_silence: float = 0.0
    frequency_warp: float = 1.0

    def __post_init__(self):
        check_settings(vars(self), inspect.signature(MelConfig).parameters)
        if self.win_length > self.n_fft or 2 * self.hop_length > self.win_length:
            raise ValueError(
                f"need hop_length ≤ win_length / 2 and win_length ≤ n_fft, got hop_length={self.hop_length}, "
                f"win_length={self.win_length}, n_fft={self.n_fft}"
            )
        if not 0 <= self.min_frequency < self.top_frequency <= self.sampling_rate / 2:
            raise ValueError(
                "need 0 ≤ min_frequency < max_frequency ≤ sampling_rate / 2, got "
                f"min_frequency={self.min_frequency}, max_frequency={self.max_frequency}"
            )
        for name, known in {"filter_norm": (None, "slaney"), "compression": ("power", "log10")}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` must be one of {known}, got {getattr(self, name)!r}")

    @property
    def top_frequency(self) -> float:
        """Upper end of the highest band in Hz."""
        return self.sampling_rate / 2 if self.max_frequency is None else self.max_frequency

    def num_frames(self, num_samples: int) -> int:
        """Number of frames of a waveform of `num_samples`. One frame is centred on every hop, and both ends are
        covered."""
        return -(-num_samples // self.hop_length) + 1


def active_level(waveform: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """RMS over the active frames of a whole recording. Pauses and clicks do not change it much.

    The power of each frame of 32 ms (mean over channels) is smoothed by a running median over five frames, which
    removes clicks shorter than 64 ms. The mean over the frames that lie above the mean of all frames gives the RMS.

    Args:
        waveform: Waveform `(..., channels, samples)` of at least one sample.
        sampling_rate: Samples per second.

    Returns:
        RMS `(...)`; 0 for digital silence.
    """
    power = frame_power(waveform.double().square().mean(dim=-2), level_frame(sampling_rate))
    return level_of_power(power).to(waveform.dtype)


def level_frame(sampling_rate: int) -> int:
    """Number of samples in a frame of [`active_level`]."""
    return max(1, round(LEVEL_FRAME_SECONDS * sampling_rate))


def frame_power(squares: torch.Tensor, frame: int) -> torch.Tensor:
    """Means of `squares (..., samples)` over frames of `frame` samples. The last frame may be shorter."""
    num_samples = squares.shape[-1]
    tail = -num_samples % frame
    power = torch.nn.functional.pad(squares, (0, tail)).unflatten(-1, (-1, frame)).sum(dim=-1)
    counts = torch.full_like(power, frame)
    counts[..., -1] = frame - tail
    return power / counts


def median_power(power: torch.Tensor) -> torch.Tensor:
    """Running median over five frames of the power `(..., frames)`, which removes clicks."""
    reach = LEVEL_MEDIAN_FRAMES // 2
    edges = torch.cat([power[..., :1]] * reach + [power] + [power[..., -1:]] * reach, dim=-1)
    return edges.unfold(-1, LEVEL_MEDIAN_FRAMES, 1).median(dim=-1).values


def level_of_power(power: torch.Tensor) -> torch.Tensor:
    """[`active_level`] of the power `(..., frames)` of all frames."""
    power = median_power(power)
    active = power >= power.mean(dim=-1, keepdim=True)
    mean = (power * active).sum(dim=-1) / active.sum(dim=-1).clamp(min=1)
    return mean.sqrt()


Level = TypeVar("Level", float, torch.Tensor)


def level_scale(level: Level, config: MelConfig) -> Level:
    """Factor that brings a recording of active RMS `level`, a number or a tensor, to `config.level`; 1 for silence."""
    if not isinstance(level, torch.Tensor):
        return config.level / level if level > SILENT_LEVEL else 1.0
    return torch.where(level > SILENT_LEVEL, config.level / level.clamp(min=SILENT_LEVEL), torch.ones_like(level))


def stft(waveform: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Complex STFT `(batch, n_fft // 2 + 1, config.num_frames(samples))` of `(batch, samples)`. Beyond both ends there
    is silence."""
    tail = -waveform.shape[-1] % config.hop_length
    margin = config.n_fft // 2
    return stft_frames(torch.nn.functional.pad(waveform, (margin, tail + margin)), config)


def stft_frames(waveform: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Complex STFT of `(batch, samples)` without padding: the first frame is centred on sample `n_fft // 2`."""
    return torch.stft(
        waveform,
        config.n_fft,
        config.hop_length,
        config.win_length,
        window=_window(config, waveform.device),
        center=False,
        return_complex=True,
    )


def frame_window(config: MelConfig, device: torch.device | None = None) -> torch.Tensor:
    """The window `(n_fft,)` of a frame, padded with 0 if the window is shorter than the frame."""
    before = (config.n_fft - config.win_length) // 2
    return torch.nn.functional.pad(_window(config, device), (before, config.n_fft - config.win_length - before))


def istft(spectrum: torch.Tensor, num_samples: int, config: MelConfig) -> torch.Tensor:
    """Waveform `(batch, num_samples)` of a complex STFT that [`stft`] made; the exact inverse of [`stft`]."""
    padded = num_samples + -num_samples % config.hop_length
    waveform = torch.istft(
        spectrum,
        config.n_fft,
        config.hop_length,
        config.win_length,
        window=_window(config, spectrum.device),
        center=True,
        length=padded,
    )
    return waveform[..., :num_samples]


def power_density(spectrum: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Power per Hz of a complex STFT `(..., frames)`, in the same shape. Its sum from 0 Hz to half the sampling rate is
    the mean square."""
    window_energy = _window(config, spectrum.device).square().sum()
    return 2 * spectrum.abs().square() / (config.sampling_rate * window_energy)


def analyse(waveform: torch.Tensor, config: MelConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Analyse a whole recording `(channels, samples)` at the model's sampling rate.

    Returns:
        The factor `()` that brings the recording to the model's level; the complex STFT
        `(channels, frequencies, frames)` at that level; and the mel `(1, num_mel_bins, frames)` of all channels
        together.
    """
    scale = level_scale(active_level(waveform, config.sampling_rate), config)
    spectrum = stft(waveform * scale, config)
    return scale, spectrum, mel_spectrogram(channel_rms(spectrum), config)


def channel_rms(spectrum: torch.Tensor) -> torch.Tensor:
    """Magnitude `(1, frequencies, frames)` of all channels together. It is an RMS, since in a sum of the channels,
    sounds that are out of phase would cancel."""
    return spectrum.abs().square().mean(dim=0, keepdim=True).sqrt()


@full_precision
def mel_spectrogram(magnitude: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Compressed mel `(batch, num_mel_bins, frames)` of a linear magnitude `(batch, frequencies, frames)`. Silence
    is 0."""
    return compress(mel_filters(config, magnitude.device).T @ magnitude, config)


def compress(mel_magnitude: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Convert a linear mel magnitude (≥ 0) into the compressed, normalised mel."""
    if config.compression == "log10":
        above_floor = (mel_magnitude.clamp(min=config.mel_floor) / config.mel_floor).log10()
        return config.mel_silence + config.mel_scale * above_floor
    return config.mel_scale * mel_magnitude.pow(config.mel_power)


def decompress(mel: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Inverse of [`compress`]; values below silence count as silence."""
    if config.compression == "log10":
        above_floor = (mel - config.mel_silence).clamp(min=0) / config.mel_scale
        return config.mel_floor * (10**above_floor - (above_floor == 0).float())
    return (mel.clamp(min=0) / config.mel_scale).pow(1 / config.mel_power)


@functools.lru_cache(maxsize=16)
def mel_filters(config: MelConfig, device: torch.device | None = None) -> torch.Tensor:
    """Slaney mel filters `(frequencies, num_mel_bins)`. Each sums to 1, so that a band's value is a mean magnitude,
    unless `config.filter_norm` gives them another area."""
    from transformers.audio_utils import mel_filter_bank

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter has all zero values", UserWarning)  # an error below
        filters = mel_filter_bank(
            num_frequency_bins=config.n_fft // 2 + 1,
            num_mel_filters=config.num_mel_bins,
            min_frequency=config.min_frequency,
            max_frequency=config.top_frequency,
            sampling_rate=cast(int, config.frequency_warp * config.sampling_rate),  # a fraction is as good
            norm=config.filter_norm,
            mel_scale="slaney",
        )
    filters = torch.from_numpy(filters).double()
    sums = filters.sum(dim=0)
    if (sums == 0).any():
        raise ValueError(
            f"`num_mel_bins`={config.num_mel_bins} leaves {int((sums == 0).sum())} mel bands without a frequency bin "
            f"at n_fft={config.n_fft}; use fewer bands or a larger n_fft"
        )
    return (filters if config.filter_norm else filters / sums).float().to(device)


@functools.lru_cache(maxsize=16)
def _window(config: MelConfig, device: torch.device) -> torch.Tensor:
    return torch.hann_window(config.win_length, periodic=True, dtype=torch.float32, device=device)
