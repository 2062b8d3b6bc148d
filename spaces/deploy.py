"""Push the demo to Hugging Face Spaces.

    python spaces/deploy.py user/space [--model user/model] [--code-url URL] [--private] [--pypi]
    python spaces/deploy.py user/space --dry-run FOLDER

The token is that of `hf auth login` or of HF_TOKEN. Until the package is on PyPI, it is uploaded as a wheel.
The Space installs the wheel by its address, because the build of a Space sees no file except requirements.txt.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
sys.path.append(str(ROOT))
MODULES = (
    "app.py",
    "calls.py",
    "comparisons.py",
    "fair_queue.py",
    "files.py",
    "guard.py",
    "handlers.py",
    "live_tab.py",
    "live_visit.py",
    "models.py",
    "page.py",
    "results.py",
    "texts.py",
    "visitors.py",
    "serving.py",
    "serving_limits.py",
    "levels.py",
)
FILES = (*MODULES, "page.js", "player.js", "live.js", "page.css", "packages.txt", "examples")
PICTURE = ROOT / "docs" / "demo.png"


def stage(target: Path, repo_id: str, *, model: str | None, code_url: str | None, pypi: bool, endpoint: str) -> None:
    """Write the files of the Space `repo_id` on `endpoint` into `target`.

    Raises:
        RuntimeError: if the wheel cannot be built.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        copy = shutil.copytree if (FOLDER / name).is_dir() else shutil.copy
        copy(FOLDER / name, target / name)
    shutil.copy(PICTURE, target / PICTURE.name)
    address = f"{endpoint}/spaces/{repo_id}/resolve/main"

    added = f"thumbnail: {address}/{PICTURE.name}\n" + (f"models:\n- {model}\n" if model else "")
    card = (FOLDER / "README.md").read_text(encoding="utf-8").replace('Client("user/space")', f'Client("{repo_id}")')
    (target / "README.md").write_text(re.sub(r"(?<=\n)---\n", f"{added}---\n", card, count=1), encoding="utf-8")

    requirements = (FOLDER / "requirements.txt").read_text(encoding="utf-8")
    if not pypi:
        wheel = build_wheel(target)
        requirements = re.sub(r"==.*", f" @ {address}/{wheel}", requirements)
    (target / "requirements.txt").write_text(requirements, encoding="utf-8")
    settings = {"MODEL_ID": model, "CODE_URL": code_url}
    settings = {name: value for name, value in settings.items() if value}
    (target / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def build_wheel(target: Path) -> str:
    """Build the package into `target` and return the name of the wheel."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(target), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(target.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise RuntimeError(f"the wheel was not built: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return wheels[0].name


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo_id", help="user/space")
    parser.add_argument("--model", help="Hub id of the model (default: the one in the package)")
    parser.add_argument("--code-url", help="https address of the code, linked on the page")
    parser.add_argument("--private", action="store_true", help="make a new Space private; needs --pypi")
    parser.add_argument("--pypi", action="store_true", help="install the package from PyPI instead of from a wheel")
    parser.add_argument("--dry-run", metavar="FOLDER", type=Path, help="write there what would be pushed")
    options = parser.parse_args(arguments)
    for name in filter(None, (options.repo_id, options.model)):
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            parser.error(f"expected user/name, got {name!r}")
    if options.private and not options.pypi:
        parser.error("a private Space cannot install its own wheel: its address needs a token; use --pypi")
    if options.dry_run and options.dry_run.exists() and any(options.dry_run.iterdir()):
        parser.error(f"{options.dry_run} is not empty")
    from huggingface_hub import constants

    from speech_enhance.hub.publishing import upload

    settings = {"model": options.model, "code_url": options.code_url, "pypi": options.pypi}
    try:
        with tempfile.TemporaryDirectory() as work:
            folder = options.dry_run or Path(work) / "space"
            stage(folder, options.repo_id, **settings, endpoint=constants.ENDPOINT)
            if options.dry_run:
                print(folder)
            else:
                space = {"repo_type": "space", "space_sdk": "gradio", "private": options.private or None}
                print(upload(folder, options.repo_id, "Deploy the demo", **space))
    except (OSError, RuntimeError, ValueError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
