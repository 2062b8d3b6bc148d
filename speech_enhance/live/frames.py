"""A live timing in frames of a model, and the delay that follows from it."""

from dataclasses import dataclass, replace
from math import ceil

from ..mel.spectrogram import MelConfig
from .resampling import reach
from .timing import CAUSAL_INTERVAL_MS, LATENCIES, LiveTiming, find_timing


@dataclass(frozen=True)
class LiveFrames:
    """A [`LiveTiming`] in frames of a model, and the number of samples that each run of the network needs.

    Args:
        look_ahead, interval, window: Lengths in frames.
        config: The model's analysis.
        sampling_rate: The caller's samples per second.
        causal: Whether the network is shown each frame once and remembers the earlier frames.
    """

    look_ahead: int
    interval: int
    window: int
    config: MelConfig
    sampling_rate: int
    causal: bool = False

    @classmethod
    def of_network(cls, latency: "str | LiveTiming | None", pipeline, sampling_rate: int) -> "LiveFrames":
        """Convert a latency into frames for the network of a pipeline.

        Args:
            latency: Name of one of [`LATENCIES`], a [`LiveTiming`], or `None`. `None` means `"low"` for a network that
                was trained for live sound, else `"quality"`.
            pipeline: The pipeline.
            sampling_rate: The caller's samples per second.

        Raises:
            ValueError: for a latency that the network cannot have.
        """
        config, unet = pipeline.mel_config, pipeline.unet
        look_ahead = getattr(unet, "look_ahead_frames", None)
        if look_ahead is None:
            timing = find_timing("quality" if latency is None else latency)
            return cls.of(timing, config, sampling_rate, pipeline.config.window_frames, unet.frame_multiple)
        own_ms = 1000 * look_ahead * config.hop_length / config.sampling_rate
        timing = find_timing("low" if latency is None else latency)
        if timing is LATENCIES["low"]:
            timing = LiveTiming(own_ms, CAUSAL_INTERVAL_MS, own_ms + CAUSAL_INTERVAL_MS)
        frames = cls.of(timing, config, sampling_rate, None, 1)
        if frames.look_ahead != look_ahead:
            raise ValueError(
                f'`latency`: this network was trained to look {own_ms:g} ms ahead; give "low" or a LiveTiming with '
                f"look_ahead_ms={own_ms:g}, got {latency!r}"
            )
        return replace(frames, causal=True)

    @classmethod
    def of(
        cls, timing: LiveTiming, config: MelConfig, sampling_rate: int, most: int | None, multiple: int
    ) -> "LiveFrames":
        """Convert a timing into frames.

        Args:
            timing: Timing in milliseconds.
            config: The model's analysis.
            sampling_rate: The caller's samples per second.
            most: Length in frames of the windows that the model was trained on. No window is longer. `None` if the
                network sees no windows.
            multiple: Number of frames of which the window's length must be a multiple, because of the network's patches
                and levels.

        Raises:
            ValueError: if look-ahead and interval do not fit into a window.
        """
        rate = config.sampling_rate / config.hop_length / 1000
        look_ahead, interval = round(timing.look_ahead_ms * rate), max(1, round(timing.interval_ms * rate))
        window = round(timing.window_ms * rate)
        window = max((window if most is None else min(window, most)) // multiple, 1) * multiple
        if look_ahead + interval > window:
            raise ValueError(
                f"`latency`: look-ahead and interval ({look_ahead} and {interval} frames) do not fit into a window "
                f"of {window}"
            )
        return cls(look_ahead, interval, window, config, sampling_rate)

    @property
    def margin(self) -> int:
        """Number of frames from the last complete sample to the last frame with a gain."""
        return -(-self.config.n_fft // (2 * self.config.hop_length))

    @property
    def resampled(self) -> bool:
        """Whether the caller's rate differs from the model's."""
        return self.sampling_rate != self.config.sampling_rate

    def samples_needed(self, call: int) -> int:
        """Return the number of samples at the model's rate that run number `call` of the network waits for. They cover
        its newest frame and, if the caller's rate differs, the power above the model's band."""
        hop, decided = self.config.hop_length, (call + 1) * self.interval
        needed = (decided + self.look_ahead - 1) * hop + self.config.n_fft // 2
        if self.resampled:
            needed = max(needed, decided * hop - hop // 2 + self._restoring + 1)
        return needed

    @property
    def latency(self) -> int:
        """Delay of the output in samples at the caller's rate, which is the longest time it ever has to wait."""
        config = self.config
        waiting = self.samples_needed(0) - 1 + self.margin * config.hop_length
        if not self.resampled:
            return waiting
        first = reach(self.sampling_rate, config.sampling_rate)
        return first + ceil((waiting + self._restoring) * self.sampling_rate / config.sampling_rate)

    @property
    def _restoring(self) -> int:
        return reach(self.config.sampling_rate, self.sampling_rate)
