"""How far ahead the live way looks and how often it runs the network, and the delay that follows."""

from dataclasses import dataclass, replace
from math import ceil
from numbers import Real

from ..mel.spectrogram import MelConfig
from .resampling import reach


@dataclass(frozen=True)
class LiveTiming:
    """What decides delay, computing and quality of a [`LiveEnhancer`].

    Args:
        look_ahead_ms: Sound that the network hears after the newest frame that goes out. More is better and later.
        interval_ms: Time from one run of the network to the next. A longer one is cheaper and later.
        window_ms: Sound that the network is shown at once. A shorter one is cheaper.

    Raises:
        ValueError: for a time out of range.
    """

    look_ahead_ms: float
    interval_ms: float
    window_ms: float

    def __post_init__(self):
        for name, least in (("look_ahead_ms", 0), ("interval_ms", 1), ("window_ms", 1)):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or value < least or not value <= 60000:
                raise ValueError(f"`{name}` must be a number of milliseconds from {least} to 60000, got {value!r}")


LATENCIES = {
    "low": LiveTiming(look_ahead_ms=64, interval_ms=64, window_ms=1024),
    "quality": LiveTiming(look_ahead_ms=96, interval_ms=192, window_ms=1024),
}
"""Timings by name: for conversation, about 150 ms, and for all that may be later. Chosen by rule from measured figures:
`training/evaluation/measure_live.py`."""


CAUSAL_INTERVAL_MS = 16.0
"""Time from one run of a [`CausalUNet2DModel`] to the next with the latency `"low"`."""


def find_timing(latency: "str | LiveTiming") -> LiveTiming:
    """The timing of a name of [`LATENCIES`]; a [`LiveTiming`] is its own.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(latency, LiveTiming):
        return latency
    if not isinstance(latency, str) or latency not in LATENCIES:
        raise ValueError(f"`latency` must be one of {', '.join(LATENCIES)}, or a LiveTiming, got {latency!r}")
    return LATENCIES[latency]


@dataclass(frozen=True)
class LiveFrames:
    """A [`LiveTiming`] in frames of a model, and what of the caller's sound it needs when.

    Args:
        look_ahead, interval, window: Frames.
        config: The model's analysis.
        sampling_rate: The caller's samples per second.
        causal: Whether the network is shown each frame once and remembers what came before.
    """

    look_ahead: int
    interval: int
    window: int
    config: MelConfig
    sampling_rate: int
    causal: bool = False

    @classmethod
    def of_network(cls, latency: "str | LiveTiming | None", pipeline, sampling_rate: int) -> "LiveFrames":
        """The frames of a latency for the network of a pipeline.

        Args:
            latency: Name of one of [`LATENCIES`], a timing of its own, or `None`: `"low"` for a network that was
                trained for live sound, else `"quality"`.
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
        frames = cls.of(timing, config, sampling_rate, look_ahead + round(timing.interval_ms * 1000), 1)
        if frames.look_ahead != look_ahead:
            raise ValueError(
                f'`latency`: this network was trained to look {own_ms:g} ms ahead; give "low" or a LiveTiming with '
                f"look_ahead_ms={own_ms:g}, got {latency!r}"
            )
        return replace(frames, causal=True)

    @classmethod
    def of(cls, timing: LiveTiming, config: MelConfig, sampling_rate: int, most: int, multiple: int) -> "LiveFrames":
        """The timing in frames.

        Args:
            timing: In milliseconds.
            config: The model's analysis.
            sampling_rate: The caller's samples per second.
            most: Frames of the windows that the model was trained on, which no window exceeds.
            multiple: Frames that patches and levels of the network divide.

        Raises:
            ValueError: if look-ahead and interval do not fit into a window.
        """
        rate = config.sampling_rate / config.hop_length / 1000
        look_ahead, interval = round(timing.look_ahead_ms * rate), max(1, round(timing.interval_ms * rate))
        window = max(min(round(timing.window_ms * rate), most) // multiple, 1) * multiple
        if look_ahead + interval > window:
            raise ValueError(
                f"`latency`: look-ahead and interval ({look_ahead} and {interval} frames) do not fit into a window "
                f"of {window}"
            )
        return cls(look_ahead, interval, window, config, sampling_rate)

    @property
    def margin(self) -> int:
        """Frames by which the last frame with a gain lies behind the last sample that is complete."""
        return -(-self.config.n_fft // (2 * self.config.hop_length))

    @property
    def resampled(self) -> bool:
        """Whether the caller's rate is not the model's."""
        return self.sampling_rate != self.config.sampling_rate

    def samples_needed(self, call: int) -> int:
        """Samples at the model's rate without which run number `call` of the network does not begin: those of its
        newest frame, and with another rate those that tell the power above the model's band."""
        hop, decided = self.config.hop_length, (call + 1) * self.interval
        needed = (decided + self.look_ahead - 1) * hop + self.config.n_fft // 2
        if self.resampled:
            needed = max(needed, decided * hop - hop // 2 + self._restoring + 1)
        return needed

    @property
    def latency(self) -> int:
        """Delay of the output in samples at the caller's rate: the most that it ever has to wait."""
        config = self.config
        waiting = self.samples_needed(0) - 1 + self.margin * config.hop_length
        if not self.resampled:
            return waiting
        first = reach(self.sampling_rate, config.sampling_rate)
        return first + ceil((waiting + self._restoring) * self.sampling_rate / config.sampling_rate)

    @property
    def _restoring(self) -> int:
        return reach(self.config.sampling_rate, self.sampling_rate)
