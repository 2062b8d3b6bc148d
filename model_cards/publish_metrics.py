"""Publish each module for Hugging Face Evaluate as a Space. `evaluate.load("user/pesq")` then loads it.

python model_cards/publish_metrics.py user
python model_cards/publish_metrics.py user --only pesq --dry-run runs/metrics
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a script: the repository is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from speech_enhance.hub.publishing import upload
from speech_enhance.metrics.reference import module_path

ROOT = Path(__file__).resolve().parents[1]
SPACE = ROOT / "model_cards" / "metric"
MODULES = ("pesq", "estoi", "si_sdr", "composite")


def stage_metric(name: str, user: str, folder: Path) -> Path:
    """Put the files of a Space into an empty or missing `folder`: a module, its card, its page and what it needs."""
    import evaluate
    import jinja2

    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(module_path(name)) / f"{name}.py"
    shutil.copyfile(source, folder / source.name)
    for shared in ("app.py", "requirements.txt"):
        shutil.copyfile(SPACE / shared, folder / shared)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string((SPACE / "README.md").read_text(encoding="utf-8"))
    card = template.render(metric=evaluate.load(str(source)), repo_id=f"{user}/{name}", gradio=tested_version("gradio"))
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def tested_version(package: str) -> str:
    """Return the version of a package that this repository is tested with."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    (version,) = re.findall(rf"^{re.escape(package)}==(.+)$", text, flags=re.MULTILINE)
    return version


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("user", help="user or organisation")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MODULES,
        default=list(MODULES),
        metavar="NAME",
        help=f"some of {', '.join(MODULES)}",
    )
    parser.add_argument("--private", action="store_true", default=None, help="make new Spaces private")
    parser.add_argument(
        "--dry-run", type=Path, metavar="FOLDER", help="publish nothing, write there what would be published"
    )
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"[\w.\-]+", options.user):
        parser.error(f"{options.user!r} is no name of a user or organisation")
    try:
        for name in options.only:
            if options.dry_run:
                print(stage_metric(name, options.user, options.dry_run / name))
                continue
            with tempfile.TemporaryDirectory() as work:
                folder = stage_metric(name, options.user, Path(work) / name)
                repo_id = f"{options.user}/{name}"
                print(
                    upload(
                        folder,
                        repo_id,
                        f"Module {name}",
                        repo_type="space",
                        space_sdk="gradio",
                        private=options.private,
                    )
                )
    except (OSError, ValueError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
