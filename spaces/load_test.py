"""Load test of the demo on loopback: many visitors at once, the real server, answers checked.

    python spaces/load_test.py --output training/results/demo

The test starts its own server and stops it at the end. Every visitor sends a different recording and must get the same
recording back enhanced; a wrong answer is a failure. It is also a failure if the server's memory grows, which is
measured while no request is under way.
"""

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import soundfile

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER.parent))


PARTS = 10  # memory is read after each part
MAX_GROWTH = 10.0  # MB per 100 requests


class Load:
    """Counts of a run: the seconds of every answer, and the failures with their reasons."""

    def __init__(self, num_requests: int):
        self.left = num_requests
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.lock = threading.Lock()

    def take(self) -> bool:
        """Return whether there is one more request to make, and count it."""
        with self.lock:
            self.left -= 1
            return self.left >= 0


def visitor(url: str, number: int, load: Load, folder: Path) -> None:
    """Send requests one after the other until all have been sent."""
    from gradio_client import Client, handle_file

    noisy, rate = soundfile.read(FOLDER.parent / "samples" / "noisy.wav", dtype="float32")
    noisy = noisy[: len(noisy) - 1000 * number]
    source = folder / f"{number}.wav"
    soundfile.write(source, noisy, rate)
    client = Client(url, verbose=False, download_files=str(folder / str(number)))
    while load.take():
        started = time.perf_counter()
        try:
            path, _ = client.predict(audio=handle_file(source), api_name="/enhance")
            enhanced, _ = soundfile.read(path, dtype="float32")
            wrong = len(enhanced) != len(noisy) or not 0.7 < np.corrcoef(enhanced, noisy)[0, 1] < 0.999
            reason = "not the own recording, enhanced" if wrong else None
        except Exception as error:  # any error is counted
            reason = f"{type(error).__name__}: {error}"
        with load.lock:
            load.seconds.append(time.perf_counter() - started)
            if reason:
                load.failures.append(reason)
    client.close()


def run(url: str, num_requests: int, num_visitors: int, folder: Path) -> Load:
    """Make `num_requests` requests with `num_visitors` visitors at once."""
    load = Load(num_requests)
    threads = [threading.Thread(target=visitor, args=(url, number, load, folder)) for number in range(num_visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def start(folder: Path) -> tuple[str, subprocess.Popen]:
    """Start a server on a free port, with its temporary files in `folder`. Returns its address and process as soon as
    it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"GRADIO_SERVER_PORT": port, "GRADIO_TEMP_DIR": str(folder / "files")}
    # all visitors have one address here: they get two of three places, and the disk must hold the files of all
    environment |= {"CONCURRENT_RUNS": "3", "MAX_QUEUE": "64", "MAX_QUEUE_PER_VISITOR": "64", "MAX_VISITOR_MB": "4000"}
    process = subprocess.Popen([sys.executable, FOLDER / "app.py"], env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with code {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return url, process
        except OSError:
            time.sleep(0.3)
    process.kill()
    raise RuntimeError("the server did not answer within minutes")


def growth(memory: list[float], requests: float) -> float:
    """Return the growth in MB per 100 requests: the slope of a straight line through `memory` in MB, which was read
    each time after this number of `requests`."""
    return 100 * float(np.polyfit(np.arange(len(memory)) * requests, memory, 1)[0])


def measure(url: str, server: psutil.Process, num_requests: int, num_visitors: int, folder: Path):
    """Make all requests in [`PARTS`]. Returns the counts, the total seconds, and the server's memory in MB before and
    after every part, read while no request is under way."""
    run(url, 2 * num_visitors, num_visitors, folder)  # warm-up
    total, memory = Load(0), [server.memory_info().rss / 1e6]
    started = time.perf_counter()
    for index in range(PARTS):
        count = num_requests * (index + 1) // PARTS - num_requests * index // PARTS
        load = run(url, count, num_visitors, folder)
        total.seconds += load.seconds
        total.failures += load.failures
        memory.append(server.memory_info().rss / 1e6)
    return total, time.perf_counter() - started, memory


def describe(load: Load, elapsed: float, memory: list[float], num_visitors: int) -> tuple[dict, str]:
    """Return the report as JSON values and as text."""
    num_requests = len(load.seconds)
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores for server and visitors"
    results = {
        "machine": f"{platform.machine()}, {cores}",
        "requests": num_requests,
        "visitors": num_visitors,
        "failures": load.failures,
        "seconds": elapsed,
        "median_seconds": statistics.median(load.seconds),
        "percentile_95_seconds": float(np.percentile(load.seconds, 95)),
        "memory_mb": memory,
        "growth_mb_per_100_requests": growth(memory[PARTS // 2 :], num_requests / PARTS),
    }
    rows = {
        "requests, visitors at once": f"{num_requests}, {num_visitors}",
        "failures": str(len(load.failures)),
        "requests per second": f"{num_requests / elapsed:.2f}",
        "median answer": f"{results['median_seconds']:.2f} s",
        "95th percentile": f"{results['percentile_95_seconds']:.2f} s",
        "memory of the server after warm-up": f"{memory[0]:.0f} MB",
        "after half of the requests": f"{memory[PARTS // 2]:.0f} MB",
        "after all": f"{memory[-1]:.0f} MB",
        "growth in the second half, per 100 requests": f"{results['growth_mb_per_100_requests']:+.1f} MB",
    }
    title = f"# Load test of the demo: 7 s recordings, `balanced` ({results['machine']})"
    text = "\n".join([title, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
    return results, text


def main(arguments: list[str] | None = None) -> None:
    from training.evaluation.reports import write_report

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--visitors", type=int, default=4, help="at the same time")
    parser.add_argument("--output", help="path of the report without extension")
    options = parser.parse_args(arguments)
    if options.requests < PARTS or options.visitors < 1:
        parser.error(f"--requests must be at least {PARTS} and --visitors at least 1")

    with tempfile.TemporaryDirectory() as folder:
        try:
            url, server = start(Path(folder))
        except RuntimeError as error:
            parser.error(str(error))
        try:
            process = psutil.Process(server.pid)
            load, elapsed, memory = measure(url, process, options.requests, options.visitors, Path(folder))
        finally:
            server.terminate()
            server.wait()

    results, text = describe(load, elapsed, memory, options.visitors)
    write_report(options.output, results, text)
    if load.failures:
        parser.exit(1, f"{len(load.failures)} requests failed, the first: {load.failures[0]}\n")
    if results["growth_mb_per_100_requests"] > MAX_GROWTH:
        parser.exit(1, f"the server grows by more than {MAX_GROWTH:g} MB per 100 requests\n")


if __name__ == "__main__":
    main()
