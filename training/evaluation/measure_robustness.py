"""What loud events and an offset do to the speech beside them: does the level rule of a checkpoint withstand them?

    python -m training.evaluation.measure_robustness --limit 20 --output training/results/robustness

An event comes before the noisy recording: 2 s of white noise 30 or 40 dB above its active speech, or 0.3 s at 30 dB. An
offset of .02 or .1 of full scale is added to the whole recording. Recordings are scaled so that the event stays within
full scale. The recording alone is measured, from 0.1 s after the event, when the event's last analysis windows are
over. The measures are PESQ, ESTOI and SI-SDR against the clean reference, the change of the speech's level from the
output without the event, and what is left of the offset.

Writes OUTPUT.json (every file) and OUTPUT.md (means), and prints the latter.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np

from speech_enhance.metrics.reference import BASIC_METRICS, mean_score
from training.evaluation.measure_recordings import active_frames, decibel, frame_power
from training.evaluation.measures import BASIC_MEASURES, Measure
from training.evaluation.reports import table, write_report
from training.evaluation.systems import SAMPLING_RATE, System, add_arguments, load_measured
from training.mixtures.augment import active_rms
from training.validation import Pair

SKIPPED = round(0.1 * SAMPLING_RATE)


@dataclass(frozen=True)
class Event:
    """A disturbance of a recording.

    Args:
        seconds: Length of noise before the recording.
        level_db: RMS of the noise over that of active speech, in dB.
        offset: Constant added to the whole, in parts of full scale.
    """

    seconds: float = 0.0
    level_db: float = 0.0
    offset: float = 0.0


EVENTS = {
    "nothing": Event(),
    "2 s of noise 30 dB above the speech": Event(seconds=2.0, level_db=30.0),
    "2 s of noise 40 dB above the speech": Event(seconds=2.0, level_db=40.0),
    "0.3 s of noise 30 dB above the speech": Event(seconds=0.3, level_db=30.0),
    "offset of .02": Event(offset=0.02),
    "offset of .1": Event(offset=0.1),
}
MEASURES = BASIC_MEASURES | {
    "level_change_db": Measure("level of the speech", 1, "dB", signed=True),
    "offset": Measure("offset left", 4),
}


def with_event(noisy: np.ndarray, clean: np.ndarray, event: Event, seed: int) -> tuple[np.ndarray, int, float]:
    """A recording with an event.

    Args:
        noisy: Recording, float32 `(samples,)`.
        clean: Its reference, same shape.
        event: Event to add.
        seed: Seed of the noise.

    Returns:
        The recording with the event, the number of samples before `noisy` begins, and the factor on `noisy`.
    """
    rng = np.random.default_rng(seed)
    burst = rng.standard_normal(round(event.seconds * SAMPLING_RATE)) * active_rms(clean) * 10 ** (event.level_db / 20)
    track = np.concatenate([burst, noisy])
    factor = min(1.0, (0.999 - event.offset) / max(float(np.abs(track).max()), 1e-9))
    return (factor * track + event.offset).astype(np.float32), len(burst), factor


def measure(system: System, pairs: list[Pair], event: Event) -> list[dict]:
    """Measures of every pair, with the level of its active speech over the reference's as `level_db`."""
    events = [with_event(pair.noisy, pair.clean, event, seed) for seed, pair in enumerate(pairs)]
    outputs = system([replace(pair, noisy=track) for pair, (track, *_) in zip(pairs, events, strict=True)])
    rows = []
    for pair, output, (_, start, factor) in zip(pairs, outputs, events, strict=True):
        after, clean = output[start + SKIPPED :] / factor, pair.clean[SKIPPED:]
        active = active_frames(clean)
        row = {"id": pair.id} | {name: metric(after, clean) for name, metric in BASIC_METRICS.items()}
        # The offset is no part of the speech's level.
        power = frame_power(after - np.median(after))[active].sum()
        row["level_db"] = decibel(power / frame_power(clean)[active].sum())
        rows.append(row | {"offset": float(abs(np.median(output[start + SKIPPED :])))})
    return rows


def measure_all(system: System, pairs: list[Pair]) -> dict[str, list[dict]]:
    """Rows of every event, with `level_change_db` against the first one, which changes nothing."""
    results = {name: measure(system, pairs, event) for name, event in EVENTS.items()}
    for rows in results.values():
        for row, alone in zip(rows, results["nothing"], strict=True):
            row["level_change_db"] = row["level_db"] - alone["level_db"]
    return results


def markdown(results: dict[str, list[dict]], data: str) -> str:
    """Means over files, and the lowest SI-SDR against that without the event."""
    lines = [f"# What loud events and offsets leave of speech, on {data}", ""]
    body = []
    for event, rows in results.items():
        cells = [f"{mean_score([row[name] for row in rows]):{measure.form}}" for name, measure in MEASURES.items()]
        losses = [alone["si_sdr"] - row["si_sdr"] for row, alone in zip(rows, results["nothing"], strict=True)]
        body.append([event, *cells, f"{max(losses):.1f}"])
    headings = [measure.heading for measure in MEASURES.values()]
    lines += table(["event", *headings, "largest loss of SI-SDR (dB)"], body)
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, limit=20)
    options = parser.parse_args(arguments)
    pairs, system, title = load_measured(parser, options)
    results = measure_all(system, pairs)
    write_report(options.output, results, markdown(results, title))


if __name__ == "__main__":
    main()
