"""Pictures of what enhancing did: waveform, spectrograms and the applied gain, aligned in time.

Everything is measured on the two recordings alone, so any pair of the same length can be drawn. Needs matplotlib (the
extra `demo` or `eval`); figures are made without pyplot, so threads may draw at the same time.
"""

from collections.abc import Mapping

import numpy as np

WINDOW_SECONDS = 0.032
HOP_SECONDS = 0.008
MAX_COLUMNS = 1200
DYNAMIC_RANGE_DB = 70.0
GAIN_RANGE_DB = 30.0


def power_spectrogram(audio: np.ndarray, sampling_rate: int, max_columns: int = MAX_COLUMNS) -> np.ndarray:
    """Power of a recording over frequency and time, for display.

    Args:
        audio: `(samples,)` or `(channels, samples)`; the channels' powers are averaged.
        sampling_rate: Samples per second.
        max_columns: A recording with more frames than this has neighbours averaged.

    Returns:
        `(frequencies, columns)` from 0 Hz to half the sampling rate, every column of equal duration.
    """
    audio = np.atleast_2d(np.asarray(audio, dtype=np.float32))
    window_length = max(16, round(WINDOW_SECONDS * sampling_rate))
    hop_length = max(1, round(HOP_SECONDS * sampling_rate))
    num_frames = -(-audio.shape[1] // hop_length)
    pooled = -(-num_frames // max_columns)
    num_columns = -(-num_frames // pooled)
    window = np.hanning(window_length + 1)[:-1].astype(np.float32)
    tail = (num_columns * pooled - 1) * hop_length + window_length - audio.shape[1]
    padded = np.pad(audio, ((0, 0), (window_length // 2, max(0, tail))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_length, axis=1)[:, ::hop_length]
    power = np.empty((window_length // 2 + 1, num_columns), np.float32)
    for column in range(num_columns):  # column by column: the frames of an hour would not fit into memory
        spectrum = np.fft.rfft(frames[:, column * pooled : (column + 1) * pooled] * window)
        power[:, column] = np.square(np.abs(spectrum)).mean(axis=(0, 1))
    return power


def applied_gain_db(noisy_power: np.ndarray, enhanced_power: np.ndarray) -> np.ndarray:
    """Gain in dB between two power spectrograms; 0 where the recording has nothing to turn down."""
    floor = max(float(noisy_power.max(initial=0.0)) * 1e-9, 1e-20)
    return 10 * np.log10((enhanced_power + floor) / (noisy_power + floor))


def draw_comparison(
    noisy: np.ndarray,
    enhanced: np.ndarray | Mapping[str, np.ndarray],
    sampling_rate: int,
    *,
    columns: int = 1,
    width: float = 9.0,
    dark: bool = False,
):
    """Draw a recording and what became of it: waveforms, spectrograms in dB below the loudest of the recording, and the
    gain that was applied in dB.

    Args:
        noisy: The recording, `(samples,)` or `(channels, samples)`.
        enhanced: The result of the same shape, or several by their names.
        sampling_rate: Samples per second of all of them.
        columns: Recording and results side by side, at most so many in a row; with 1, all stand above each other over
            the same seconds.
        width: Of the figure, in inches.
        dark: Light text on a dark ground.

    Returns:
        A `matplotlib.figure.Figure`, to be saved with `figure.savefig(path)`. The label of an axes is `waveform`,
        `level`, `gain` or `<colorbar>`.

    Raises:
        ValueError: if a result has another shape than the recording.
    """
    from matplotlib.figure import Figure

    noisy = np.atleast_2d(np.asarray(noisy, np.float32))
    named = enhanced if isinstance(enhanced, Mapping) else {"enhanced": enhanced}
    results = {name: np.atleast_2d(np.asarray(item, np.float32)) for name, item in named.items()}
    for name, item in results.items():
        if item.shape != noisy.shape:
            raise ValueError(f"{name!r} has shape {item.shape}, the recording {noisy.shape}")

    columns = min(columns, len(results) + 1)
    rows = -(-(len(results) + 1) // columns)
    figure = Figure(figsize=(width, 3.7 * rows + 0.3), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, sharex=True)
    cells = [pair for row in range(rows) for pair in zip(grid[2 * row], grid[2 * row + 1], strict=True)]
    # above each other the waveform leads; side by side the spectrograms share a row
    wave_axis, noisy_axis = cells[0] if columns == 1 else cells[0][::-1]

    power = power_spectrogram(noisy, sampling_rate)
    top = _decibel(power).max()
    level, gain = (-DYNAMIC_RANGE_DB, 0, "magma"), (-GAIN_RANGE_DB, 0, "cividis")
    extent = (0, noisy.shape[1] / sampling_rate, 0, sampling_rate / 2000)
    _draw_waveforms(wave_axis, noisy, results, extent[1], dark)
    _draw_image(noisy_axis, _decibel(power) - top, "recording", extent, *level)
    for (level_axis, gain_axis), (name, item) in zip(cells[1:], results.items(), strict=False):
        result_power = power_spectrogram(item, sampling_rate)
        _draw_image(level_axis, _decibel(result_power) - top, name, extent, *level)
        _draw_image(gain_axis, applied_gain_db(power, result_power), "gain applied", extent, *gain)
    for axis in grid.flat:
        axis.set_visible(axis.has_data())
        axis.tick_params(labelbottom=True)
    for _, lower in cells if columns > 1 else cells[-1:]:
        lower.set_xlabel("seconds")
    _set_colours(figure, dark)
    return figure


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-10))


def _draw_image(axis, values: np.ndarray, title: str, extent, lowest: float, highest: float, cmap: str) -> None:
    image = axis.imshow(
        values, origin="lower", aspect="auto", extent=extent, vmin=lowest, vmax=highest, cmap=cmap, rasterized=True
    )
    axis.set_label("gain" if cmap == "cividis" else "level")
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_ylabel("kHz")
    axis.figure.colorbar(image, ax=axis, label="dB", pad=0.01, aspect=12)


def _draw_waveforms(axis, noisy: np.ndarray, results: Mapping[str, np.ndarray], duration: float, dark: bool) -> None:
    """Envelopes of the recording and, if it is the only one, of the result over it."""
    shown = {"recording": (noisy, "#9aa0a6" if dark else "#a8adb3")}
    if len(results) == 1:
        shown |= {name: (item, "#f5a742" if dark else "#c2410c") for name, item in results.items()}
    for name, (audio, colour) in shown.items():
        mono = audio[np.abs(audio).max(axis=1).argmax()]
        block = -(-len(mono) // MAX_COLUMNS)
        blocks = np.pad(mono, (0, -len(mono) % block), mode="edge").reshape(-1, block)
        seconds = (np.arange(len(blocks)) + 0.5) * block * duration / len(mono)
        axis.fill_between(seconds, blocks.min(axis=1), blocks.max(axis=1), color=colour, linewidth=0.3, label=name)
    axis.set_label("waveform")
    axis.set_title("waveform", loc="left", fontsize=10)
    axis.set_xlim(0, duration)
    axis.margins(y=0.05)
    if len(shown) > 1:
        legend = {"fontsize": 8, "loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "frameon": False}
        axis.legend(**legend, borderpad=0, labelcolor="linecolor")


def _set_colours(figure, dark: bool) -> None:
    ground, ink = ("#18181b", "#d4d4d8") if dark else ("#ffffff", "#27272a")
    figure.set_facecolor(ground)
    for axis in figure.axes:
        axis.set_facecolor(ground)
        axis.tick_params(colors=ink, labelsize=8)
        for text in (axis.title, axis._left_title, axis.xaxis.label, axis.yaxis.label):
            text.set_color(ink)
        for spine in axis.spines.values():
            spine.set_edgecolor(ink)
            spine.set_linewidth(0.5)
