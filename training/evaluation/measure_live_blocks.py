"""Whether live enhancement can run for hours: memory, time, delay, and blocks of any size.

    OMP_NUM_THREADS=1 python -m training.evaluation.measure_live_blocks --output training/results/live-blocks

The noisy recordings of the pairs, in an order drawn anew for each round, go through `pipe.live` in blocks of 16 ms. A
second enhancer hears the first minutes of the same sound in blocks of 1 to 4000 samples, drawn at random. For each
minute the report has

- the largest difference between the two outputs, as long as there are two;
- the delay that is found by correlating input and output, which must stay `live.latency`;
- the memory of the process after the minute;
- the time of a block of 16 ms, as a share of 16 ms: the mean, the value that 99 of 100 blocks stay below, and the
  largest.

Writes OUTPUT.json and OUTPUT.md, and prints the latter. An output that is not finite, or a block of another length than
its input, ends the script.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import numpy as np
import psutil

from speech_enhance import LATENCIES, LiveEnhancer, SpeechEnhancementPipeline
from speech_enhance.live.backend import prefer_onnx
from training import validation
from training.evaluation.measure_live_stream import best_lag, noisy_sound
from training.evaluation.reports import table, write_report
from training.validation import Pair

BLOCK_SECONDS = 0.016
LONGEST_OTHER_BLOCK = 4000
CORRELATED_SECONDS = 20
MINUTE_SECONDS = 60


def endless_sound(pairs: list[Pair], sampling_rate: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield noisy recordings `(samples,)` at `sampling_rate`, all pairs in every round, each round in another order."""
    generator = np.random.default_rng(seed)
    while True:
        for index in generator.permutation(len(pairs)):
            yield noisy_sound(pairs[index], sampling_rate)


def minutes_of(sounds: Iterator[np.ndarray], num_samples: int) -> Iterator[np.ndarray]:
    """Cut sounds that follow each other into parts of `num_samples`."""
    rest = np.zeros(0, np.float32)
    while True:
        while len(rest) < num_samples:
            rest = np.concatenate([rest, next(sounds)])
        yield rest[:num_samples]
        rest = rest[num_samples:]


def enhance(live: LiveEnhancer, sound: np.ndarray, lengths: Iterator[int]) -> tuple[np.ndarray, list[float]]:
    """Enhance a part of a sound in blocks.

    Returns:
        The output, as long as the part, and the seconds of each block.

    Raises:
        RuntimeError: if a block comes back in another length or is not finite.
    """
    outputs, seconds, first = [], [], 0
    while first < len(sound):
        block = sound[first : first + next(lengths)]
        started = time.perf_counter()
        outputs.append(live.process(block))
        seconds.append(time.perf_counter() - started)
        if outputs[-1].shape != block.shape or not np.isfinite(outputs[-1]).all():
            raise RuntimeError(f"a block of {len(block)} samples came back as {outputs[-1].shape}, or not finite")
        first += len(block)
    return np.concatenate(outputs), seconds


def measure(pipeline: SpeechEnhancementPipeline, pairs: list[Pair], options: argparse.Namespace) -> list[dict]:
    """Return one row for every minute."""
    rate, block = options.rate, round(BLOCK_SECONDS * options.rate)
    one, other = (pipeline.live(rate, options.latency) for _ in range(2))
    generator = np.random.default_rng(1)
    drawn = iter(lambda: int(generator.integers(1, LONGEST_OTHER_BLOCK + 1)), 0)
    process, rows = psutil.Process(), []
    minutes = minutes_of(endless_sound(pairs, rate), MINUTE_SECONDS * rate)
    for minute, sound in enumerate(itertools.islice(minutes, options.minutes), 1):
        output, seconds = enhance(one, sound, iter(lambda: block, 0))
        compared = minute <= options.compared
        difference = float(np.abs(output - enhance(other, sound, drawn)[0]).max()) if compared else None
        loads = sorted(value / BLOCK_SECONDS for value in seconds)
        last = CORRELATED_SECONDS * rate
        row = {
            "minute": minute,
            "difference": difference,
            "delay_ms": 1000 * best_lag(sound[-last:], output[-last:], rate)[0] / rate,
            "memory_mb": process.memory_info().rss / 1e6,
            "load": statistics.mean(loads),
            "load_of_99": loads[int(0.99 * len(loads))],
            "largest_load": loads[-1],
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def markdown(rows: list[dict], latency_ms: float, options: argparse.Namespace) -> str:
    """The report: the whole in a few lines, then every fifth minute."""
    delays = sorted({round(row["delay_ms"], 2) for row in rows})
    differences = [row["difference"] for row in rows if row["difference"] is not None]
    lines = [
        f"# {len(rows)} minutes of live sound at {options.rate} Hz",
        "",
        f"Model {options.model}, `{options.latency or 'its own latency'}`, noisy recordings of {options.pairs}.",
        "",
        f"- `live.latency` is {latency_ms:.2f} ms; the delay that was found is {', '.join(map(str, delays))} ms.",
        f"- Over {len(differences)} minutes, the output in blocks of 16 ms and that in random blocks differ by at most "
        f"{max(differences):.1e} of full scale.",
        f"- Memory of the process: {rows[0]['memory_mb']:.0f} MB after the first minute, "
        f"{rows[len(rows) // 2]['memory_mb']:.0f} MB at half time, {rows[-1]['memory_mb']:.0f} MB at the end.",
        f"- Load: {statistics.mean(row['load'] for row in rows):.2f} in the mean; the largest of a single block is "
        f"{max(row['largest_load'] for row in rows):.2f}.",
        "",
    ]
    cells = [
        [
            row["minute"],
            f"{row['memory_mb']:.0f}",
            f"{row['delay_ms']:.2f}",
            "" if row["difference"] is None else f"{row['difference']:.1e}",
            f"{row['load']:.2f}",
            f"{row['load_of_99']:.2f}",
            f"{row['largest_load']:.2f}",
        ]
        for row in rows
        if row["minute"] % 5 == 0 or row["minute"] == 1
    ]
    names = ["minute", "memory (MB)", "delay (ms)", "difference", "load", "99 of 100 blocks below", "largest"]
    return "\n".join([*lines, *table(names, cells)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="speech_enhance/checkpoints/live", help="pipeline folder or Hub id (default: %(default)s)"
    )
    parser.add_argument("--latency", choices=LATENCIES, help="default: that of the model's network")
    parser.add_argument("--rate", type=int, default=48000, help="samples per second (default: %(default)s)")
    parser.add_argument("--minutes", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--compared", type=int, default=10, help="minutes with two enhancers (default: %(default)s)")
    parser.add_argument("--pairs", default="data/pairs-valid-*.parquet", help="default: %(default)s")
    parser.add_argument("--output", help="write OUTPUT.json and OUTPUT.md")
    options = parser.parse_args()
    pipeline = SpeechEnhancementPipeline.from_pretrained(options.model)
    prefer_onnx(pipeline)
    rows = measure(pipeline, validation.load_pairs(options.pairs, None), options)
    latency_ms = 1000 * pipeline.live(options.rate, options.latency).latency / options.rate
    write_report(options.output, {"latency_ms": latency_ms, "minutes": rows}, markdown(rows, latency_ms, options))


if __name__ == "__main__":
    main()
