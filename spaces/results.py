"""Makes what the page shows of a result: the player's files and picture, tables, sentences."""

import html
import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile
from levels import active_levels, level_change_db
from serving import Run, Settings, checked_blocks

from speech_enhance.audio.files import AudioFile
from speech_enhance.pictures.plotting import draw_comparison
from speech_enhance.pictures.strips import Strip

PREVIEW_RATE_RANGE = 8000, 48000
MAX_BOOST = 4.0
REMOVED = "Removed"  # name of the version that holds the removed sound
LANE_COLUMNS = 300  # columns of a waveform
PICTURE_COLUMNS = 600  # minimum number of columns; a page is at most as many pixels wide
DARK_GROUND = "#211d1a"  # colour of the page's blocks
NARROW = 600  # pixels; on a narrower page, pictures stand above each other and letters are larger


def message(kind: str, text: str) -> str:
    """Return a sentence as HTML; `kind` is `hint`, `done` or `error`."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="message {kind}" role="{role}">{html.escape(text)}</p>'


def table(rows: list[list[str]], heading: list[str] | None = None) -> str:
    """Return an HTML table. Without a heading, the first column holds the names of the rows."""
    lines, names = [], [html.escape(cell) for cell in heading or []]
    if heading:
        lines.append("".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in heading))
    for first, *others in rows:
        cells = [f"<td>{html.escape(cell)}</td>" for cell in others]
        if heading:
            told = zip(names[1:], others, strict=True)
            cells = [f'<td data-name="{name}">{html.escape(cell)}</td>' for name, cell in told]
        lines.append(f'<th scope="row">{html.escape(first)}</th>{"".join(cells)}')
    return f'<div class="facts"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def decibel(value: float) -> str:
    return f"{value:+.1f} dB".replace("-", "−")


def facts(recording: AudioFile, run: Run, settings: Settings, check: Callable[[], None]) -> str:
    """Return the table of a run for the page; `check` is as in [`player`]."""
    seconds = recording.audio.shape[1] / recording.sampling_rate
    pauses, speech = level_change_db(recording.audio, run.audio, recording.sampling_rate, check)
    channels = {1: "mono", 2: "stereo"}.get(len(recording.audio), f"{len(recording.audio)} channels")
    rows = {
        "Original": f"{seconds:.1f} s, {recording.sampling_rate / 1000:g} kHz, {channels}",
        "Scheduler": f"{settings.scheduler}, steps: {settings.num_inference_steps}, estimates: "
        f"{settings.num_estimates}",
        "Evaluations of the network": f"{run.evaluations} per window of the recording",
        "Computing time": f"{run.seconds:.2f} s, {seconds / run.seconds:.3g} times real time",
        "Level in the pauses": decibel(pauses),
        "Level of the speech": decibel(speech),
    }
    return f"<details><summary>Figures of this run</summary>{table([list(row) for row in rows.items()])}</details>"


def comparison(audio: np.ndarray, sampling_rate: int, runs: dict[str, Run]) -> str:
    """Return the table of several runs, by their names, on the same `audio` `(channels, samples)`. On a phone every row
    is a card, and each cell has a label."""
    rows = []
    for name, run in runs.items():
        speed = audio.shape[1] / sampling_rate / run.seconds
        levels = [decibel(value) for value in level_change_db(audio, run.audio, sampling_rate)]
        rows.append([name, str(run.evaluations), f"{run.seconds:.2f} s", f"{speed:.3g} ×", *levels])
    heading = [
        "Setting",
        "Evaluations",
        "Computing time",
        "Times real time",
        "Level in the pauses",
        "Level of the speech",
    ]
    return table(rows, heading)


def parse_client(text: str | None) -> tuple[int, bool]:
    """Read `(width in pixels, dark)` of the visitor's page from the text of its script, such as "980,dark"."""
    width, _, mode = (text or "").partition(",")
    return (min(max(int(width), 320), 1100) if width.isdecimal() and len(width) < 6 else 1000), mode == "dark"


def player(
    versions: dict[str, np.ndarray],
    sampling_rate: int,
    folder: Path,
    client: str | None,
    *,
    columns: int,
    check: Callable[[], None],
) -> dict:
    """Return the value of the player: `versions` `(channels, samples)` by name, the original first, at equal loudness.
    The [`REMOVED`] sound is as loud as in the original.

    The files of the versions are written into `folder`, and so is a picture with this number of `columns`, drawn for
    the page of `client` (see [`parse_client`]). `check` may end the work, see [`go_on`].
    """
    original, *others = versions
    others = [name for name in others if name != REMOVED]
    duration = versions[original].shape[1] / sampling_rate
    scales = loudness_scales(versions, sampling_rate, check)
    tracks, strips = [], {}
    for index, (name, audio) in enumerate(versions.items()):
        path = folder / f"{index}.flac"
        write_preview(path, audio, scales[name], sampling_rate, check)
        strips[name] = Strip(sampling_rate, PICTURE_COLUMNS)
        for block in checked_blocks(audio, sampling_rate, check):
            strips[name].push(block)
        strips[name].finish()
        tracks.append({"label": name, "file": _file(path), "peaks": peaks(strips[name], scales[name])})
    loudness = ", ".join(f"{name} {decibel(20 * math.log10(scales[name] / scales[original]))}" for name in others)
    picture = draw(strips, [original, *others], folder / "picture.webp", client, columns)
    check()
    return {
        "tracks": tracks,
        "picture": picture | {"file": _file(folder / "picture.webp")},
        "duration": duration,
        "alt": f"Spectrograms from 0 to {sampling_rate / 2000:g} kHz over {duration:.1f} seconds: {original}, "
        f"{', '.join(others)}, and the gain that was applied",
        "note": f"Played at equal loudness ({loudness}).",
    }


def ready_value(folder: Path) -> dict | None:
    """Return the value of the player for the ready-made result in `folder` (see `make_examples.py`), or `None` if there
    is none. The files are served from that folder, because it holds no visitor's recording."""
    if not (folder / "value.json").is_file():
        return None
    value = json.loads((folder / "value.json").read_text(encoding="utf-8"))
    with suppress(ValueError):  # the files are on another drive
        folder = Path(os.path.relpath(folder))
    address = f"gradio_api/file={quote(folder.as_posix())}"
    for track in value["tracks"]:
        track["file"] = {"url": f"{address}/{track['file']}"}
    for picture in value["pictures"].values():
        picture["url"] = f"{address}/{picture.pop('file')}"
    return value


def peaks(strip: Strip, scale: float) -> list[int]:
    """Return the largest magnitude in each column of a waveform, in per cent of full scale."""
    magnitude = scale * np.abs(strip.envelope).max(axis=0)
    edges = np.linspace(0, len(magnitude), min(LANE_COLUMNS, len(magnitude)), endpoint=False, dtype=int)
    return [min(round(100 * float(value)), 100) for value in np.maximum.reduceat(magnitude, edges)]


def draw(strips: dict[str, Strip], names: list[str], path: Path, client: str | None, columns: int) -> dict:
    """Draw the spectrograms of `names`, the original first, into `path`. Returns `span`: the places, as shares of the
    picture's width, at which the time axis begins and ends. `span` is `None` if there are several columns."""
    width, dark = parse_client(client)
    narrow = width < NARROW
    columns = 1 if narrow else columns
    original, *others = names
    figure = draw_comparison(
        strips[original],
        {name: strips[name] for name in others},
        strips[original].sampling_rate,
        columns=columns,
        width=max(width / 100, 3.6),
        dark=dark,
    )
    shown = [axis for axis in figure.axes if axis.get_label() in ("level", "gain")]
    for axis in figure.axes:
        titles = {"gain": "Gain applied", "waveform": "Waveform"}
        axis.set_title(titles.get(str(axis.get_label()), axis.get_title("left")), loc="left", fontsize=9)
    shown[0].set_title(original, loc="left", fontsize=9)
    if columns == 1:  # the page draws the waveforms
        wave = next(axis for axis in figure.axes if axis.get_label() == "waveform")
        grid = wave.get_gridspec()
        assert grid is not None  # every such picture is laid out in a grid
        grid.set_height_ratios([1e-6 if row == 0 else 1 for row in range(1 + len(shown))])
        wave.remove()
        for axis in shown[:-1]:
            axis.tick_params(labelbottom=False)
        figure.set_size_inches(figure.get_figwidth(), 0.3 + 0.82 * len(shown))
    if dark:
        figure.set_facecolor(DARK_GROUND)
    figure.savefig(path, dpi=200 if narrow else 150, pil_kwargs={"quality": 85})
    box = shown[0].get_position()
    return {"span": [float(box.x0), float(box.x1)] if columns == 1 else None}


def loudness_scales(versions: dict[str, np.ndarray], sampling_rate: int, check: Callable[[], None]) -> dict[str, float]:
    """Return factors that bring every version to the active level of the first. All are lowered together if one version
    would clip. The [`REMOVED`] sound gets the factor of the first."""
    first, *_ = versions
    levels = dict(zip(versions, active_levels(list(versions.values()), sampling_rate, check), strict=True))
    scales = {name: min(levels[first] / level, MAX_BOOST) if level > 1e-6 else 1.0 for name, level in levels.items()}
    if REMOVED in scales:
        scales[REMOVED] = scales[first]
    peak = max(scales[name] * float(np.abs(audio).max()) for name, audio in versions.items())
    return {name: scale / max(peak, 1.0) for name, scale in scales.items()}


def write_preview(path: Path, audio: np.ndarray, scale: float, sampling_rate: int, check: Callable[[], None]) -> None:
    """Write `scale` times `audio` `(channels, samples)` into a file that every browser plays: FLAC with 16 bits, at
    most two channels and at most 48 kHz."""
    from speech_enhance.audio.resampling import Resampler, num_resampled

    rate = min(max(sampling_rate, PREVIEW_RATE_RANGE[0]), PREVIEW_RATE_RANGE[1])
    num_channels = len(audio) if len(audio) <= 2 else 1
    resampler = Resampler(sampling_rate, rate, num_channels)
    with soundfile.SoundFile(path, "w", rate, num_channels, "PCM_16", format="FLAC") as file:
        for block in checked_blocks(audio, sampling_rate, check):
            block = block if len(block) == num_channels else block.mean(axis=0, keepdims=True)
            file.write((scale * resampler.push(block)).T.clip(-1, 1))
        rest = resampler.finish(num_resampled(audio.shape[1], sampling_rate, rate))
        file.write((scale * rest).T.clip(-1, 1))


def _file(path: Path) -> dict:
    """Return a file in the form that Gradio recognises inside a value. Gradio then moves the file to the folder that it
    serves, and adds the URL."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}
