"""The forms of audio that the pipeline takes and gives back: arrays, tensors, batches and lists of them."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .settings import EnhancementSettings, check_sampling_rate

if TYPE_CHECKING:
    from .mel_port import MelPort

MAX_CHANNELS = 64
OUTPUT_TYPES = ("np", "pt", "mel")


def check_source(
    audio,
    sampling_rate,
    mel,
    *,
    mel_port: "MelPort",
    output_type: str,
    use_vocoder: bool,
    has_vocoder: bool,
    settings: EnhancementSettings,
) -> None:
    """Raise `TypeError` or `ValueError` for invalid input, and for a request that mels or vocoders cannot fulfil.

    Args:
        audio: Argument of a call of [`SpeechEnhancementPipeline`].
        sampling_rate: Argument of the same call.
        mel: Argument of the same call.
        output_type: Argument of the same call.
        use_vocoder: Argument of the same call.
        mel_port: Port that reads the mel.
        has_vocoder: Whether the pipeline has a vocoder.
        settings: Settings of the request.
    """
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f'`output_type` must be "np", "pt" or "mel", got {output_type!r}')
    if (audio is None) == (mel is None):
        raise ValueError("give either `audio` or `mel`")
    if mel is None:
        check_audio(audio)
        check_sampling_rate(sampling_rate)
    else:
        mel_port.check(mel)
        if sampling_rate is not None:
            raise ValueError(f"`sampling_rate` is that of `audio`; a mel has the model's, got {sampling_rate!r}")
    by_vocoder = use_vocoder or (mel is not None and output_type != "mel")
    if by_vocoder and not has_vocoder:
        raise ValueError(
            "this pipeline has no vocoder to make sound of a mel: give `vocoder` to `from_pretrained`, or take the mel "
            'with `output_type="mel"`'
        )
    if by_vocoder or mel is not None:
        settings.check_without_recording()
    linked = mel is None and not settings.independent_channels
    if use_vocoder and linked and any(len(item) > 1 for item in split_batch(audio)):
        raise ValueError("a vocoder makes one channel of a mel: set `independent_channels=True` for several")


def check_audio(audio) -> None:
    """Raise `TypeError` or `ValueError` unless `audio` is a recording or a batch that [`SpeechEnhancementPipeline`]
    accepts."""
    if isinstance(audio, (list, tuple)):
        if not audio:
            raise ValueError("`audio` is an empty list")
        for index, item in enumerate(audio):
            _check_recording(item, f"`audio[{index}]`", max_ndim=2)
    else:
        _check_recording(audio, "`audio`", max_ndim=3)


def _check_recording(audio, name: str, max_ndim: int) -> None:
    if not isinstance(audio, (np.ndarray, torch.Tensor)):
        raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(audio).__name__}")
    floating = audio.is_floating_point() if torch.is_tensor(audio) else np.issubdtype(audio.dtype, np.floating)
    if not floating:
        raise TypeError(f"{name} must be floating point with full scale ±1, got {audio.dtype} (divide int16 by 32768)")
    if not 1 <= audio.ndim <= max_ndim:
        shapes = "(samples,), (channels, samples)" + (" or (batch, channels, samples)" if max_ndim == 3 else "")
        raise ValueError(f"{name} must be {shapes}, got shape {tuple(audio.shape)}")
    if 0 in audio.shape:
        raise ValueError(f"{name} is empty: shape {tuple(audio.shape)}")
    if audio.ndim > 1 and audio.shape[-2] > MAX_CHANNELS:
        raise ValueError(
            f"{name} has {audio.shape[-2]} channels (at most {MAX_CHANNELS}); the order is (channels, samples): "
            f"transpose it? Got shape {tuple(audio.shape)}"
        )
    finite = torch.isfinite(audio).all() if torch.is_tensor(audio) else np.isfinite(audio).all()
    if not finite:
        raise ValueError(f"{name} contains NaN or infinite samples")


def check_block(block, num_channels: int | None) -> None:
    """Raise unless `block` is float32 `(num_channels, samples)`. If `num_channels` is `None`, any number is right."""
    if not isinstance(block, np.ndarray) or block.ndim != 2 or block.dtype != np.float32:
        shape = getattr(block, "shape", "")
        raise TypeError(f"a block must be a float32 array (channels, samples), got {type(block).__name__} {shape}")
    if not 1 <= len(block) <= MAX_CHANNELS or num_channels not in (None, len(block)):
        wanted = f"1 to {MAX_CHANNELS}" if num_channels is None else f"{num_channels}, as before"
        raise ValueError(f"a block has {len(block)} channels, expected {wanted}")
    if not np.isfinite(block).all():
        raise ValueError("the recording contains NaN or infinite samples")


def check_live_block(block, num_channels: int | None) -> np.ndarray:
    """A copy of a block of live sound as float32 `(channels, samples)`. The block may be empty.

    Args:
        block: Block that the caller passes.
        num_channels: Number of channels of the earlier blocks; `None` if there were none.

    Raises:
        ValueError, TypeError: unless it is a floating-point array `(samples,)` or `(channels, samples)` of finite
            samples with as many channels as before.
    """
    if not isinstance(block, np.ndarray):
        raise TypeError(f"`block` must be a numpy array, got {type(block).__name__}")
    if block.size or block.ndim not in (1, 2) or not np.issubdtype(block.dtype, np.floating):
        _check_recording(block, "`block`", max_ndim=2)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, which is refused below
        samples = np.array(np.atleast_2d(block), np.float32, order="C")
    if samples.shape[1] and num_channels not in (None, len(samples)):
        raise ValueError(
            f"`block` has {len(samples)} channels, the blocks before had {num_channels}; reset() begins anew"
        )
    if not np.isfinite(samples).all():
        raise ValueError("`block` contains samples that are too large for float32")
    return samples


def check_output(output):
    """Return `output`, an array or a tensor that the pipeline has made, if all of its values are finite.

    Raises:
        ValueError: if it has NaN or infinite values: the weights or settings that made them are of no use.
    """
    if not torch.as_tensor(output).isfinite().all():
        raise ValueError("the model gives NaN or infinite values: its weights or settings are broken")
    return output


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor of an array. The array is copied if it is read-only or in another order, since PyTorch would warn."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def is_batch(audio) -> bool:
    return isinstance(audio, (list, tuple)) or audio.ndim == 3


def split_batch(audio) -> list[np.ndarray]:
    """The recordings of a batch, each `(channels, samples)` float32."""
    arrays = [
        item.detach().float().cpu().numpy() if torch.is_tensor(item) else item.astype(np.float32)
        for item in (audio if is_batch(audio) else [audio])
    ]
    return [item[None] if item.ndim == 1 else item for item in arrays]


def join_batch(enhanced: list[np.ndarray], audio, output_type: str):
    """Return the `enhanced` recordings in the form of the input `audio`."""
    inputs = audio if is_batch(audio) else [audio]
    outputs: list[Any] = [item.reshape(tuple(original.shape)) for item, original in zip(enhanced, inputs, strict=True)]
    if output_type == "pt":
        outputs = [torch.from_numpy(np.ascontiguousarray(item)) for item in outputs]
    if not is_batch(audio):
        return outputs[0]
    if isinstance(audio, (list, tuple)):
        return outputs
    return torch.stack(outputs) if output_type == "pt" else np.stack(outputs)
