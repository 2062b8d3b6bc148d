"""Pictures of the effect of enhancing: waveform, spectrograms and the applied gain, aligned in time.

Everything is measured on the two recordings, so any pair of the same length can be drawn. The module needs matplotlib
(the extra `plot`). Figures are made without pyplot, so threads may draw at the same time.
"""

from collections.abc import Mapping

import numpy as np

from .strips import Strip

DYNAMIC_RANGE_DB = 70.0
GAIN_RANGE_DB = 30.0


def applied_gain_db(noisy_power: np.ndarray, enhanced_power: np.ndarray) -> np.ndarray:
    """Gain in dB between two power spectrograms; 0 where the recording has nothing to turn down."""
    floor = max(float(noisy_power.max(initial=0.0)) * 1e-9, 1e-20)
    return 10 * np.log10((enhanced_power + floor) / (noisy_power + floor))


def draw_comparison(
    noisy: np.ndarray | Strip,
    enhanced: np.ndarray | Strip | Mapping[str, np.ndarray | Strip],
    sampling_rate: int,
    *,
    columns: int = 1,
    width: float = 9.0,
    dark: bool = False,
):
    """Draw a recording and its results: waveforms, spectrograms in dB below the recording's loudest point, and the
    applied gain in dB. The gain is blank where the recording is below the spectrogram's range.

    Args:
        noisy: Recording `(samples,)` or `(channels, samples)`, or the [`Strip`] of a long one.
        enhanced: Result of the same shape, or several results by their names.
        sampling_rate: Samples per second of all of them.
        columns: Largest number of pictures in a row, where recording and results stand side by side. With 1, all stand
            above each other on the same time axis.
        width: Width of the figure in inches.
        dark: Whether to draw light text on a dark ground.

    Returns:
        A `matplotlib.figure.Figure`, to be saved with `figure.savefig(path)`. The label of an axes is `waveform`,
        `level`, `gain` or `<colorbar>`.

    Raises:
        ValueError: if a result is not as long as the recording.
    """
    from matplotlib.figure import Figure

    named = enhanced if isinstance(enhanced, Mapping) else {"enhanced": enhanced}
    noisy, *strips = (
        item if isinstance(item, Strip) else Strip.of(item, sampling_rate) for item in (noisy, *named.values())
    )
    results = dict(zip(named, strips, strict=True))
    for name, strip in results.items():
        if strip.num_samples != noisy.num_samples:
            raise ValueError(f"{name!r} has {strip.num_samples} samples, the recording {noisy.num_samples}")

    columns = min(columns, len(results) + 1)
    rows = -(-(len(results) + 1) // columns)
    figure = Figure(figsize=(width, 3.7 * rows + 0.3), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, sharex=True)
    cells = [pair for row in range(rows) for pair in zip(grid[2 * row], grid[2 * row + 1], strict=True)]
    # In one column the waveform comes first; side by side, the spectrograms share a row.
    wave_axis, noisy_axis = cells[0] if columns == 1 else cells[0][::-1]

    top = _decibel(noisy.power).max()
    level, gain = (-DYNAMIC_RANGE_DB, 0, "magma"), (-GAIN_RANGE_DB, 0, "cividis")
    extent = (0, noisy.duration, 0, sampling_rate / 2000)
    _draw_waveforms(wave_axis, noisy, results, dark)
    _draw_image(noisy_axis, _decibel(noisy.power) - top, "recording", extent, *level)
    silent = _decibel(_mean_around(noisy.power)) < top - DYNAMIC_RANGE_DB
    for (level_axis, gain_axis), (name, item) in zip(cells[1:], results.items(), strict=False):
        _draw_image(level_axis, _decibel(item.power) - top, name, extent, *level)
        # Where there is nothing to turn down, a gain has no meaning.
        heard = np.ma.masked_where(silent, applied_gain_db(noisy.power, item.power))
        _draw_image(gain_axis, heard, "gain applied (blank where the recording is silent)", extent, *gain)
    for axis in grid.flat:
        axis.set_visible(axis.has_data())
        axis.tick_params(labelbottom=True)
    for _, lower in cells if columns > 1 else cells[-1:]:
        lower.set_xlabel("seconds")
    _set_colours(figure, dark)
    return figure


def _mean_around(power: np.ndarray, reach: int = 3) -> np.ndarray:
    """Mean of each value and its neighbours up to `reach` away in both directions. It keeps noise near a threshold on
    one side of it."""
    size = 2 * reach + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(power, reach, mode="edge"), (size, size))
    return windows.mean(axis=(2, 3))


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-10))


def _draw_image(axis, values: np.ndarray, title: str, extent, lowest: float, highest: float, cmap: str) -> None:
    image = axis.imshow(
        values,
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=lowest,
        vmax=highest,
        cmap=cmap,
        rasterized=True,
        interpolation_stage="data",  # averaging decibels takes a quarter of the work of averaging colours
    )
    axis.set_label("gain" if cmap == "cividis" else "level")
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_ylabel("kHz")
    axis.figure.colorbar(image, ax=axis, label="dB", pad=0.01, aspect=12)


def _draw_waveforms(axis, noisy: Strip, results: Mapping[str, Strip], dark: bool) -> None:
    """Draw the envelope of the recording. If there is only one result, draw its envelope over it."""
    shown = {"recording": (noisy, "#9aa0a6" if dark else "#a8adb3")}
    if len(results) == 1:
        shown |= {name: (item, "#f5a742" if dark else "#c2410c") for name, item in results.items()}
    seconds = (np.arange(noisy.power.shape[1]) + 0.5) * noisy.column_seconds
    for name, (strip, colour) in shown.items():
        axis.fill_between(seconds, *strip.envelope, color=colour, linewidth=0.3, label=name)
    axis.set_label("waveform")
    axis.set_title("waveform", loc="left", fontsize=10)
    axis.set_xlim(0, noisy.duration)
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
