"""Reports that a folder job goes on from, thousands of them, broken or made to harm.

    python -m tests.fuzz_reports --seeds 0 100000

Each seed makes one report; a run that was stopped goes on from the seed that it printed last. A report must neither end
the job in an error nor stop it for long, nothing that is not done may count as done, and a line added to it must count.
"""

import argparse
import dataclasses
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from speech_enhance.jobs.file import PipelineChoice
from speech_enhance.jobs.folder import REPORT_NAME, FolderJob

DONE, CHANGED, MISSING, NEW = "done.wav", "changed.flac", "ünï\udcff.wav", "new.ogg"
FRAGMENTS = [
    b"",
    b"\0",
    b"\n",
    b"\r",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\\ud800",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"9" * 5000,
    b"[" * 3000,
    b'{"file":' * 2000,
    b"{}",
    b"[]",
    b"3",
    b'"file"',
    b'{"file": []}',
    b'{"file": {}}',
    b'{"file": null}',
    b'{"file": 1}',
    b'{"file": "done.wav"}',
    b'{"file": "done.wav", "source": [], "choice": {}}',
    b'{"file": "../x.wav", "source": [0, 0]}',
    b'{"file": "\\u0000"}',
    b" " * 9000,
]


def make_job(folder: Path) -> FolderJob:
    """A job of four small files, of which three have been enhanced and one of those has changed since."""
    job = FolderJob(folder / "in", folder / "out", PipelineChoice())
    for name in (DONE, CHANGED, MISSING, NEW):
        (job.source / name).parent.mkdir(parents=True, exist_ok=True)
        (job.source / name).write_bytes(name.encode(errors="surrogateescape"))
    for name in (DONE, CHANGED, NEW):
        (job.target / name).parent.mkdir(parents=True, exist_ok=True)
        (job.target / name).write_bytes(b"enhanced")
    return job


def line(job: FolderJob, name: str, **changes) -> dict:
    """What a report says of a file that has been enhanced."""
    outcome = {
        "file": name,
        "status": "enhanced",
        "error": None,
        "duration": 1.5,
        "seconds": 0.1,
        "real_time_factor": 0.07,
    }
    status = (job.source / name).stat()
    outcome |= {"source": [status.st_size, status.st_mtime_ns], "choice": dataclasses.asdict(job.choice)}
    return outcome | {"num_limited": 0, "lost_tags": []} | changes


def lines(job: FolderJob) -> list[dict]:
    """A good report; that of the file which has changed since is right but for its time."""
    status = (job.source / CHANGED).stat()
    return [
        line(job, DONE),
        line(job, CHANGED, source=[status.st_size, status.st_mtime_ns - 12345678901234]),
        line(job, MISSING),
        line(job, NEW, error="a reason", status="failed"),
    ]


def any_value(draw: random.Random, depth: int = 3):
    """Anything that JSON can spell."""
    scalars = [
        None,
        True,
        False,
        0,
        -1,
        1.5,
        2**70,
        -(10**300),
        float("nan"),
        float("inf"),
        "",
        DONE,
        "\ud800",
        "x" * 300,
    ]
    if depth == 0 or draw.random() < 0.7:
        return draw.choice(scalars)
    if draw.random() < 0.5:
        return [any_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    return {str(any_value(draw, 0)): any_value(draw, depth - 1) for _ in range(draw.randrange(4))}


def mutated(good: list[dict], draw: random.Random) -> bytes:
    """A good report with values, lines and bytes changed. It never tells the time of the file that has changed, nor
    that the one which failed was enhanced."""
    rows = [dict(row) for row in good if draw.random() < 0.9]
    for _ in range(draw.choice([0, 0, 1, 2, 4])):
        row = draw.choice(rows) if rows else {}
        key = draw.choice([key for key in [*row, "new"] if key not in ("error", "file", "status")])
        if draw.random() < 0.2:
            row.pop(key, None)
        else:
            row[key] = any_value(draw)
    draw.shuffle(rows)
    content = bytearray(b"".join(json.dumps(row).encode() + draw.choice([b"\n", b"\n", b"\r\n", b""]) for row in rows))
    for _ in range(draw.choice([0, 0, 1, 3, 10, 30])):
        position = draw.randrange(len(content) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            content[position:position] = draw.choice(FRAGMENTS)
        elif kind == 1 and position < len(content):
            content[position] = draw.randrange(256)
        elif kind == 2:
            del content[position : position + draw.choice([1, 2, 50, 500])]
        else:
            content[position:position] = content[draw.randrange(len(content) + 1) :][: draw.choice([1, 20, 500])]
    return bytes(content[: draw.randrange(len(content) + 1)] if draw.random() < 0.2 else content)


def check(job: FolderJob, content: bytes) -> None:
    """Plan the job with a report, add a line to that, and plan again.

    Raises:
        AssertionError: if something counts as done that is not, or the new line does not count.
    """
    from speech_enhance.jobs.folder_report import FolderReport

    job.report_path.write_bytes(content)
    started = time.process_time()
    kept = set(job.plan().kept)
    assert kept <= {DONE}, f"{kept} count as done"
    FolderReport(job.report_path).add(line(job, NEW))
    assert set(job.plan().kept) == kept | {NEW}, "a line that was added does not count"
    assert time.process_time() - started < 2, "it takes more than two seconds"
    assert job.report_path.read_bytes().startswith(content), "what was there has changed"


def fuzz(first: int, last: int, say=lambda line: None) -> None:
    """Try the reports of the seeds from `first` up to `last`.

    Raises:
        AssertionError: with the seed, at the first that fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(Path(folder))
        good, started = lines(job), time.perf_counter()
        for seed in range(first, last):
            content = mutated(good, random.Random(seed))
            try:
                check(job, content)
            except Exception as error:
                raise AssertionError(
                    f"seed {seed}: {type(error).__name__}: {error}; {REPORT_NAME} is {content!r}"
                ) from error
            if (seed + 1 - first) % 10000 == 0 or seed + 1 == last:
                say(f"up to seed {seed + 1}: no failure in {time.perf_counter() - started:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 100000), metavar=("FIRST", "LAST"))
    options = parser.parse_args()
    fuzz(*options.seeds, say=lambda text: print(text, flush=True))


if __name__ == "__main__":
    sys.exit(main())
