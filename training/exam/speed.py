"""Speed of the systems of an exam, which take turns on the same sound. Each number of threads has its own process.

    python -m training.exam.speed --plan training/configs/exam.yaml --threads 1 --repeats 5 --systems untouched rnnoise

prints the figures of one number of threads as JSON; `python -m training.exam --speed` calls it so.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time

from training.config import read_config
from training.evaluation.benchmark import test_signal
from training.evaluation.reports import table
from training.evaluation.score_tables import not_available
from training.evaluation.systems import LATENCY_MS, System
from training.exam.plan import ExamPlan
from training.validation import Pair

THREADS = (1, 2)
SECONDS = 20
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def measure_speed(plan: str, systems: list[str], repeats: int) -> dict:
    """Real-time factor by number of threads, load time and latency of every system.

    Raises:
        RuntimeError: if a measuring process fails; the message has its last line.
    """
    results: dict[str, dict] = {system: {"real_time_factor": {}, "slowest": {}} for system in systems}
    for threads in THREADS:
        command = [
            sys.executable,
            "-m",
            "training.exam.speed",
            "--plan",
            plan,
            "--threads",
            str(threads),
            "--repeats",
            str(repeats),
        ]
        environment = (
            os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"PYTHONPATH": os.pathsep.join(sys.path)}
        )
        run = subprocess.run([*command, "--systems", *systems], env=environment, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"measuring speed failed: {(run.stderr.strip().splitlines() or ['no message'])[-1]}")
        for system, figures in json.loads(run.stdout.splitlines()[-1]).items():
            if "missing" in figures:
                results[system] = figures
                continue
            for name in ("real_time_factor", "slowest"):
                results[system][name][str(threads)] = figures[name]
            results[system].setdefault("load_seconds", figures["load_seconds"])
            results[system]["latency_ms"] = figures["latency_ms"]
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return {"machine": machine, "seconds": SECONDS, "repeats": repeats, "systems": results}


def measure_systems(plan: ExamPlan, systems: list[str], threads: int, repeats: int) -> dict[str, dict]:
    """The figures of this process: every system is loaded once, then all take turns on the same sound."""
    import torch

    torch.set_num_threads(threads)
    audio = test_signal(16000)[: SECONDS * 16000]
    pairs = [Pair("speed", audio, audio, {})]
    loaded, figures = {}, {}
    for system in systems:
        started = time.perf_counter()
        try:
            loaded[system] = plan.make_system(system, threads)
        except ImportError as error:
            figures[system] = {"missing": str(error)}
            continue
        figures[system] = {
            "load_seconds": time.perf_counter() - started,
            "latency_ms": latency_ms(system, loaded[system]),
        }
        loaded[system]([Pair("warm-up", audio[:16000], audio[:16000], {})])
    times: dict[str, list[float]] = {system: [] for system in loaded}
    for _ in range(repeats):
        for system, process in loaded.items():
            getattr(process, "prepare", lambda: None)()  # loads what the next recording needs, see make_system
            started = time.perf_counter()
            process(pairs)
            times[system].append((time.perf_counter() - started) / SECONDS)
    for system, values in times.items():
        figures[system] |= {"real_time_factor": statistics.median(values), "slowest": max(values)}
    return figures


def latency_ms(name: str, system: System) -> float | None:
    """Latency of a system by design in milliseconds; `None` if it needs the whole recording, as our models do unless
    they run live."""
    latency = getattr(system, "latency_ms", LATENCY_MS.get(name, math.inf))
    return latency if math.isfinite(latency) else None


def speed_markdown(results: dict) -> str:
    """The table of speed."""
    repeats = results["repeats"]
    lines = [
        f"# Speed ({results['machine']})",
        "",
        f"Real-time factor: seconds of computing for one second of 16 kHz sound, the median of {repeats} runs on "
        f"{results['seconds']} s, "
        "in turn with the other systems. Loading the model is apart; it includes loading the libraries that no system "
        "before it had loaded. Latency is "
        "what the design needs: sound that a frame waits for, without computing.",
        "",
    ]
    rows = []
    for system, row in results["systems"].items():
        if "missing" in row:
            rows.append([system, *not_available(6)])
            continue
        cells = [f"{row[name][str(threads)]:.4f}" for threads in THREADS for name in ("real_time_factor", "slowest")]
        latency = "whole recording" if row["latency_ms"] is None else f"{row['latency_ms']:g}"
        rows.append([system, *cells, f"{row['load_seconds']:.1f}", latency])
    headings = ["1 thread", "slowest", "2 threads", "slowest", "load (s)", "latency (ms)"]
    lines += table(["system", *headings], rows)
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--systems", nargs="+", required=True)
    options = parser.parse_args(arguments)
    try:
        plan = read_config(ExamPlan, options.plan)
        print(json.dumps(measure_systems(plan, options.systems, options.threads, options.repeats)))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
