"""What many files cost: batches shared by short files, workers of a folder, processes over a corpus.

    python training/scaling.py --output training/results/scaling

Wants an idle machine; two cores take some six minutes. Times of commands are whole: with start, model load, reading
and writing. The last table is arithmetic on measured figures, for GPUs that nobody has run this on; its assumption is named.
"""

import argparse
import dataclasses
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if not __package__:  # run as a script: the repository, not this folder with its own `evaluate.py`, is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.benchmark import signal_blocks
from training.reports import write_report

ROOT = Path(__file__).resolve().parents[1]
SHORT = {1.5: 64, 4.0: 32, 10.0: 16}
"""Recordings of each length (seconds) that are enhanced alone and together."""
HOURS, GPUS, SUSTAINED = 10_000, 8, 10e12
"""The corpus of the estimate; floating-point operations per second that the network is assumed to reach on one GPU, a
seventh of what an H100 does in single precision by its data sheet."""


@dataclasses.dataclass(frozen=True)
class Load:
    """Recordings of equal length for a command: how many and how long."""

    number: int
    seconds: float

    def write(self, folder: Path) -> None:
        """WAV files `(16 kHz, mono)` into `folder`."""
        import soundfile

        folder.mkdir(parents=True)
        (block,) = signal_blocks(16000, 1, self.seconds)
        for index in range(self.number):
            soundfile.write(folder / f"{index:05d}.wav", block[0], 16000)

    def factor(self, seconds: float) -> float:
        """Real-time factor of a command that took `seconds`."""
        return seconds / (self.number * self.seconds)


def alone_and_together(runs: int) -> dict[float, dict[str, float]]:
    """Real-time factor by length of short files, one by one and in groups; the best of several runs, in turn."""
    import torch

    from speech_enhance.file_batches import enhance_files, group_by_size
    from speech_enhance.file_enhancement import load_pipeline

    pipeline, results = load_pipeline(device="cpu"), {}
    for seconds, number in SHORT.items():
        load = Load(number, seconds)
        with tempfile.TemporaryDirectory() as folder:
            load.write(Path(folder) / "in")
            files = [(path, Path(folder) / path.name) for path in sorted((Path(folder) / "in").iterdir())]
            groups = {"alone": [[file] for file in files]}
            groups["together"] = list(group_by_size(files, lambda file: file[0].stat().st_size))
            times = {name: [] for name in groups}
            for _ in range(runs + 1):  # the first is the warm-up
                for name, parts in groups.items():
                    started = time.perf_counter()
                    for part in parts:
                        enhance_files(pipeline, part, torch.Generator)
                    times[name].append(load.factor(time.perf_counter() - started))
        results[seconds] = {name: min(values[1:]) for name, values in times.items()}
    return results


def run_commands(load: Load, numbers: list[int]) -> dict[str, dict[int, float]]:
    """Seconds that the folder command takes with each number of workers, and the corpus command of processes."""
    results: dict[str, dict[int, float]] = {"folder": {}, "corpus": {}}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        load.write(folder / "in")
        for number in numbers:
            command = [sys.executable, "-m", "speech_enhance", "in", f"folder-{number}", "--workers", str(number)]
            results["folder"][number] = timed(command, folder)
            launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(number)]
            rows = str(max(1, load.number // 16))
            command = ["-m", "speech_enhance.corpus", "in", f"corpus-{number}", "--rows-per-shard", rows]
            results["corpus"][number] = timed([sys.executable, *launcher, *command], folder)
    return results


def timed(command: list[str], folder: Path) -> float:
    """Seconds of a command that runs this package in `folder`."""
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {result.returncode}: {result.stderr[-500:]}")
    return time.perf_counter() - started


def cost_of_an_hour() -> dict[str, float]:
    """What an hour of 16 kHz audio asks for: operations of the network, and seconds of one core for all around it."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from speech_enhance.file_enhancement import load_pipeline

    pipeline, threads = load_pipeline(device="cpu"), torch.get_num_threads()
    torch.set_num_threads(1)
    (audio,) = signal_blocks(16000, 1, 60)
    pipeline(audio, 16000)  # warm-up
    begun, in_network = [], []
    handles = [
        pipeline.unet.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter())),
        pipeline.unet.register_forward_hook(lambda *_: in_network.append(time.perf_counter() - begun[-1])),
    ]
    started = time.perf_counter()
    pipeline(audio, 16000)
    around = time.perf_counter() - started - sum(in_network)
    for handle in handles:
        handle.remove()
    torch.set_num_threads(threads)
    with FlopCounterMode(display=False) as counter:
        pipeline(audio, 16000)
    return {"network_operations": 60 * counter.get_total_flops(), "seconds_around": 60 * around}


def estimate(cost: dict[str, float]) -> dict[str, float]:
    """Hours for the corpus of the estimate, were it bound by the network on the GPUs, or by one core beside each."""
    return {
        "network_hours": HOURS * cost["network_operations"] / (GPUS * SUSTAINED) / 3600,
        "around_hours": HOURS * cost["seconds_around"] / GPUS / 3600,
    }


def table(results: dict) -> list[str]:
    """The report, line by line."""
    load, cost = Load(**results["load"]), results["cost_of_an_hour"]
    lines = [f"# Many files ({results['machine']})", "", "Preset `balanced`; real-time factors.", ""]
    lines += ["| seconds of each file | one by one | sharing batches | time saved |", "|---|---|---|---|"]
    for seconds, row in results["alone_and_together"].items():
        saved = 1 - row["together"] / row["alone"]
        lines.append(f"| {seconds:g} | {row['alone']:.3f} | {row['together']:.3f} | {saved:.0%} |")
    lines += ["", f"| {load.number} files of {load.seconds:g} s | processes | seconds | real-time factor | speed-up |"]
    lines += ["|---|---|---|---|---|"]
    for name, times in results["commands"].items():
        first = next(iter(times.values()))
        for number, seconds in times.items():
            lines.append(f"| {name} | {number} | {seconds:.1f} | {load.factor(seconds):.4f} | {first / seconds:.2f} |")
    lines += ["", "One process has the network run on all cores already; more of them share the cores out."]
    on_paper = results["estimate"]
    return [
        *lines,
        "",
        f"On paper, {HOURS:,} hours on {GPUS} GPUs: an hour of audio asks the network for "
        f"{cost['network_operations'] / 1e12:.1f}·10¹² operations, and one core of this machine for "
        f"{cost['seconds_around']:.0f} s for STFT, gain and bookkeeping around it (of samples in memory). At "
        f"{SUSTAINED / 1e12:.0f}·10¹² operations a second on each GPU, an assumption, the network takes "
        f"{on_paper['network_hours']:.1f} hours; one process beside each GPU takes {on_paper['around_hours']:.0f} hours for "
        "the rest if that stays on the CPU. So the processor is what such a machine waits for: several processes for "
        "each GPU divide that time.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=64, help="of a folder or corpus (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each, at most 60 (default: %(default)s)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="of each short measurement (default: %(default)s)")
    parser.add_argument("--output", help="path of the report without extension")
    options = parser.parse_args()

    import torch

    load, cost = Load(options.files, options.seconds), cost_of_an_hour()
    results = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "load": dataclasses.asdict(load),
        "cost_of_an_hour": cost,
        "estimate": estimate(cost),
        "alone_and_together": alone_and_together(options.runs),
        "commands": run_commands(load, options.processes),
    }
    write_report(options.output, results, "\n".join(table(results)))


if __name__ == "__main__":
    main()
