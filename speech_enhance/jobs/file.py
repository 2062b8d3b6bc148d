"""Enhances one file into another, and loads the pipeline that the command's options choose."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.excerpts import Excerpt, excerpt_with_speech
from ..audio.files import AudioFileError, AudioReader, open_audio, reason
from ..audio.removed_sound import with_removed
from ..audio.writer import AudioWriter
from ..pending_files import PendingFile
from ..pictures.strips import Strip

if TYPE_CHECKING:
    import torch

    from ..pipelines.speech_enhancement import SpeechEnhancementPipeline


class UserError(Exception):
    """An error that the caller can mend. Its message is the only line that the caller sees."""


@dataclass(frozen=True)
class FileReport:
    """Report of what [`enhance_file`] did.

    Args:
        target: Path of the new file.
        duration: Seconds of audio.
        seconds: Seconds of computing time.
        num_limited: Number of samples beyond full scale that had to be limited.
        lost_tags: Tags of the recording that the new file's format cannot hold.
        notes: Sentences about anything else in the recording that could not be read or kept.
        start: Seconds from the recording's beginning to the beginning of the preview; `None` for a whole recording.
    """

    target: Path
    duration: float
    seconds: float
    num_limited: int
    lost_tags: list[str]
    notes: list[str] = field(default_factory=list)
    start: float | None = None


def enhance_file(
    pipeline: "SpeechEnhancementPipeline",
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    generator: "torch.Generator | None" = None,
    on_progress: Callable[[str, float, float], None] | None = None,
    picture: str | os.PathLike[str] | None = None,
    removed: str | os.PathLike[str] | None = None,
    preview_seconds: float | None = None,
    **settings: Any,
) -> FileReport:
    """Enhance the recording `source` into `target` block by block. Memory does not grow with the recording's length.

    Args:
        pipeline: A [`SpeechEnhancementPipeline`].
        source: Audio file, or video file with sound.
        target: File to write, which appears whole or not at all; its extension chooses the format.
        generator: Generator as for [`SpeechEnhancementPipeline`].
        on_progress: Function that is called with `"looking for speech"`, `"measuring"` or `"enhancing"`, the seconds of
            audio done and the seconds of the whole file (`nan` if its header does not tell). If it raises, the work
            stops.
        picture: PNG, PDF or SVG file for a picture of before and after, see [`draw_comparison`].
        removed: Audio file for the removed sound: the recording minus the enhanced recording, sample by sample.
        preview_seconds: Length of the part that is enhanced instead of the whole recording. It is the part with most
            speech (see [`excerpt_with_speech`]).
        settings: Settings of [`~SpeechEnhancementPipeline.stream`].

    Raises:
        AudioFileError: if a file cannot be read or written. The message names the file.
        ValueError: for settings out of range.
    """
    started = time.perf_counter()
    reader = open_audio(source)
    check_places(source, target, picture=picture, removed=removed)
    on_progress = on_progress or (lambda stage, seconds, duration: None)
    if preview_seconds is not None:
        reader = excerpt_with_speech(reader, preview_seconds, on_progress)
    rate = reader.sampling_rate
    before, after = (Strip(rate), Strip(rate)) if picture else (None, None)

    def watched(blocks: Iterable[np.ndarray], stage: str, strip: Strip | None) -> Iterator[np.ndarray]:
        done = 0
        for block in blocks:
            yield block
            done += block.shape[1]
            if strip:
                strip.push(block)
            on_progress(stage, done / rate, reader.duration)

    passes = iter([watched(reader.blocks(), "measuring", before), reader.blocks()])
    enhanced = pipeline.stream(lambda: next(passes), rate, generator, **settings)
    enhanced = _unless_interrupted(enhanced, pipeline, target)
    with contextlib.ExitStack() as stack:
        if removed:
            writer = stack.enter_context(_writer_like(reader, removed))
            enhanced = with_removed(enhanced, reader.blocks(), writer)
        report = write_recording(reader, target, watched(enhanced, "enhancing", after))
        if removed and writer.num_limited:
            report.notes.append(f"{removed}: {writer.num_limited} samples over full scale were limited")
    if picture and before and after:
        draw_picture(before.finish(), after.finish(), Path(picture))
    start = reader.first / rate if isinstance(reader, Excerpt) else None
    return replace(report, seconds=time.perf_counter() - started, start=start)


def _unless_interrupted(blocks: Iterable[np.ndarray], pipeline, target: str | os.PathLike) -> Iterator[np.ndarray]:
    yield from blocks
    if pipeline.interrupt:
        raise AudioFileError(f"{target}: is not written, since the pipeline was interrupted")


def write_recording(reader: AudioReader, target: str | os.PathLike, blocks: Iterable[np.ndarray]) -> FileReport:
    """Write enhanced blocks `(channels, samples)` at the recording's rate to `target`. The file keeps the recording's
    encoding and tags as far as its format has them; see [`enhance_file`]."""
    started, num_samples, rate = time.perf_counter(), 0, reader.sampling_rate
    with _writer_like(reader, target) as writer:
        for block in blocks:
            writer.write(block)
            num_samples += block.shape[1]
    seconds = time.perf_counter() - started
    notes = [*reader.notes, *writer.notes]
    return FileReport(writer.path, num_samples / rate, seconds, writer.num_limited, writer.lost_tags, notes)


def _writer_like(reader: AudioReader, path: str | os.PathLike) -> AudioWriter:
    rate = reader.sampling_rate
    expected = 0 if math.isnan(reader.duration) else round(reader.duration * rate)
    return AudioWriter(path, rate, reader.num_channels, like=reader, num_samples=expected)


def check_places(source: str | os.PathLike, target: str | os.PathLike, **others: str | os.PathLike | None) -> None:
    """Refuse files that would overwrite each other, also under different names or through links.

    Args:
        source: The recording.
        target: The enhanced file.
        others: Further files to write. Each keyword is the file's name in messages; `None` means that the file is not
            written.

    Raises:
        AudioFileError: if two are the same file, or one of `others` exists and is not a file.
    """
    if _same_place(source, target):
        raise AudioFileError(f"{target}: output and input are the same file")
    known = {"input": source, "output": target}
    for name, path in others.items():
        if path is None:
            continue
        for other, place in known.items():
            if _same_place(path, place):
                raise AudioFileError(f"{path}: {name} and {other} are the same file")
        if os.path.exists(path) and not os.path.isfile(path):
            raise AudioFileError(f"{path}: is no regular file, expected a name for the file {name!r}")
        known[name] = path


def _same_place(first: str | os.PathLike, second: str | os.PathLike) -> bool:
    if os.path.exists(first) and os.path.exists(second):
        return os.path.samefile(first, second)
    return os.path.realpath(first) == os.path.realpath(second)


def draw_picture(before: Strip, after: Strip, path: Path) -> None:
    """Draw a recording before and after into an image file, which appears whole or not at all."""
    from ..pictures.plotting import draw_comparison

    figure = draw_comparison(before, after, before.sampling_rate)
    try:
        with PendingFile(path) as pending, open(pending.descriptor, "wb", closefd=False) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)
    except (OSError, ValueError) as error:
        raise AudioFileError(f"{path}: cannot be written ({reason(error)})") from error


BACKENDS = ("torch", "onnx")
PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class PipelineChoice:
    """The pipeline and settings that the command's options choose. A choice can be sent to another process.

    Args:
        model: Pipeline folder or Hub id; `None` for the bundled checkpoint.
        device: Name of the device; `None` for a GPU if there is one.
        preset: Name of one of [`PRESETS`]; the next three arguments replace parts of it.
        scheduler: Name of one of [`SCHEDULERS`].
        num_inference_steps, num_estimates, seed, attenuation_limit_db, mix, independent_channels, dereverb: Settings as
            for [`SpeechEnhancementPipeline`].
        backend: Name of the library that runs the network, one of [`BACKENDS`].
        precision: Number format of the network, one of [`PRECISIONS`]. ONNX Runtime runs one in `int8`.
    """

    model: str | None = None
    device: str | None = None
    preset: str = "balanced"
    scheduler: str | None = None
    num_inference_steps: int | None = None
    num_estimates: int | None = None
    seed: int = 0
    attenuation_limit_db: float | None = None
    mix: float = 1.0
    independent_channels: bool = False
    backend: str = "torch"
    dereverb: float = 0.0
    precision: str = "float32"

    def generator(self):
        """Return a new generator with the seed."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    def load(self):
        """Return the pipeline with its scheduler, and the settings of a request.

        Raises:
            UserError: if there is no such model or device, if ONNX Runtime is asked for but not installed, if the
                device is slow in this precision or the model not made for it, or if the model was not trained to remove
                reverberation and shall do so.
        """
        from ..models.schedulers import make_scheduler, preset_settings

        on_onnx = self.backend == "onnx" or self.precision == "int8"
        if on_onnx and self.device not in (None, "cpu"):
            asked = _option_for_onnx(self.precision)
            raise UserError(f"{asked} computes on the CPU, not on the device {self.device!r}: give --device cpu")
        if on_onnx and self.precision == "bfloat16":
            raise UserError("--backend onnx computes in float32 or int8, not in bfloat16")
        pipeline = load_pipeline(self.model, "cpu" if on_onnx else self.device)
        if self.dereverb > 0 and not pipeline.config.with_dereverb:
            raise UserError(
                f"--dereverb {self.dereverb:g}: this model was not trained to remove reverberation; the bundled one was"
            )
        if on_onnx:
            use_onnx(pipeline, self.precision)
        else:
            use_precision(pipeline, self.precision)
        config = pipeline.scheduler.config
        pipeline.scheduler, settings = preset_settings(self.preset, config)
        if self.scheduler:
            pipeline.scheduler = make_scheduler(self.scheduler, config)
        chosen = {"num_inference_steps": self.num_inference_steps, "num_estimates": self.num_estimates}
        settings |= {name: value for name, value in chosen.items() if value is not None}
        settings |= {"attenuation_limit_db": self.attenuation_limit_db, "mix": self.mix, "dereverb": self.dereverb}
        return pipeline, settings | {"independent_channels": self.independent_channels}


def load_pipeline(model: str | None = None, device: str | None = None):
    """Load the pipeline of a folder or Hub id (`None`: the bundled checkpoint) on `device` (`None`: a GPU if any).

    Raises:
        UserError: if there is no such model or device.
    """
    if model is not None and not Path(model).exists():
        check_on_hub(model)
    import torch
    from diffusers.utils import logging

    from .. import DEFAULT_CHECKPOINT, SpeechEnhancementPipeline

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    name = str(DEFAULT_CHECKPOINT) if model is None else model
    if Path(name).exists() and not (Path(name) / "model_index.json").is_file():
        raise UserError(f"{name}: is no pipeline folder (it has no model_index.json)")
    try:
        pipeline = SpeechEnhancementPipeline.from_pretrained(name)
    except Exception as error:  # the errors of hub, safetensors and torch share no base class
        raise UserError(f"cannot load the model {name}: {first_line(error)}") from error
    finally:
        logging.enable_progress_bar()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        pipeline.to(device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(f"cannot use the device {device!r}: {first_line(error)}") from error
    pipeline.set_progress_bar_config(disable=True)  # a bar in seconds of audio says more than one in steps
    return pipeline


def check_on_hub(name: str) -> None:
    """Refuse a model that is neither a folder nor on the Hub, or about which the Hub cannot be asked. A model that is
    already in the cache is accepted.

    Raises:
        UserError: with the reason.
    """
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    try:
        if isinstance(try_to_load_from_cache(name, "model_index.json"), str):
            return
        HfApi().model_info(name, timeout=5)
    except errors.HFValidationError:
        why = "and no name of a model on the Hub (user/name)"
    except errors.RepositoryNotFoundError:
        why = "and the Hub has no such model that you may read (a private one needs `hf auth login`)"
    except errors.HfHubHTTPError as error:
        why = f"and the Hub refuses it: {first_line(error)}"
    except errors.OfflineModeIsEnabled:
        why = "and the Hub is not asked, since HF_HUB_OFFLINE is set"
    except Exception:  # httpx's errors; this package does not depend on httpx itself
        why = "and the Hub cannot be reached"
    else:
        return
    raise UserError(f"{name}: no such folder, {why}")


def use_onnx(pipeline, precision: str = "float32") -> None:
    """Have ONNX Runtime run the network, in float32 or int8. The export takes some seconds.

    Raises:
        UserError: if ONNX Runtime is not installed, if the model's network is another one, or if it has no ranges for
            int8.
    """
    from ..models.onnx_unet import OnnxUNet

    config, asked = pipeline.config, _option_for_onnx(precision)
    try:
        pipeline.unet = OnnxUNet(
            pipeline.unet, config.window_frames, num_bands=config.num_mel_bins, precision=precision
        )
    except ImportError as error:
        raise UserError(f"{asked} needs ONNX Runtime: pip install onnx onnxruntime") from error
    except ValueError as error:
        raise UserError(f"{asked}: {error}") from error


def _option_for_onnx(precision: str) -> str:
    return "--precision int8" if precision == "int8" else "--backend onnx"


def use_precision(pipeline, precision: str) -> None:
    """Have the network compute in `precision`, one of [`PRECISIONS`].

    Raises:
        UserError: if the pipeline's device is slow in it, if it needs ONNX Runtime and that is not installed, or if the
            model has no ranges for int8.
    """
    if precision == "bfloat16":
        _use_bfloat16(pipeline)
    elif precision == "int8":
        use_onnx(pipeline, precision)


def _use_bfloat16(pipeline) -> None:
    import torch

    from ..models.precision import is_bfloat16_fast

    if not is_bfloat16_fast(pipeline.device):
        raise UserError("--precision bfloat16: this CPU has neither AMX nor AVX-512 BF16, and is faster in float32")
    pipeline.unet.to(dtype=torch.bfloat16, memory_format=torch.channels_last)  # PyTorch is faster in this layout


def first_line(error: BaseException) -> str:
    """Return an error's message in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
