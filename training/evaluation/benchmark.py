"""Speed and memory of a checkpoint on an otherwise idle machine.

    python -m training.evaluation.benchmark --output training/results/benchmark

Real-time factors are medians of several runs, without the time to load the model. The peak of memory is that of a fresh
process that enhances one file with the command line. An hour of audio takes some minutes.
"""

import argparse
import functools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.evaluation.reports import table, write_report

SECONDS = 60.0
LENGTHS = (10, 60, 600, 3600)
BATCH_SIZES = (1, 2, 4, 8, 16)


WAYS = {
    "torch": "real-time factor",
    "onnx": "with ONNX Runtime",
    "bfloat16": "in bfloat16",
    "int8": "in int8, with ONNX Runtime",
}
"""Ways to compute the network, and their headings."""


def real_time_factors(model: str, runs: int, way: str) -> dict[str, dict]:
    """Seconds of computing per second of 16 kHz audio for every preset, the network computed in one of [`WAYS`]."""
    from speech_enhance import PRESETS, SpeechEnhancementPipeline, preset_settings
    from speech_enhance.jobs.file import use_onnx, use_precision

    pipeline = SpeechEnhancementPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    if way == "onnx":
        use_onnx(pipeline)
    elif way != "torch":
        use_precision(pipeline, way)
    config = pipeline.scheduler.config
    audio = test_signal(16000)
    results = {}
    for name, preset in PRESETS.items():
        pipeline.scheduler, settings = preset_settings(name, config)
        pipeline(audio[: 5 * 16000], 16000, **settings)  # warm-up
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            pipeline(audio, 16000, **settings)
            times.append((time.perf_counter() - started) / SECONDS)
        results[name] = {
            "scheduler": preset.scheduler,
            **settings,
            "real_time_factor": statistics.median(times),
            "slowest": max(times),
        }
    return results


def possible_ways(model: str) -> list[str]:
    """Those of [`WAYS`] that are of use here. A machine that is slow in bfloat16 leaves that out, and a checkpoint
    without ranges leaves out int8."""
    from speech_enhance import SpeechEnhancementPipeline
    from speech_enhance.models.int8 import INT8_RANGES
    from speech_enhance.models.precision import is_bfloat16_fast

    has_ranges = INT8_RANGES in SpeechEnhancementPipeline.from_pretrained(model).unet.config
    possible = {"bfloat16": is_bfloat16_fast("cpu"), "int8": has_ranges}
    return [way for way in WAYS if possible.get(way, True)]


def factors_of_length_and_batch(model: str) -> tuple[dict[int, float], dict[int, float]]:
    """Real-time factor of `balanced` over seconds of audio, and over windows in a batch."""
    from speech_enhance import SpeechEnhancementPipeline

    pipeline = SpeechEnhancementPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)

    def factor(seconds: float, **settings) -> float:
        started = time.perf_counter()
        for _ in pipeline.stream(functools.partial(signal_blocks, 16000, 1, seconds), 16000, **settings):
            pass
        return (time.perf_counter() - started) / seconds

    factor(5)  # warm-up
    return (
        {seconds: factor(seconds) for seconds in LENGTHS},
        {size: factor(SECONDS, window_batch_size=size) for size in BATCH_SIZES},
    )


# A process between this one and the command: Linux counts what a process held before `exec`, and this one holds models.
PEAK_MEMORY = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def peak_memory_mb(model: str, sampling_rate: int, channels: int, seconds: float) -> float:
    """Largest resident memory of `speech-enhance` on one file, in MB."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        with soundfile.SoundFile(Path(folder) / "in.wav", "w", sampling_rate, channels) as file:
            for block in signal_blocks(sampling_rate, channels, seconds):
                file.write(block.T)
        command = [sys.executable, "-m", "speech_enhance", "in.wav", "out.wav", "--model", str(Path(model).resolve())]
        finished = subprocess.run(
            [sys.executable, "-c", PEAK_MEMORY, *command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if finished.returncode != 0:
            raise RuntimeError(f"speech-enhance ended with status {finished.returncode}")
        return int(finished.stdout) / 1024


def signal_blocks(sampling_rate: int, channels: int, seconds: float) -> Iterator[np.ndarray]:
    """Seconds of [`test_signal`], repeated, in blocks `(channels, samples)`."""
    signal, left = np.tile(test_signal(sampling_rate), (channels, 1)), round(seconds * sampling_rate)
    while left > 0:
        yield signal[:, :left]
        left -= signal.shape[1]


def test_signal(sampling_rate: int) -> np.ndarray:
    """Noise that swells like syllables: speed does not depend on what is said."""
    num_samples = round(SECONDS * sampling_rate)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(num_samples) / sampling_rate)
    return (0.1 * swell * np.random.default_rng(0).standard_normal(num_samples)).astype(np.float32)


def main(arguments: list[str] | None = None) -> None:
    from speech_enhance import DEFAULT_CHECKPOINT

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT), help="pipeline folder")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--presets-only", action="store_true", help="leave out lengths, batches and memory")
    parser.add_argument("--output", help="path of the report without extension")
    options = parser.parse_args(arguments)

    import torch

    instructions = torch.backends.cpu.get_cpu_capability()
    ways = possible_ways(options.model)
    if "bfloat16" in ways:
        instructions += " with fast bfloat16"
    results = {
        "machine": f"{platform.machine()}, {instructions}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads",
        "real_time_factor": {way: real_time_factors(options.model, options.runs, way) for way in ways},
    }
    if not options.presets_only:
        by_length, by_batch = factors_of_length_and_batch(options.model)
        results["real_time_factor_by_seconds"] = by_length
        results["real_time_factor_by_window_batch_size"] = by_batch
        results["peak_memory_mb"] = {
            "60 s, 16 kHz mono": peak_memory_mb(options.model, 16000, 1, 60),
            "60 s, 48 kHz stereo": peak_memory_mb(options.model, 48000, 2, 60),
            "1 h, 48 kHz stereo": peak_memory_mb(options.model, 48000, 2, 3600),
        }
    write_report(options.output, results, markdown(results))


def markdown(results: dict) -> str:
    """Tables of what was measured."""
    lines = [
        f"# Benchmark ({results['machine']})",
        "",
    ]
    rows, factors = [], results["real_time_factor"]
    for name, row in factors["torch"].items():
        setting = [row[key] for key in ("scheduler", "num_inference_steps", "num_estimates")]
        cells = [f"{factors[way][name][key]:.3f}" for way in factors for key in ("real_time_factor", "slowest")]
        rows.append([name, *setting, *cells])
    measured = [heading for way in factors for heading in (WAYS[way], "slowest run")]
    lines += table(["preset", "scheduler", "steps", "estimates", *measured], rows)
    headings = {
        "real_time_factor_by_seconds": "seconds of audio",
        "real_time_factor_by_window_batch_size": "windows in a batch, 60 s",
    }
    for heading, factors in ((headings[name], results[name]) for name in headings if name in results):
        row = ["real-time factor, `balanced`", *(f"{value:.3f}" for value in factors.values())]
        lines += ["", *table([heading, *factors], [row])]
    if memory := results.get("peak_memory_mb"):
        rows = [[name, f"{value:.0f} MB"] for name, value in memory.items()]
        lines += ["", *table(["file", "peak memory of the command, `balanced`"], rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
