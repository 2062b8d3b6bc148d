"""How far ahead the live way looks and how often it runs the network. This module imports nothing that is slow."""

from dataclasses import dataclass
from numbers import Real


@dataclass(frozen=True)
class LiveTiming:
    """Times that decide the delay, the computing cost and the quality of a [`LiveEnhancer`].

    Args:
        look_ahead_ms: Length of the sound that the network hears after the newest frame that goes out. A longer
            look-ahead improves the quality and adds delay.
        interval_ms: Time from one run of the network to the next. A longer interval costs less computing and adds
            delay.
        window_ms: Length of the sound that the network is shown at once. A shorter window costs less computing.

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
"""Timings by name. `"low"` is for conversation, with a delay of about 150 ms; `"quality"` is for uses that allow a
longer delay. A rule chose them from the figures that `training/evaluation/measure_live.py` measures."""


CAUSAL_INTERVAL_MS = 16.0
"""Time from one run of a [`CausalUNet2DModel`] to the next with the latency `"low"`."""


def find_timing(latency: "str | LiveTiming") -> LiveTiming:
    """Return the timing with a name of [`LATENCIES`]. A [`LiveTiming`] is returned unchanged.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(latency, LiveTiming):
        return latency
    if not isinstance(latency, str) or latency not in LATENCIES:
        raise ValueError(f"`latency` must be one of {', '.join(LATENCIES)}, or a LiveTiming, got {latency!r}")
    return LATENCIES[latency]
