"""Makes sound from a mel that has no recording, with a vocoder of transformers; for text-to-speech."""

import math
from collections.abc import Mapping
from types import SimpleNamespace

import torch

from .spectrogram import MelConfig

VOCODERS = ("SpeechT5HifiGan", "FastSpeech2ConformerHifiGan")
CHUNK_FRAMES = 512
MOST_FRAMES_HEARD = 1024


def check_vocoder(vocoder, layout: MelConfig) -> None:
    """Raise `ValueError` unless `vocoder` is one of [`VOCODERS`] and fits mels of `layout`."""
    if type(vocoder).__name__ not in VOCODERS:
        raise ValueError(f"`vocoder` must be one of transformers' {', '.join(VOCODERS)}, got {type(vocoder).__name__}")
    config = vocoder.config
    wanted = {
        "bands": (config.model_in_dim, layout.num_mel_bins),
        "samples per frame": (math.prod(config.upsample_rates), layout.hop_length),
        "samples per second": (config.sampling_rate, layout.sampling_rate),
    }
    for name, (vocoders, mels) in wanted.items():
        if vocoders != mels:
            raise ValueError(
                f"the vocoder is for mels of {vocoders} {name}, these have {mels}: is `mel_layout` the vocoder's?"
            )


def check_vocoder_config(config: Mapping) -> None:
    """Raise `ValueError` for settings of a vocoder that do not fit each other, or that make chunks too long."""
    pairs = [("upsample_rates", "upsample_kernel_sizes"), ("resblock_kernel_sizes", "resblock_dilation_sizes")]
    for first, second in pairs:
        if not len(config[first]) == len(config[second]) > 0:
            raise ValueError(
                f"`{first}` and `{second}` must have as many entries, got {len(config[first])} and "
                f"{len(config[second])}"
            )
    if not all(config["resblock_dilation_sizes"]):
        raise ValueError("`resblock_dilation_sizes` must not have empty lists")
    if (heard := frames_heard(SimpleNamespace(**config))) > MOST_FRAMES_HEARD:
        raise ValueError(f"the vocoder must hear at most {MOST_FRAMES_HEARD} frames around each, got {heard}")


def try_vocoder(vocoder) -> None:
    """Run an empty vocoder on the `meta` device; raises `ValueError` unless its sound is as long as it should be."""
    frames = CHUNK_FRAMES + 2 * frames_heard(vocoder.config)
    sound = vocoder(torch.empty(1, frames, vocoder.config.model_in_dim, device="meta"))[0]
    wanted = frames * math.prod(vocoder.config.upsample_rates)
    if sound.shape != (wanted,):
        raise ValueError(f"of {frames} frames it makes sound of shape {list(sound.shape)}, not {[wanted]}")


def vocode(vocoder, mel: torch.Tensor) -> torch.Tensor:
    """Make the sound of a mel of any length, with memory for a few seconds of it.

    Each output sample of a convolutional vocoder depends on a limited number of frames. So the vocoder is run on
    chunks that have this many more frames on both sides, and the result is the same as for the whole mel at once.

    Args:
        vocoder: Vocoder, one of [`VOCODERS`].
        mel: Mel `(num_mel_bins, frames)` in the vocoder's layout.

    Returns:
        Sound `(frames · hop_length,)`, float32 on the CPU.
    """
    hop, reach = math.prod(vocoder.config.upsample_rates), frames_heard(vocoder.config)
    mel, sound = mel.T.to(vocoder.device, vocoder.dtype), []
    for first in range(0, len(mel), CHUNK_FRAMES):
        last = min(first + CHUNK_FRAMES, len(mel))
        start = max(first - reach, 0)
        chunk = vocoder(mel[None, start : last + reach])[0]
        sound.append(chunk[(first - start) * hop : (last - start) * hop].float().cpu())
    return torch.cat(sound)


def frames_heard(config) -> int:
    """Number of frames before and after a sample that a HiFi-GAN of `config` depends on."""
    reach, rate = 3.0, 1.0  # reach of the first convolution in frames, and values per frame
    for upsampling, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        reach += kernel / (2 * rate * upsampling) + 1 / rate
        rate *= upsampling
        widths = [
            (size - 1) / 2 * (sum(dilations) + len(dilations))
            for size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        ]
        reach += max(widths) / rate
    return math.ceil(reach + 3 / rate)
