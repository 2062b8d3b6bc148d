"""What the page shows of a result: the player's files and picture, tables, sentences."""

import html
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from speech_enhance.audio_files import AudioFile
from speech_enhance.levels import active_levels, level_change_db
from speech_enhance.plotting import draw_comparison
from speech_enhance.serving import Run, Settings, checked_blocks
from speech_enhance.strips import Strip

PREVIEW_RATE_RANGE = 8000, 48000
MAX_BOOST = 4.0
PICTURE_COLUMNS = 600  # at least, as many as a page has pixels at most
NARROW = 600  # pixels; below, pictures stand above each other and letters are larger


def message(kind: str, text: str) -> str:
    """A sentence as HTML; `kind` is `hint`, `done` or `error`."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="message {kind}" role="{role}">{html.escape(text)}</p>'


def table(rows: list[list[str]], heading: list[str] | None = None) -> str:
    """HTML table; without a heading the first column holds the names of the rows."""
    lines = []
    if heading:
        lines.append("".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in heading))
    for first, *others in rows:
        name = f'<th scope="row">{html.escape(first)}</th>'
        lines.append(name + "".join(f'<td class="number">{html.escape(cell)}</td>' for cell in others))
    return f'<div class="facts"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def decibel(value: float) -> str:
    return f"{value:+.1f} dB".replace("-", "−")


def facts(recording: AudioFile, run: Run, settings: Settings, check: Callable[[], None]) -> str:
    """Table of a run for the page; `check` as in [`player`]."""
    seconds = recording.audio.shape[1] / recording.sampling_rate
    pauses, speech = level_change_db(recording.audio, run.audio, recording.sampling_rate, check)
    channels = {1: "mono", 2: "stereo"}.get(len(recording.audio), f"{len(recording.audio)} channels")
    rows = {
        "Recording": f"{seconds:.1f} s, {recording.sampling_rate / 1000:g} kHz, {channels}",
        "Scheduler": f"{settings.scheduler}, steps: {settings.num_inference_steps}, estimates: {settings.num_estimates}",
        "Evaluations of the network": f"{run.evaluations} per window of the recording",
        "Computing time": f"{run.seconds:.2f} s, {seconds / run.seconds:.3g} times real time",
        "Level in the pauses": decibel(pauses),
        "Level of the speech": decibel(speech),
    }
    return table([list(row) for row in rows.items()])


def comparison(audio: np.ndarray, sampling_rate: int, runs: dict[str, Run]) -> str:
    """Table of several runs on the same `audio` `(channels, samples)`, by their names."""
    rows = []
    for name, run in runs.items():
        speed = audio.shape[1] / sampling_rate / run.seconds
        levels = [decibel(value) for value in level_change_db(audio, run.audio, sampling_rate)]
        rows.append([name, str(run.evaluations), f"{run.seconds:.2f} s", f"{speed:.3g} ×", *levels])
    heading = ["Setting", "Network evaluations", "Time", "Times real time", "Level in pauses", "Level of speech"]
    return table(rows, heading)


def parse_client(text: str | None) -> tuple[int, bool]:
    """`(width in pixels, dark)` of the visitor's page, as its script tells them: "980,dark"."""
    width, _, mode = (text or "").partition(",")
    return (min(max(int(width), 320), 1100) if width.isdecimal() and len(width) < 6 else 1000), mode == "dark"


def player(
    versions: dict[str, np.ndarray], sampling_rate: int, folder: Path, client: str | None, *, columns: int,
    check: Callable[[], None],
) -> dict:  # fmt: skip
    """Value of the player: `versions` `(channels, samples)` by name, the recording first, at equal loudness.

    Writes their files into `folder`, and a picture with so many `columns`, drawn for the page of `client` (see
    [`parse_client`]); `check` may end that, see [`go_on`].
    """
    width, dark = parse_client(client)
    recording, *others = versions
    duration = versions[recording].shape[1] / sampling_rate
    scales = loudness_scales(list(versions.values()), sampling_rate, check)
    tracks = []
    for index, (name, audio) in enumerate(versions.items()):
        path = folder / f"{index}.flac"
        write_preview(path, audio, scales[index], sampling_rate, check)
        tracks.append({"label": name, "file": _file(path)})

    strips = {name: Strip(sampling_rate, PICTURE_COLUMNS) for name in versions}
    for name, strip in strips.items():
        for block in checked_blocks(versions[name], sampling_rate, check):
            strip.push(block)
        strip.finish()
    narrow = width < NARROW
    columns = 1 if narrow else columns
    shown, results = strips[recording], {name: strips[name] for name in others}
    figure = draw_comparison(shown, results, sampling_rate, columns=columns, width=max(width / 100, 4.2), dark=dark)
    check()
    figure.savefig(folder / "picture.png", dpi=160 if narrow else 110)
    span = None
    if columns == 1:
        box = next(axis for axis in figure.axes if axis.get_label() == "waveform").get_position()
        span = [float(box.x0), float(box.x1)]
    matched = ", ".join(decibel(20 * math.log10(scales[i + 1] / scales[0])) for i in range(len(others)))
    return {
        "tracks": tracks,
        "picture": _file(folder / "picture.png"),
        "span": span,
        "duration": duration,
        "alt": f"Spectrograms from 0 to {sampling_rate / 2000:g} kHz over {duration:.1f} seconds of the recording and of "
        f"{', '.join(others)}, with the gain that was applied",
        "note": f"Played at equal loudness (changed by {matched}). The keys 1, 2, … switch too.",
    }


def loudness_scales(versions: list[np.ndarray], sampling_rate: int, check: Callable[[], None]) -> list[float]:
    """Factors that bring every version to the active level of the first, all lowered together if one would clip."""
    levels = active_levels(versions, sampling_rate, check)
    scales = [min(levels[0] / level, MAX_BOOST) if level > 1e-6 else 1.0 for level in levels]
    peak = max(scale * float(np.abs(item).max()) for scale, item in zip(scales, versions, strict=True))
    return [scale / max(peak, 1.0) for scale in scales]


def write_preview(path: Path, audio: np.ndarray, scale: float, sampling_rate: int, check: Callable[[], None]) -> None:
    """`scale` times `audio` `(channels, samples)` in a file every browser plays: FLAC of 16 bits, at most two channels
    and 48 kHz."""
    from speech_enhance.resampling import Resampler, num_resampled

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
    """The form in which Gradio recognises a file inside a value, moves it to where it serves from, and adds its URL."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}
