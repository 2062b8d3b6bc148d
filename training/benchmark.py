"""Speed and memory of a checkpoint on an otherwise idle machine.

    python training/benchmark.py --output training/results/benchmark

Real-time factors are medians of several runs, model load excluded; the peak of memory is that of a fresh process that
enhances one file of 60 s with the command line.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.reports import write_report

SECONDS = 60.0


def real_time_factors(model: str, runs: int, backend: str) -> dict[str, dict]:
    """Seconds of computing per second of 16 kHz audio for every preset, the network run by `torch` or `onnx`."""
    from speech_enhance import PRESETS, OnnxUNet, SpeechEnhancementPipeline, preset_settings

    pipeline = SpeechEnhancementPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    if backend == "onnx":
        pipeline.unet = OnnxUNet(pipeline.unet, pipeline.config.window_frames)
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


def peak_memory_mb(model: str, sampling_rate: int, channels: int) -> float:
    """Largest resident memory of `speech-enhance` on a 60 s file, in MB."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        audio = np.tile(test_signal(sampling_rate)[:, None], (1, channels))
        soundfile.write(Path(folder) / "in.wav", audio, sampling_rate)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        command = [sys.executable, "-m", "speech_enhance", "in.wav", "out.wav", "--model", str(Path(model).resolve())]
        subprocess.run(command, check=True, cwd=folder, capture_output=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if peak == before:
            raise RuntimeError("another child process used more memory; the peak of this one is unknown")
        return peak / 1024


def test_signal(sampling_rate: int) -> np.ndarray:
    """Noise that swells like syllables: speed does not depend on what is said."""
    num_samples = round(SECONDS * sampling_rate)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(num_samples) / sampling_rate)
    return (0.1 * swell * np.random.default_rng(0).standard_normal(num_samples)).astype(np.float32)


def main() -> None:
    from speech_enhance import DEFAULT_CHECKPOINT

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT), help="pipeline folder")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", help="path of the report without extension")
    options = parser.parse_args()

    import torch

    memory = {"16 kHz mono": peak_memory_mb(options.model, 16000, 1)}
    memory["48 kHz stereo"] = peak_memory_mb(options.model, 48000, 2)
    results = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads",
        "real_time_factor": {
            backend: real_time_factors(options.model, options.runs, backend) for backend in ("torch", "onnx")
        },
        "peak_memory_mb_60_s": memory,
    }
    lines = [
        f"# Benchmark ({results['machine']})",
        "",
        "| preset | scheduler | steps | estimates | real-time factor | slowest run | with ONNX Runtime | slowest run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results["real_time_factor"]["torch"].items():
        onnx = results["real_time_factor"]["onnx"][name]
        lines.append(
            f"| {name} | {row['scheduler']} | {row['num_inference_steps']} | {row['num_estimates']} "
            f"| {row['real_time_factor']:.3f} | {row['slowest']:.3f} | {onnx['real_time_factor']:.3f} | {onnx['slowest']:.3f} |"
        )
    lines += ["", "| file of 60 s | peak memory of the command, `balanced` |", "|---|---|"]
    lines += [f"| {name} | {value:.0f} MB |" for name, value in memory.items()]
    report = "\n".join(lines) + "\n"
    write_report(options.output, results, report)


if __name__ == "__main__":
    main()
