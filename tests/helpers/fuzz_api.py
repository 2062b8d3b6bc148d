"""Calls of the demo's server, made at random: each is answered without HTTP 500 and without a traceback in the log, a
good call is served all the while, and memory and disk stay bounded.

    python -m tests.fuzz_api --seeds 0 10000

Every seed is one call, the same in every run; a run that was cut short goes on with the next seed. Starts a server of
its own around a tiny network, and stops it.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil

sys.path.append(str(Path(__file__).parents[1]))

from conftest import flac, make_tiny_pipeline, noise
from demo import Server, call, send, serve, upload

CHECK_EVERY = 200  # calls
MAX_GROWTH_MB = 300
LIMITS = {
    "MAX_SECONDS": "5",
    "MAX_FILE_MB": "1",
    "MAX_WORK": "40",
    "MAX_TOTAL_MB": "1500",
    "STOP_UNHEARD_AFTER_SECONDS": "1",
}
GOOD = ["ddim", 1, 1, 0, 60, 1, 0]
CALLED = (
    "call/enhance",
    "call/enhance",
    "call/v2/enhance",
    "queue/join",
    "queue/join",
    "run/predict",
    "cancel",
    "reset",
    "upload",
)
READ = (
    "call/enhance/",
    "call/v2/enhance/",
    "queue/data?session_hash=",
    "file=",
    "heartbeat",
    "info",
    "queue/status",
    "upload_progress?upload_id=",
    "stream/",
    "openapi.json",
    "../config",
    "../static/",
    "../assets/",
    "../",
)
TEXTS = (
    "",
    "ddim",
    "heun",
    "lcm",
    "session",
    "../../etc/passwd",
    "/etc/passwd",
    "http://127.0.0.1/",
    "\0",
    "\n",
    "é\u202e",
    "%00",
    "a" * 3000,
    "nan",
    "1",
    "null",
    "{}",
)
NUMBERS = (0, 1, -1, 2, 16, 50, 51, 60, 1.5, 1e300, -0.0, 10**30, 2**32, float("nan"), float("inf"))
PARAMETERS = (
    "audio",
    "scheduler",
    "num_inference_steps",
    "num_estimates",
    "seed",
    "attenuation_limit_db",
    "mix",
    "dereverb",
)
FIELDS = (
    "data",
    "fn_index",
    "session_hash",
    "event_id",
    "trigger_id",
    "event_data",
    "simple_format",
    "batched",
    "oauth_token",
    "audio",
    "seed",
    "mix",
)


class Fuzzer:
    """Calls of `server`, one of every seed."""

    def __init__(self, server: Server):
        self.server = server
        self.process = psutil.Process(server.process.pid)
        self.contents = [flac(noise(1600)), flac(noise(16000 * 4, seed=1)), b"", b"RIFF" + bytes(100), b"text"]
        self.files = [upload(server, content, f"{index}.flac") for index, content in enumerate(self.contents)]
        self.good = upload(server, flac(noise(3200, seed=2)), visitor="198.51.100.1")
        self.statuses: Counter[str] = Counter()
        self.check(0)
        self.memory = self.process.memory_info().rss

    def value(self, rng: random.Random, depth: int = 0):
        """Anything that JSON can hold, most of it close to an argument of our function."""
        kind = rng.randrange(8 if depth < 3 else 5)
        if kind < 5:
            simple = (None, rng.random() < 0.5, rng.choice(NUMBERS), rng.choice(TEXTS), rng.randrange(-5, 100))
            return simple[kind]
        if kind == 5:
            return [self.value(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 9, 40)))]
        if kind == 6:
            file = dict(rng.choice(self.files))
            if rng.random() < 0.5:
                file[rng.choice(("path", "meta", "url", "size", "is_stream"))] = self.value(rng, depth + 1)
            return file
        return {rng.choice(FIELDS): self.value(rng, depth + 1) for _ in range(rng.randrange(4))}

    def arguments(self, rng: random.Random) -> list:
        """Those of a good call with up to three of them replaced, one too many or one too few."""
        data = [rng.choice(self.files), *GOOD]
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
            data[rng.randrange(len(data))] = self.value(rng)
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data))] if rng.random() < 0.5 else [*data, self.value(rng)]
        return data

    def body(self, rng: random.Random, name: str) -> bytes:
        """That of a call of `name`; now and then one of another form, or with bytes changed."""
        body = {
            "data": self.arguments(rng),
            "fn_index": rng.randrange(-1, 11),
            "session_hash": f"s{rng.randrange(50)}",
            "event_id": "e",
        }
        if name == "call/v2/enhance":
            body = dict(zip(PARAMETERS, body["data"], strict=False))
        for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
            body[rng.choice(FIELDS)] = self.value(rng)
        content = bytearray(json.dumps(body if rng.random() < 0.95 else self.value(rng)).encode())
        for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 5))):
            if content:
                content[rng.randrange(len(content))] = rng.randrange(256)
        return bytes(content)

    def request(self, rng: random.Random) -> tuple[str, str, dict]:
        """Method, path and options of a request."""
        headers = (
            {}
            if rng.random() < 0.8
            else {
                rng.choice(
                    (
                        "Host",
                        "Origin",
                        "X-Forwarded-Host",
                        "X-Forwarded-Proto",
                        "Range",
                        "Content-Type",
                        "Accept-Encoding",
                        "Referer",
                        "Cookie",
                    )
                ): rng.choice(
                    (
                        "",
                        "x",
                        "evil.example",
                        "localhost",
                        "bytes=5-1",
                        "bytes=a-b,",
                        "multipart/form-data",
                        "[",
                        "://",
                        "a=b; a",
                    )
                )
            }
        )
        if rng.random() < 0.25:
            ending = rng.choice((*TEXTS, *(file["path"] for file in self.files)))[:500]
            path = quote(f"/gradio_api/{rng.choice(READ)}{ending}", safe="/=?%")
            return rng.choice(("GET", "GET", "HEAD", "POST", "PUT", "OPTIONS")), path, {"headers": headers}
        name = rng.choice(CALLED)
        if name == "upload" and rng.random() < 0.8:
            field = (rng.choice(TEXTS) or "a.wav", rng.choice((*self.contents, bytes(10**6 + 1))))
            options = {"files": [(rng.choice(("files", "files", "files", "other")), field)] * rng.choice((1, 1, 1, 2))}
        else:
            options = {"content": self.body(rng, name), "headers": {"Content-Type": "application/json"}}
        options["headers"] = options.get("headers", {}) | headers
        return "POST", f"/gradio_api/{name}", options

    def once(self, seed: int) -> None:
        """Make the call of `seed`, and sometimes wait for its result."""
        rng = random.Random(seed)
        visitor = f"198.51.100.{rng.randrange(2, 30)}"
        method, path, options = self.request(rng)
        streams = "queue/data" in path or "heartbeat" in path  # end with a listener only
        try:
            with CLIENT.stream(
                method,
                self.server.url + path,
                **options | {"headers": {"X-Forwarded-For": visitor} | options["headers"]},
            ) as answer:
                text = "" if streams else answer.read().decode("utf-8", "replace")
                self.statuses[f"{answer.status_code}"] += 1
        except httpx.LocalProtocolError:
            self.statuses["not sent"] += 1
            return
        except httpx.HTTPError as error:
            raise AssertionError(f"seed {seed}: {method} {path}: {error}") from error
        assert answer.status_code < 500 or answer.status_code in (503, 507), (seed, path, answer.status_code, text)
        assert "Traceback" not in text, seed
        event = re.fullmatch(r'\{"event_id":"(\w+)"\}', text)
        if event and rng.random() < 0.7:
            result = send(self.server, "GET", f"/gradio_api/call/enhance/{event[1]}", visitor).text
            self.statuses[(re.findall("event: (complete|error)", result) or ["no result"])[-1]] += 1
            assert "Traceback" not in result, seed

    def check(self, seed: int) -> None:
        """A good call is served, the log is clean, memory and disk are bounded; `seed` is told if not."""
        for _ in range(200):
            event, value = call(self.server, [self.good, *GOOD], "198.51.100.1")
            if event != "status 503":
                break
            time.sleep(0.1)
        assert event == "complete", (seed, value)
        assert "Traceback" not in self.server.printed, (seed, self.server.printed[-3000:])
        assert max(map(len, self.server.printed.splitlines()), default=0) < 500, seed
        used = sum(path.stat().st_size for path in self.server.files_left() if path.exists())
        assert used < int(LIMITS["MAX_TOTAL_MB"]) * 10**6, (seed, used)
        if seed:
            assert self.growth_mb() < MAX_GROWTH_MB, (seed, self.growth_mb())

    def growth_mb(self) -> float:
        """Memory of the server above that after its first good call."""
        return (self.process.memory_info().rss - self.memory) / 1e6

    def run(self, first: int, last: int, max_seconds: float = float("inf")) -> int:
        """Make the calls of the seeds from `first` up to `last`, which is not among them, or until the time is over;
        returns the next seed."""
        deadline = time.monotonic() + max_seconds
        for seed in range(first, last):
            self.once(seed)
            if seed % CHECK_EVERY == CHECK_EVERY - 1:
                self.check(seed)
                if time.monotonic() > deadline:
                    break
        self.check(seed)
        return seed + 1


CLIENT = httpx.Client(timeout=60)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", nargs=2, type=int, metavar=("FIRST", "LAST"), default=(0, 10000), help="LAST is not among them"
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.seeds[0] < options.seeds[1]:
        parser.error("--seeds needs a first number and a larger one")
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_pipeline().save_pretrained(Path(folder, "model"))
        with serve(Path(folder, "demo"), MODEL_ID=str(Path(folder, "model")), OMP_NUM_THREADS="1", **LIMITS) as server:
            fuzzer, started = Fuzzer(server), time.monotonic()
            for first in range(*options.seeds, 1000):
                following = fuzzer.run(first, min(first + 1000, options.seeds[1]))
                statuses = ", ".join(f"{name}: {count}" for name, count in sorted(fuzzer.statuses.items()))
                print(
                    f"{following - options.seeds[0]} calls, {time.monotonic() - started:.0f} s, "
                    f"{fuzzer.growth_mb():+.0f} MB ({statuses})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
