"""Enhances live sound: each block from a microphone comes out enhanced after a fixed delay."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..pipelines.inputs import check_live_block
from ..pipelines.settings import EnhancementSettings, check_sampling_rate
from .frames import LiveFrames
from .stream import LiveStream
from .timing import LiveTiming

if TYPE_CHECKING:
    from ..pipelines.speech_enhancement import SpeechEnhancementPipeline

PIECE_SECONDS = 0.5
"""Longer blocks are processed in parts of this length, so that memory does not grow with the block."""


class LiveEnhancer:
    """Enhances live sound; made by [`~SpeechEnhancementPipeline.live`].

    The network of the pipeline runs once in every interval, on a sliding window. The window ends a short look-ahead
    after the newest frames that go out. A [`CausalUNet2DModel`] is shown only the new frames. Level, offset and noise
    floor depend only on the past. The output does not depend on how the sound is split into blocks.

    Args:
        pipeline: A [`SpeechEnhancementPipeline`].
        sampling_rate: Samples per second of the blocks.
        latency: Name of one of [`LATENCIES`], a [`LiveTiming`], or `None`, see
            [`~SpeechEnhancementPipeline.live`].
        seed: Seed of the noise that the sampling starts from.
        settings: Settings of [`~SpeechEnhancementPipeline.live`].

    Raises:
        ValueError, TypeError: for an argument out of range. The message names it and the value received.
    """

    def __init__(
        self,
        pipeline: "SpeechEnhancementPipeline",
        sampling_rate: int,
        latency: str | LiveTiming | None = None,
        seed: int = 0,
        **settings: Any,
    ):
        check_sampling_rate(sampling_rate)
        self._settings = _live_settings(settings)
        pipeline.check_inputs(self._settings, ())
        self._frames = LiveFrames.of_network(latency, pipeline, int(sampling_rate))
        if self._frames.causal and pipeline.config.self_conditioning:
            raise ValueError("a network that sees its last estimate and the future cannot run frame by frame")
        fixed = getattr(pipeline.unet, "num_frames", self._frames.window)
        if fixed != self._frames.window:
            raise ValueError(
                f"this OnnxUNet is made for windows of {fixed} frames, `latency` asks for "
                f"{self._frames.window}: make it "
                f"with OnnxUNet(unet, {self._frames.window})"
            )
        self._pipeline, self._seed = pipeline, seed
        self._stream: LiveStream | None = None
        self._flat = False

    @property
    def sampling_rate(self) -> int:
        """Samples per second of input and output."""
        return self._frames.sampling_rate

    @property
    def latency(self) -> int:
        """Delay from input to output in samples, which never changes. The delay of devices and their drivers is not
        included."""
        return self._frames.latency

    @property
    def interval(self) -> float:
        """Seconds of sound between two runs of the network."""
        config = self._frames.config
        return self._frames.interval * config.hop_length / config.sampling_rate

    @property
    def limited(self) -> int:
        """Number of instants since the beginning at which the output was turned down to stay within full scale."""
        return 0 if self._stream is None else self._stream.limiter.num_limited

    @property
    def num_calls(self) -> int:
        """Number of runs of the network since the beginning."""
        return 0 if self._stream is None else self._stream.num_calls

    @torch.inference_mode()
    def process(self, block: np.ndarray) -> np.ndarray:
        """Take in the next samples and return the same number of samples.

        Args:
            block: Floating-point samples, full scale ±1: `(samples,)` or `(channels, samples)`, any number of them,
                also none. The first block with samples decides the number of channels.

        Returns:
            float32 of the same shape: the enhanced sound, [`~LiveEnhancer.latency`] samples late. Before it comes
            silence.

        Raises:
            ValueError, TypeError: for a block of another form or number of channels, or with samples that are not
                finite. Such a block is ignored. Also if the network gives values that are not finite; after that,
                [`~LiveEnhancer.reset`] begins a new sound.
        """
        samples = check_live_block(block, None if self._stream is None else self._stream.num_channels)
        if not samples.shape[1]:
            return np.zeros(block.shape, np.float32)
        if self._stream is None:
            self._stream = LiveStream(self._pipeline, self._frames, self._settings, self._seed, len(samples))
        self._flat = block.ndim == 1
        return self._push(self._stream, samples).reshape(block.shape)

    @torch.inference_mode()
    def flush(self) -> np.ndarray:
        """End the sound and return its last [`~LiveEnhancer.latency`] samples in the form of the last block. The next
        block begins another sound. If no block came before, no samples are returned."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self._push(self._stream, np.zeros((self._stream.num_channels, self.latency), np.float32))
        self.reset()
        return rest[0] if self._flat else rest

    def reset(self) -> None:
        """Forget the sound so far. The next block begins another sound and may have another number of channels."""
        self._stream = None

    def seconds_of_call(self, num_channels: int = 1) -> float:
        """Measure the seconds that a run of the network and the work around it take on this machine. After one run to
        warm up, the slower of two runs counts."""
        stream = LiveStream(self._pipeline, self._frames, self._settings, self._seed, num_channels)
        silence = np.zeros((num_channels, self.latency + 1), np.float32)
        seconds = []
        for _ in range(3):
            started, before = time.perf_counter(), stream.num_calls
            with torch.inference_mode():
                stream.push(silence)
            seconds.append((time.perf_counter() - started) / max(stream.num_calls - before, 1))
        return max(seconds[1:])

    def _push(self, stream: LiveStream, samples: np.ndarray) -> np.ndarray:
        length = max(1, round(PIECE_SECONDS * self.sampling_rate))
        pieces = [samples[:, start : start + length] for start in range(0, samples.shape[1], length)]
        return np.concatenate([stream.push(piece) for piece in pieces], axis=1)


def _live_settings(settings: dict[str, Any]) -> EnhancementSettings:
    """Return the settings of a request. Without a preset, they are one step and one estimate.

    Raises:
        ValueError, TypeError: for a setting that live sound does not have, or a value out of range.
    """
    known = [
        name
        for name in EnhancementSettings.__dataclass_fields__
        if name not in ("independent_channels", "window_batch_size")
    ]
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise TypeError(f"live sound has no setting `{unknown[0]}`; it has {', '.join(known)}")
    if settings.get("preset") is None:
        settings = {"num_inference_steps": 1, "num_estimates": 1} | {
            name: value for name, value in settings.items() if value is not None
        }
    return EnhancementSettings.of(**settings)
