"""Processes that talk to a [`LoopbackHub`], and a small model worth publishing."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import torch
import yaml
from conftest import ROOT, make_tiny_pipeline
from hub_routes import TOKEN
from loopback_hub import LoopbackHub
from processes import run

PREAMBLE = """
import hashlib, json, numpy as np

def digest(pipe):
    pipe.set_progress_bar_config(disable=True)
    audio = (0.1 * np.random.default_rng(0).standard_normal((2, 30000))).astype(np.float32)
    return hashlib.sha256(pipe(audio, 44100).audios.tobytes()).hexdigest()

def failure(load):
    try:
        load()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "loaded"

def show(**values):
    print(json.dumps(values))
"""
INSTALLED = (
    PREAMBLE
    + "from speech_enhance import SpeechEnhancementPipeline\nload = SpeechEnhancementPipeline.from_pretrained\n"
)
NOT_INSTALLED = (
    PREAMBLE
    + "import importlib.util\nassert importlib.util.find_spec('speech_enhance') is None\nfrom diffusers import "
    "DiffusionPipeline\nload = DiffusionPipeline.from_pretrained\n"
)


SEVERAL = """
import contextlib, importlib, io, json, sys
main, results = importlib.import_module(sys.argv[1]).main, []
for arguments in json.loads(sys.argv[2]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
    results.append((code or 0, out.getvalue(), errors.getvalue()))
print(json.dumps(results))
"""


def client(
    hub: LoopbackHub, home: Path, code: str, *, token: str | None = None, bare: Path | None = None, **more
) -> dict:
    """Run `code` after a preamble, which has `load`, in a process of its own; gives what it passed to `show`.

    Args:
        hub: Where the process looks for repositories.
        home: Its caches.
        code: See above.
        token: Its HF_TOKEN.
        bare: Folder of [`packages_without_ours`]: the process has no `speech_enhance`.
        more: Further environment variables.
    """
    environment = hub.environment(home, token) | more
    options, preamble = [], INSTALLED
    environment["PYTHONPATH"] = str(ROOT)
    if bare is not None:
        options, preamble = ["-S"], NOT_INSTALLED
        environment["PYTHONPATH"] = str(bare)
    process = run(
        [sys.executable, *options, "-c", preamble + code],
        "torch",
        cwd=home.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.strip().splitlines()[-1]) | {"stderr": process.stderr}


def command(hub: LoopbackHub, home: Path, *arguments, token: str | None = TOKEN, **more) -> subprocess.CompletedProcess:
    """Run a script of the repository in a process of its own, with the Hub and a token."""
    environment = hub.environment(home, token) | {"PYTHONPATH": str(ROOT)} | more
    arguments = map(str, arguments)
    return run(
        [sys.executable, *arguments], "torch", cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )


def commands(hub: LoopbackHub, home: Path, script: str, *runs: list, token: str | None = TOKEN):
    """Run a script of the repository several times in one process, with each list of arguments in turn, since starting
    one takes seconds; gives a `CompletedProcess` for each."""
    module = script.removesuffix(".py").replace("/", ".")
    arguments = json.dumps([list(map(str, run)) for run in runs])
    process = command(hub, home, "-c", SEVERAL, module, arguments, token=token)
    assert process.returncode == 0, process.stderr
    results = json.loads(process.stdout.splitlines()[-1])
    return [subprocess.CompletedProcess(run, *result) for run, result in zip(runs, results, strict=True)]


def packages_without_ours(folder: Path) -> Path:
    """A folder of links to every installed package but this one: for `python -S`."""
    folder.mkdir()
    for name in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(name)).iterdir():
            link = folder / path.name
            if "speech_enhance" not in path.name and path.suffix != ".pth" and not link.exists():
                link.symlink_to(path)
    return folder


def tiny_model(folder: Path, seed: int = 0, **options) -> Path:
    """A pipeline of a few thousand parameters, saved in half precision."""
    make_tiny_pipeline(seed).to(torch.float16).save_pretrained(folder, **options)
    return folder


def tiny_reports(folder: Path, model: Path) -> tuple[Path, Path]:
    """`(about, results)`: a page of facts, and a report that says it measured `model`."""
    results = folder / "results"
    results.mkdir(parents=True)
    known = json.loads((ROOT / "training" / "results" / "pairs-voicebank.json").read_text())
    report = {name: known[name] for name in ("untouched", "ours, balanced")}
    (results / "validation.json").write_text(json.dumps(report))
    (results / "validation.md").write_text(
        f"# Figures\n\nMade by `evaluate.py --pairs x --model {model}` at commit 0.\n"
    )
    about = yaml.safe_load((ROOT / "model_cards" / "own.yaml").read_text())
    (folder / "about.yaml").write_text(yaml.safe_dump(about))
    return folder / "about.yaml", results
