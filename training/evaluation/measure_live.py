"""What more delay and computing gain in live enhancement: look-ahead, interval and window against the scores of pairs.

    python -m training.evaluation.measure_live --output training/results/live
    python -m training.evaluation.measure_live --output training/results/live --limit 10
    python -m training.evaluation.measure_live --output training/results/live --dnsmos --time 1 2

The first measures all pairs, the second ten of them, evenly spread. The third also measures seconds, on an idle
machine. `--dnsmos` adds that judge.

Every pair goes through `pipe.live` in blocks of 16 ms with the noise of seed 0. The output is shifted by `live.latency`
and is not aligned in any other way. A run of the network depends on the end of its window alone, so timings share their
runs: the network runs once for every 32 ms and window. `computing` is the number of frames that the network sees, as a
multiple of those for a file with `--preset fast`. With `--time`, the load is the median time of a run of the network
over the interval, with each number of threads.

Writes OUTPUT.runs.jsonl (each pair and timing, as soon as it is measured: a stopped run goes on there), OUTPUT.json and
OUTPUT.md, and prints the latter.
"""

import argparse
import hashlib
import itertools
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from speech_enhance import DNSMOS, LATENCIES, LiveTiming, SpeechEnhancementPipeline
from speech_enhance.metrics.reference import BASIC_METRICS, mean_score
from training import validation
from training.evaluation.measures import MEASURES, headings
from training.evaluation.reports import append_row, stored_rows, table, write_report
from training.evaluation.systems import enhance_live
from training.validation import Pair

LOOK_AHEADS_MS = (0, 32, 64, 96, 128, 192, 256, 320)
INTERVALS_MS = (32, 64, 96, 128, 192, 320)
WINDOWS_MS = (3072, 1024, 512)
MOST_DELAY_MS = {"low": 152, "quality": 500}
"""Delay up to which a preset is chosen."""
MOST_COMPUTING = 12.0
"""Computing up to which a timing is measured, as a multiple of that for a file. It is a load of .32 where `fast` has a
real-time factor of .027."""
SAMPLING_RATE = 16000


class RememberingUNet(torch.nn.Module):
    """A network that computes the answer to the same input once and keeps it."""

    def __init__(self, unet):
        super().__init__()
        self.unet, self.answers, self.num_runs = unet, {}, 0
        self.config, self.dtype, self.device = unet.config, unet.dtype, unet.device
        self.condition_channels, self.frame_multiple = unet.condition_channels, unet.frame_multiple

    def forward(self, sample, timestep, condition, return_dict=True):
        question = b"".join(item.numpy().tobytes() for item in (sample, torch.as_tensor(timestep), condition))
        key = hashlib.sha256(question).digest()
        if key not in self.answers:
            self.num_runs += 1
            self.answers[key] = self.unet(sample, timestep, condition, return_dict=False)[0]
        return (self.answers[key],)


def timings(pipeline: SpeechEnhancementPipeline) -> list[LiveTiming]:
    """All timings that are measured: those within the longest delay and the most computing."""
    grid = itertools.product(WINDOWS_MS, LOOK_AHEADS_MS, INTERVALS_MS)
    found = [LiveTiming(look_ahead, interval, window) for window, look_ahead, interval in grid]
    return [
        timing
        for timing in found
        if timing.look_ahead_ms + timing.interval_ms <= timing.window_ms
        and delay_ms(pipeline, timing) <= max(MOST_DELAY_MS.values())
        and computing(pipeline, timing) <= MOST_COMPUTING
    ]


def delay_ms(pipeline: SpeechEnhancementPipeline, timing: LiveTiming, sampling_rate: int = SAMPLING_RATE) -> float:
    """Delay of a timing in milliseconds."""
    return 1000 * pipeline.live(sampling_rate, timing).latency / sampling_rate


def computing(pipeline: SpeechEnhancementPipeline, timing: LiveTiming) -> float:
    """Frames that the network sees, as a multiple of those for a file with one estimate."""
    config = pipeline.config
    return (
        timing.window_ms / timing.interval_ms / (config.window_frames / (config.window_frames - config.overlap_frames))
    )


class Rows:
    """Scores of pairs and timings, each kept as soon as it is there.

    Args:
        path: File with one line of JSON for each score; `None` keeps them in memory alone.
        model: Name of the model; each line holds it.
        with_dnsmos: Whether DNSMOS is measured too.
    """

    def __init__(self, path: Path | None, model: str, with_dnsmos: bool = False):
        self._path, self._model = path, model
        self._dnsmos = DNSMOS() if with_dnsmos else None
        self.names = [*BASIC_METRICS, "dnsmos_ovrl"] if with_dnsmos else list(BASIC_METRICS)
        self.rows = {(row["id"], row["timing"]): row for row in stored_rows(path) if row["model"] == model}

    def add(self, pair: Pair, timing: str, output: np.ndarray) -> None:
        """Score an output."""
        scores = {name: metric(output, pair.clean) for name, metric in BASIC_METRICS.items()}
        if self._dnsmos is not None:
            scores["dnsmos_ovrl"] = self._dnsmos(output)["ovrl"]
        row = {"model": self._model, "id": pair.id, "timing": timing, **scores}
        self.rows[pair.id, timing] = row
        if self._path:
            append_row(self._path, row)

    def means(self, pairs: list[Pair], timing: str) -> dict[str, float]:
        """Mean of every metric over the pairs."""
        rows = [self.rows[pair.id, timing] for pair in pairs]
        return {name: mean_score([row[name] for row in rows]) for name in self.names}


def named(timing: LiveTiming) -> str:
    return f"{timing.look_ahead_ms:g}/{timing.interval_ms:g}/{timing.window_ms:g}"


def measure(pipeline: SpeechEnhancementPipeline, pairs: list[Pair], rows: Rows) -> list[dict]:
    """Measure what is missing. Returns rows of means: untouched, enhanced as a file, then each timing."""
    unet = pipeline.unet
    chosen = timings(pipeline)
    for number, pair in enumerate(pairs, 1):
        if (pair.id, "untouched") not in rows.rows:
            rows.add(pair, "untouched", pair.noisy)
        if (pair.id, "file") not in rows.rows:
            rows.add(pair, "file", pipeline(pair.noisy, SAMPLING_RATE, num_inference_steps=1, num_estimates=1).audios)
        pipeline.unet = RememberingUNet(unet)
        for timing in chosen:
            if (pair.id, named(timing)) not in rows.rows:
                rows.add(pair, named(timing), enhance_live(pipeline, pair.noisy, timing))
        print(f"{number}/{len(pairs)}: {pipeline.unet.num_runs} runs of the network", file=sys.stderr)
        pipeline.unet = unet
    facts = [
        {
            "look_ahead_ms": timing.look_ahead_ms,
            "interval_ms": timing.interval_ms,
            "window_ms": timing.window_ms,
            "delay_ms": delay_ms(pipeline, timing),
            "delay_48khz_ms": delay_ms(pipeline, timing, 48000),
            "computing": computing(pipeline, timing),
            **rows.means(pairs, named(timing)),
        }
        for timing in chosen
    ]
    return [{"way": way, **rows.means(pairs, way)} for way in ("untouched", "file")] + facts


def choose(facts: list[dict]) -> dict[str, dict]:
    """The timing of each preset. Of the timings within its delay, those within .005 of the best PESQ are considered;
    the one with the least computing is chosen."""
    chosen = {}
    for name, most in MOST_DELAY_MS.items():
        allowed = [row for row in facts if row.get("delay_ms", np.inf) <= most]
        best = max(row["pesq"] for row in allowed)
        chosen[name] = min((row for row in allowed if row["pesq"] >= best - 0.005), key=lambda row: row["computing"])
    return chosen


@torch.no_grad()
def seconds_of_run(pipeline: SpeechEnhancementPipeline, window_ms: float, threads: int, repeats: int = 20) -> float:
    """Median time in seconds of a run of the network on a window, with `threads` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    frames = round(window_ms / 1000 * SAMPLING_RATE / pipeline.config.hop_length)
    sample = torch.randn(1, 1, pipeline.config.num_mel_bins, frames)
    condition = sample.expand(-1, pipeline.unet.condition_channels, -1, -1)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        pipeline.unet(sample, 999, condition)
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return statistics.median(seconds)


def add_load(pipeline: SpeechEnhancementPipeline, facts: list[dict], threads: list[int]) -> None:
    """Add the load with each number of threads to the rows of timings."""
    for number in threads:
        seconds = {window: seconds_of_run(pipeline, window, number) for window in WINDOWS_MS}
        for row in facts:
            if "window_ms" in row:
                row[f"load_{number}"] = seconds[row["window_ms"]] / (row["interval_ms"] / 1000)


def markdown(facts: list[dict], title: str, threads: list[int]) -> str:
    """Table of all timings, and what the presets are and would be."""
    heads = ["window (ms)", "interval (ms)", "look-ahead (ms)", "delay (ms)", "at 48 kHz (ms)", "computing"]
    names = [name for name in MEASURES if name in facts[0]]
    heads += [*(f"load, {number} threads" for number in threads), *headings(names)]
    lines = [f"# Delay, computing and quality of the live way, on {title}", ""]
    rows = []
    for row in facts:
        scores = [f"{row[name]:{MEASURES[name].form}}" for name in names]
        if "way" in row:
            name = {"untouched": "untouched", "file": "a file, `--preset fast`"}[row["way"]]
            cells = [name, *[""] * (4 + len(threads)), "" if row["way"] == "untouched" else "1.0"]
        else:
            cells = [f"{row[name]:g}" for name in ("window_ms", "interval_ms", "look_ahead_ms")]
            cells += [f"{row['delay_ms']:.0f}", f"{row['delay_48khz_ms']:.0f}", f"{row['computing']:.1f}"]
            cells += [f"{row[f'load_{number}']:.2f}" for number in threads]
        rows.append(cells + scores)
    lines += [
        *table(heads, rows),
        "",
        "By the rule of this script (`choose`), the presets would be, and are now (look-ahead/interval/window in ms):",
        "",
    ]
    for name, row in choose(facts).items():
        found = LiveTiming(row["look_ahead_ms"], row["interval_ms"], row["window_ms"])
        lines.append(f"- `{name}`, at most {MOST_DELAY_MS[name]} ms: {named(found)}; now {named(LATENCIES[name])}")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    validation.add_arguments(parser)
    parser.add_argument(
        "--time", type=int, nargs="+", default=[], metavar="THREADS", help="also the load, on an idle machine"
    )
    parser.add_argument("--dnsmos", action="store_true", help="also DNSMOS (pip install speechmos onnxruntime)")
    options = parser.parse_args(arguments)
    pairs, pipeline = validation.load_measured(parser, options)
    rows = Rows(
        Path(f"{options.output}.runs.jsonl") if options.output else None, Path(options.model).name, options.dnsmos
    )
    facts = measure(pipeline, pairs, rows)
    add_load(pipeline, facts, options.time)
    write_report(options.output, facts, markdown(facts, f"{options.pairs} ({len(pairs)} files)", options.time))


if __name__ == "__main__":
    main()
