"""`speech-enhance live` on a stream of real speech and noise, with PulseAudio's null sink in the place of a sound card.

    python -m training.evaluation.measure_live_stream --output training/results/live-stream

The noisy recordings of the pairs are played one after the other, as often as the minutes ask for, as a microphone would
give them. What goes in and what comes out are recorded together. Each noisy recording is then found in both by
correlation. So the report has the delay from end to end, with all buffers, at every recording: a drift or a gap would
change it. What came out is scored against the clean reference, and so is what the same recording would give through
`pipe.live` without devices.
Use an idle machine, as for a call.

Writes OUTPUT.json and OUTPUT.md, and prints the latter. It needs `pulseaudio`, `pacat`, `parec` and PortAudio with its
PulseAudio plugin (Debian: `pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins`).
"""

import argparse
import contextlib
import functools
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from speech_enhance.audio.resampling import num_resampled, resample
from speech_enhance.metrics.reference import BASIC_METRICS, mean_score
from training import validation
from training.evaluation.measures import BASIC_MEASURES, headings
from training.evaluation.pulse_audio import play, recorded, silence, sound_card
from training.evaluation.reports import table, write_report
from training.evaluation.systems import SAMPLING_RATE, LiveSystem
from training.validation import Pair

RATE = 48000
SETTLE_SECONDS = 2.0
MOST_DELAY_SECONDS = 3.0
TOLD = re.compile(
    r"([\d.]+) s, delay (\d+) ms and (\d+) ms of the devices, load (\d+) %, (\d+) gaps?, (\d+) samples? lost, "
    r"(\d+) times? too slow"
)


@dataclass
class Told:
    """What the command says at its end: seconds, delays in ms, load in percent, and what went wrong."""

    seconds: float
    delay_ms: float
    devices_ms: float
    load_percent: float
    gaps: int
    lost_samples: int
    times_too_slow: int

    @classmethod
    def of(cls, text: str) -> "Told":
        """Read it from what the command printed.

        Raises:
            ValueError: if it is not there.
        """
        found = TOLD.search(text)
        if not found:
            raise ValueError(f"the command did not end as it should: {text[-500:]}")
        seconds, delay_ms, devices_ms, load = map(float, found.groups()[:4])
        gaps, lost, times = map(int, found.groups()[4:])
        return cls(seconds, delay_ms, devices_ms, load, gaps, lost, times)


def through_command(
    environment: dict[str, str], folder: Path, sound: np.ndarray, options: list[str]
) -> tuple[str, np.ndarray, np.ndarray]:
    """Play a sound `(samples,)` at [`RATE`] to `speech-enhance live`.

    Args:
        environment: Environment of [`sound_card`].
        folder: Folder for the recordings.
        sound: Sound to play.
        options: Further options of the command.

    Returns:
        What the command printed, what was heard at its input and what at its output; the two were recorded at the same
        time.

    Raises:
        RuntimeError: if the command fails.
    """
    command = [sys.executable, "-m", "speech_enhance", "live", "--input", "pulse", "--output", "pulse"]
    command += ["--rate", str(RATE), *options]
    interruptible = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # else ignored in background jobs
    (folder / "played.raw").write_bytes(sound.astype(np.float32).tobytes())
    with contextlib.ExitStack() as stack:
        stack.enter_context(silence(environment))
        stack.enter_context(recorded(environment, folder / "card.raw", RATE))
        live = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible)
        stack.callback(live.kill)
        printed = []
        for line in live.stderr or []:
            printed.append(line)
            if "from 'pulse'" in line:
                break
        else:
            raise RuntimeError(f"the command ended: {''.join(printed)}")
        time.sleep(SETTLE_SECONDS)
        play(environment, folder / "played.raw", RATE)
        time.sleep(SETTLE_SECONDS)
        live.send_signal(signal.SIGINT)
        printed.append(live.communicate(timeout=60)[1])
        if live.returncode:
            raise RuntimeError(f"the command ended with code {live.returncode}: {''.join(printed)}")
    card = np.fromfile(folder / "card.raw", np.float32)
    before, after = card[: len(card) // 2 * 2].reshape(-1, 2).T.copy()
    return "".join(printed), before, after


def best_lag(before: np.ndarray, after: np.ndarray, most: int = round(MOST_DELAY_SECONDS * RATE)) -> tuple[int, float]:
    """By how many samples, at most `most`, `after` is later than `before`, and how like it then is, at most 1."""
    size = len(before) + max(len(after), most)
    first, second = (np.fft.rfft(sound, size) for sound in (before, after))
    correlation = np.fft.irfft(second * first.conj(), size)[: most + 1]
    lag = int(correlation.argmax())
    part = after[lag : lag + len(before)]
    energy = np.sqrt(np.square(before[: len(part)]).sum() * np.square(part).sum())
    return lag, float(correlation[lag] / max(energy, 1e-12))


def place_of(sound: np.ndarray, recording: np.ndarray, around: int) -> int:
    """The sample at which a sound begins in a recording, at most [`MOST_DELAY_SECONDS`] from `around`."""
    most = round(MOST_DELAY_SECONDS * RATE)
    first = max(around - most, 0)
    return first + best_lag(sound, recording[first : around + most + len(sound)], 2 * most)[0]


def noisy_sound(pair: Pair, sampling_rate: int) -> np.ndarray:
    """The noisy recording `(samples,)` of a pair at another rate."""
    num_samples = num_resampled(len(pair.noisy), SAMPLING_RATE, sampling_rate)
    return resample(pair.noisy[None], SAMPLING_RATE, sampling_rate, num_samples)[0]


def sounds_of(pairs: list[Pair], seconds: float) -> list[tuple[Pair, np.ndarray]]:
    """The pairs in their order, again and again until they last as long, each with its noisy sound at [`RATE`]."""
    at_rate = [(pair, noisy_sound(pair, RATE)) for pair in pairs]
    found, length = [], 0
    while length < seconds * RATE:
        item = at_rate[len(found) % len(at_rate)]
        found.append(item)
        length += len(item[1])
    return found


def measure(folder: Path, sounds: list[tuple[Pair, np.ndarray]], options: list[str]) -> tuple[Told, list[dict]]:
    """Play the sounds and return what the command told, and a row of scores for each sound."""
    whole = np.concatenate([sound for _, sound in sounds])
    with sound_card(folder, RATE) as environment:
        told, before, after = through_command(environment, folder, whole, options)
    place, _ = best_lag(whole[: 20 * RATE], before[: 60 * RATE], 40 * RATE)
    rows = []
    for pair, sound in sounds:
        place = place_of(sound, before, place)  # the player may have paused
        heard = before[place : place + len(sound)]
        left = place_of(heard, after, place)
        output = after[left : left + len(heard)]
        likeness = best_lag(heard, output, 0)[1]
        output = resample(output[None], RATE, SAMPLING_RATE, len(pair.clean))[0]
        scores = {name: metric(output, pair.clean) for name, metric in BASIC_METRICS.items()}
        rows.append({"id": pair.id, "delay_ms": 1000 * (left - place) / RATE, "likeness": likeness, **scores})
        place += len(sound)
    return Told.of(told), rows


def markdown(told: Told, rows: list[dict], others: dict[str, list[dict]], model: str) -> str:
    """The report."""
    delays = np.array([row["delay_ms"] for row in rows])
    lines = [
        f"# {told.seconds / 60:.0f} minutes through `speech-enhance live` at {RATE} Hz",
        "",
        f"Model {model}, {len(rows)} noisy recordings one after the other; PulseAudio's null sink is the sound card.",
        "",
        f"- The command told a delay of {told.delay_ms:.0f} ms and {told.devices_ms:.0f} ms of the devices.",
        f"- Found by correlation of input and output, at each recording: {np.median(delays):.0f} ms in the median, "
        f"{delays.min():.0f} to {delays.max():.0f} ms; {delays[0]:.0f} ms at the first and {delays[-1]:.0f} ms at the "
        "last.",
        f"- {told.gaps} gaps, {told.lost_samples} samples lost, {told.times_too_slow} times too slow, load "
        f"{told.load_percent:.0f} %.",
        "",
    ]
    cells = [
        [name, *(f"{mean_score([row[key] for row in scored]):{BASIC_MEASURES[key].form}}" for key in BASIC_METRICS)]
        for name, scored in {**others, "what came out at the other end": rows}.items()
    ]
    return "\n".join([*lines, *table(["", *headings(BASIC_METRICS)], cells)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="speech_enhance/checkpoints/live", help="pipeline folder or Hub id")
    parser.add_argument("--minutes", type=float, default=10.0, help="default: %(default)s")
    parser.add_argument("--pairs", default="data/pairs-valid-*.parquet", help="default: %(default)s")
    parser.add_argument("--buffer", default="50", help="milliseconds of each device (default: %(default)s)")
    parser.add_argument("--output", help="write OUTPUT.json and OUTPUT.md")
    options = parser.parse_args()
    sounds = sounds_of(validation.load_pairs(options.pairs, None), 60 * options.minutes)
    with tempfile.TemporaryDirectory() as folder:
        told, rows = measure(Path(folder), sounds, ["--model", options.model, "--buffer", options.buffer])
    system, others = LiveSystem(options.model), {"untouched": [], "`pipe.live` without devices": []}
    played = {pair.id: pair for pair, _ in sounds}
    for pair in played.values():
        for outputs, output in zip(others.values(), (pair.noisy, system([pair])[0]), strict=True):
            outputs.append({name: metric(output, pair.clean) for name, metric in BASIC_METRICS.items()})
    write_report(
        options.output,
        {"told": asdict(told), "recordings": rows, "others": others},
        markdown(told, rows, others, options.model),
    )


if __name__ == "__main__":
    main()
