"""Publish a trained pipeline on the Hub with its model card, or refresh the card of the bundled checkpoint.

    python model_cards/publish.py speech_enhance/checkpoints/base user/name
    python model_cards/publish.py runs/own/pipeline user/name --about my.yaml --results my-reports --private
    python model_cards/publish.py speech_enhance/checkpoints/base user/name --dry-run runs/hub
    python model_cards/publish.py speech_enhance/checkpoints/base --card

The token is that of `hf auth login` or of HF_TOKEN. Needs the extras `train` and `eval`.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a script: the repository is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model_cards.about import About, load_about
from model_cards.card import ROOT, render
from model_cards.figures import Reports
from speech_enhance import DEFAULT_CHECKPOINT
from speech_enhance.publishing import check_pipeline, code_revision, publish_pipeline, stage_pipeline

SAMPLES = ROOT / "samples"
DEMO = ROOT / "docs" / "demo.png"
BASE_ABOUT = ROOT / "model_cards" / "base.yaml"
BASE_RESULTS = ROOT / "training" / "results"


def publish_model(
    folder: Path,
    repo_id: str,
    about: About,
    results: Path,
    *,
    revision: str = "main",
    private: bool | None = None,
    output: Path | None = None,
    token: str | None = None,
) -> str:
    """Render the card, enhance the samples with the model itself, and publish: what `training/train.py --push_to_hub`
    calls.

    Args:
        folder: The pipeline.
        repo_id: `user/name`.
        about: What no results file knows.
        results: Folder of reports.
        revision: Branch, see [`publish_pipeline`].
        private: See there.
        token: See there.
        output: Instead of publishing, write there what would be published.

    Returns:
        Address of the repository, or of `output`.

    Raises:
        ValueError, OSError: for what cannot be published, and where the Hub does not take it.
    """
    check_repo_id(repo_id)
    reports = Reports(results, about.results)
    reports.check_model(folder, DEFAULT_CHECKPOINT, ROOT)
    with tempfile.TemporaryDirectory() as work:
        files = repository_files(folder, about, results, Path(work))
        card = render(
            about, reports, folder, assets(repo_id, revision), repo_id, revision, code_revision(revision)
        )  # fmt: skip
        if output:
            stage_pipeline(folder, card, files, output)
            return str(output)
        work = Path(work) / "staged"
        return publish_pipeline(folder, repo_id, card, files, work, revision=revision, private=private, token=token)


def assets(repo_id: str, revision: str) -> dict[str, str]:
    """Addresses of pictures, relative, and of sounds, absolute, since HTML in a card is shown as it stands."""
    from huggingface_hub import constants

    here = f"{constants.ENDPOINT}/{repo_id}/resolve/{revision}"
    sounds = {name: f"{here}/samples/{name}.wav" for name in ("noisy", "enhanced", "clean")}
    return {
        "picture": "samples/spectrograms.png",
        "demo": "samples/demo.png",
        "schedulers": "results/schedulers.png",
        **sounds,
    }


def repository_files(folder: Path, about: About, results: Path, work: Path) -> dict[str, Path]:
    """What goes beside pipeline and card, by its path in the repository: samples, made by the checked pipeline in
    `folder`, reports and their picture, and the training config."""
    import soundfile

    from samples.make_picture import draw
    from speech_enhance import write_audio

    pipeline = check_pipeline(folder)
    files = {f"samples/{name}.wav": SAMPLES / f"{name}.wav" for name in ("noisy", "clean")}
    recordings = {}
    for name in ("noisy", "clean"):
        recordings[name], rate = soundfile.read(SAMPLES / f"{name}.wav", dtype="float32")
    enhanced = pipeline(recordings["noisy"], rate).audios
    write_audio(work / "enhanced.wav", enhanced[None], rate, "PCM_16")
    draw({"noisy": recordings["noisy"], "enhanced": enhanced, "clean original": recordings["clean"]}, rate, work / "spectrograms.png")  # fmt: skip
    files |= {"samples/enhanced.wav": work / "enhanced.wav", "samples/spectrograms.png": work / "spectrograms.png"}
    files["samples/demo.png"] = existing(DEMO)
    files |= {f"results/{name}{end}": results / f"{name}{end}" for name in about.results for end in (".json", ".md")}
    if about.schedulers:
        files["results/schedulers.png"] = existing(results / f"{about.schedulers}.png")
    if about.training_config:
        files["training_config.yaml"] = existing(ROOT / about.training_config)
    return files


def refresh_card(folder: Path, about: About, results: Path) -> Path:
    """Write the card of a checkpoint in this repository, with links into the repository; gives its path."""

    def link(path: Path) -> str:
        return os.path.relpath(existing(path), folder.resolve()).replace(os.sep, "/")

    reports = Reports(results, about.results)
    reports.check_model(folder, DEFAULT_CHECKPOINT, ROOT)
    links = {"picture": link(ROOT / "docs" / "before_after.png"), "demo": link(DEMO)}
    links |= {name: link(SAMPLES / f"{name}.wav") for name in ("noisy", "clean")}
    if about.schedulers:
        links["schedulers"] = link(results.resolve() / f"{about.schedulers}.png")
    target = folder / "README.md"
    partial = target.with_name("README.md.partial")
    partial.write_text(render(about, reports, folder, links), encoding="utf-8")
    return partial.replace(target)


def existing(path: Path) -> Path:
    """`path`, if it is a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    return path


def check_repo_id(repo_id: str) -> None:
    """Refuse what is no `user/name`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name of a repository: {error}") from None
    if not re.fullmatch(r"[^/]+/[^/]+", repo_id):
        raise ValueError(f"{repo_id!r} is no name of a repository; it is written user/name")


def parse(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="pipeline folder")
    parser.add_argument("repo_id", nargs="?", metavar="USER/NAME", help="where to publish it")
    parser.add_argument("--about", type=Path, help="YAML file of the card's facts (default, of the bundled checkpoint only: model_cards/base.yaml)")  # fmt: skip
    parser.add_argument("--results", type=Path, help="folder of reports (default, of the bundled checkpoint only: training/results)")  # fmt: skip
    parser.add_argument("--revision", default="main", help="branch to publish on (default: %(default)s)")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument("--dry-run", type=Path, metavar="FOLDER", help="publish nothing, write there what would be published")  # fmt: skip
    parser.add_argument("--card", action="store_true", help="only write README.md into the folder, with links into this repository")  # fmt: skip
    options = parser.parse_args(arguments)
    if bool(options.repo_id) == options.card:
        parser.error("give either USER/NAME or --card")
    if options.folder.resolve() == DEFAULT_CHECKPOINT.resolve():
        options.about, options.results = options.about or BASE_ABOUT, options.results or BASE_RESULTS
    if not options.about or not options.results:
        parser.error(f"{options.folder} is not the bundled checkpoint: give its --about and --results (model_cards/own.yaml is an example)")  # fmt: skip
    return parser, options


def main(arguments: list[str] | None = None) -> None:
    parser, options = parse(arguments)
    from diffusers.utils import logging

    logging.disable_progress_bar()
    try:
        about = load_about(options.about)
        if options.card:
            print(refresh_card(options.folder, about, options.results))
        else:
            print(
                publish_model(
                    options.folder,
                    options.repo_id,
                    about,
                    options.results,
                    revision=options.revision,
                    private=options.private,
                    output=options.dry_run,
                )
            )
    except (OSError, ValueError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
