"""Serves requests with one model: checks against limits before anything is decoded, and enhancing.

This module does not depend on how requests arrive; `spaces/app.py` puts a web page in front of it.
"""

import copy
import ctypes
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from serving_limits import Limits, RequestError, Settings

from speech_enhance.audio import ffmpeg
from speech_enhance.audio.files import AudioFile, AudioFileError, AudioReader, open_audio, read_audio
from speech_enhance.models.schedulers import make_scheduler

if TYPE_CHECKING:
    from speech_enhance.live.enhancer import LiveEnhancer

WINDOW_BATCH_SIZE = 2  # a request can be stopped after every step of this many windows, some 50 ms on a CPU
FULL_SCALE_RATE = 96000


class Stopped(Exception):
    """Raised when the person who made a request does not want it any more."""


def go_on() -> None:
    """Do nothing: the `check` of a request that nobody stops. A function that may take longer than a fraction of a
    second calls its `check` again and again. An error that `check` raises, such as [`Stopped`], ends the request."""


def checked_blocks(audio: np.ndarray, sampling_rate: int, check: Callable[[], None]) -> Iterator[np.ndarray]:
    """Yield `audio` `(channels, samples)` in blocks of some seconds, and call `check` before each block."""
    from speech_enhance.pipelines.survey import array_blocks

    for block in array_blocks(audio, sampling_rate):
        check()
        yield block


@dataclass(frozen=True)
class Run:
    """A finished request: audio `(channels, samples)`, evaluations of the network per window, and computing seconds."""

    audio: np.ndarray
    evaluations: int
    seconds: float


def delete_old_files(folder: Path, seconds: float) -> None:
    """Delete every file below `folder` that was put there more than `seconds` ago. Then delete the folders that have
    been empty for that time."""
    now = time.time()
    for parent, folders, files in os.walk(folder, topdown=False):  # os.walk follows no links
        for name in files + folders:
            path = Path(parent, name)
            with suppress(OSError):
                if now - path.lstat().st_ctime > seconds:
                    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def return_memory() -> None:
    """Give free memory of the process back to the system, if the C library can do that (glibc). Otherwise the library
    keeps pieces of the large arrays of past requests, and a server grows for hours although no object is left."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)


def open_upload(path: str | os.PathLike | None, limits: Limits, check: Callable[[], None] = go_on) -> AudioFile:
    """Decode an uploaded file after checking that its size and header are within `limits`.

    Raises:
        RequestError: if the file is refused. The sentence names the file, but not its place on the server.
    """
    if not path:
        raise RequestError(
            "There is no recording yet: upload or record one, wait until it is shown, or take an example."
        )
    path = Path(path)
    if not path.is_file():
        raise RequestError(
            "The recording is not on the server any more: files are deleted after a while. Upload it again."
        )

    def after_block(num_samples: int) -> None:
        check()
        check_length(reader, num_samples, limits)  # a header may not tell the length

    try:
        reader = check_header(path, limits)
        recording = read_audio(path, after_block, may_use_ffmpeg=_is_mp4(path))
    except AudioFileError as error:
        raise RequestError(str(error).replace(str(path), f"“{path.name}”", 1) + ".") from error
    if not recording.audio.any():
        raise RequestError(f"“{path.name}” holds nothing but digital silence: there is no speech to enhance.")
    return recording


def formats() -> str:
    """Return, in words, the formats that [`open_upload`] reads on this machine."""
    return "WAV, FLAC, Ogg, Opus, MP3, AIFF and M4A" if ffmpeg.installed() else "WAV, FLAC, Ogg, Opus, MP3 and AIFF"


def _is_mp4(path: Path) -> bool:
    """Return whether a file is of the MP4 family, such as a phone's voice memo (M4A). Only these files are given to
    ffmpeg, because ffmpeg would read more formats than the page promises."""
    with open(path, "rb") as file:
        return file.read(8)[4:] == b"ftyp" and ffmpeg.installed()


def check_header(path: Path, limits: Limits) -> AudioReader:
    """Open a file. Its size and header alone decide whether it is accepted.

    Raises:
        RequestError: if the file is not audio or exceeds `limits`.
        AudioFileError: if the file cannot be read for another reason.
    """
    import soundfile

    name, size = f"“{path.name}”", path.stat().st_size
    if size == 0:
        raise RequestError(f"{name} is empty.")
    if size > limits.max_file_mb * 10**6:
        raise RequestError(f"{name} has {size / 1e6:.0f} MB; the limit of this page is {limits.max_file_mb} MB.")
    try:
        reader = open_audio(path, may_use_ffmpeg=_is_mp4(path))
    except AudioFileError as error:
        if not isinstance(error.__context__, soundfile.SoundFileError):
            raise
        raise RequestError(
            f"{name} cannot be read as audio. This page takes {formats()}; other files need to be converted first."
        ) from error
    if reader.num_channels > limits.max_channels:
        raise RequestError(
            f"{name} has {reader.num_channels} channels; the limit of this page is {limits.max_channels}."
        )
    if not 1000 <= reader.sampling_rate <= 768000:
        raise RequestError(f"{name} has {reader.sampling_rate} samples per second; 1000 to 768000 are possible.")
    if not math.isnan(reader.duration):
        check_length(reader, round(reader.duration * reader.sampling_rate), limits)
    return reader


def check_length(reader: AudioReader, num_samples: int, limits: Limits) -> None:
    """Raise [`RequestError`] for a recording with more samples than `limits` allow."""
    name, seconds = f"“{reader.path.name}”", num_samples / reader.sampling_rate
    if seconds > limits.max_seconds:
        raise RequestError(
            f"{name} is {_duration(seconds, limits.max_seconds)} long; the limit of this page is "
            f"{_duration(limits.max_seconds)}. The command line has no limit."
        )
    if num_samples * reader.num_channels > limits.max_seconds * FULL_SCALE_RATE:
        raise RequestError(f"{name} holds too many samples in all its channels; shorten it or lower its sampling rate.")


class Enhancer:
    """One model in memory for all requests. Each request has its own scheduler, so any number may run at the same time.

    Args:
        model: Pipeline folder or Hub id; `None` means the bundled checkpoint.
        device: Name of the device, such as `cuda`; `None` means a GPU if there is one.

    Raises:
        UserError: if the model cannot be loaded. The message says why in one line.
    """

    def __init__(self, model: str | None = None, device: str | None = None):
        from speech_enhance.jobs.file import load_pipeline
        from speech_enhance.live.backend import prefer_onnx

        self.pipeline = load_pipeline(model, device)
        prefer_onnx(self.pipeline)
        self.pipeline.set_progress_bar_config(disable=True)

    def enhance(
        self,
        audio: np.ndarray,
        sampling_rate: int,
        settings: Settings,
        on_step: Callable[[int, int], None] | None = None,
        check: Callable[[], None] = go_on,
    ) -> Run:
        """Enhance a recording.

        Args:
            audio: Recording `(channels, samples)`, float32, full scale ±1.
            sampling_rate: Samples per second.
            settings: Settings of the request.
            on_step: Function that is called as `on_step(done, total)` after every step of every batch of windows.
            check: Function that is called after every such step and every block of audio, see [`go_on`].

        Raises:
            RequestError: for settings that this model does not have.
        """
        from torch import Generator

        pipeline = copy.copy(self.pipeline)
        pipeline.scheduler = make_scheduler(settings.scheduler, self.pipeline.scheduler.config)
        steps = self._num_steps(settings)
        total = steps * self._num_batches(audio.shape[1], sampling_rate, settings.num_estimates)

        def after_step(_pipeline, step, _timestep, _tensors):
            check()
            if on_step is not None:
                on_step(min(step + 1, total), total)

        started = time.perf_counter()
        try:
            blocks = pipeline.stream(
                lambda: checked_blocks(audio, sampling_rate, check),
                sampling_rate,
                num_inference_steps=settings.num_inference_steps,
                num_estimates=settings.num_estimates,
                generator=Generator().manual_seed(settings.seed),
                attenuation_limit_db=settings.attenuation_limit_db,
                mix=settings.mix,
                dereverb=settings.dereverb,
                window_batch_size=WINDOW_BATCH_SIZE,
                callback_on_step_end=after_step,
                callback_on_step_end_tensor_inputs=[],
            )
            enhanced = np.concatenate(list(blocks), axis=1)
        except ValueError as error:  # the model lacks a feature, such as removing reverberation
            raise RequestError(f"This cannot be enhanced: {error}.") from error
        return Run(enhanced, steps * settings.num_estimates, time.perf_counter() - started)

    def live(self, sampling_rate: int, latency: str) -> "LiveEnhancer":
        """Return an enhancer of live sound, which can run at the same time as any number of others.

        Raises:
            RequestError: if this model or its scheduler cannot enhance live sound.
        """
        pipeline = copy.copy(self.pipeline)
        pipeline.scheduler = copy.deepcopy(self.pipeline.scheduler)
        try:
            return pipeline.live(sampling_rate, latency)
        except ValueError as error:
            raise RequestError(f"This model cannot enhance live sound: {error}.") from error

    def check_work(self, seconds: float, all_settings: list[Settings], limits: Limits) -> None:
        """Raise [`RequestError`] if a recording of this many `seconds`, enhanced with each of `all_settings`, needs
        more computing than `limits.max_work`."""
        evaluations = sum(self._num_steps(settings) * settings.num_estimates for settings in all_settings)
        if seconds * evaluations > limits.max_work:
            raise RequestError(
                f"{_duration(seconds)} of sound, {evaluations} times through the network, is too much for "
                "this page: the "
                f"limit is {limits.max_work} s in all. Take fewer steps or estimates, or a shorter recording."
            )

    def _num_steps(self, settings: Settings) -> int:
        """Return the evaluations of the network for one estimate, which may be more than the number of steps."""
        scheduler = make_scheduler(settings.scheduler, self.pipeline.scheduler.config)
        try:
            scheduler.set_timesteps(settings.num_inference_steps)
        except ValueError as error:
            raise RequestError(f"This cannot be enhanced: {error}.") from error
        return len(scheduler.timesteps)

    def _num_batches(self, num_samples: int, sampling_rate: int, num_estimates: int) -> int:
        from speech_enhance.pipelines.windows import window_starts

        config = self.pipeline.config
        frames = self.pipeline.mel_config.num_frames(-(-num_samples * config.sampling_rate // sampling_rate))
        windows = len(window_starts(frames, config.window_frames, config.overlap_frames))
        return -(-windows * num_estimates // WINDOW_BATCH_SIZE)


def _duration(seconds: float, other: float | None = None) -> str:
    """Return a length in words, with enough digits to distinguish it from `other` seconds."""
    for digits in range(6):
        rounded = round(seconds, digits)
        if rounded < 120:
            text = f"{seconds:.{3 + digits}g} s"
        else:
            parts = {"h": rounded // 3600, "min": rounded % 3600 // 60, "s": round(rounded % 60, digits)}
            text = " ".join(f"{value:g} {unit}" for unit, value in parts.items() if value)
        if other is None or text != _duration(other):
            break
    return text
