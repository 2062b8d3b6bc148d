"""Publish a trained pipeline on the Hub with its model card, or refresh the card of one of this repository.

    python model_cards/publish.py speech_enhance/checkpoints/base user/name
    python model_cards/publish.py runs/own/pipeline user/name --about my.yaml --results my-reports --private
    python model_cards/publish.py speech_enhance/checkpoints/base user/name --dry-run runs/hub
    python model_cards/publish.py speech_enhance/checkpoints/base --card

A pipeline with a `mel_layout`, such as speech_enhance/checkpoints/mel_stage, gets the card of a mel stage.
The token is that of `hf auth login` or of HF_TOKEN. The command needs the extras `train` and `eval`.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import yaml

if not __package__:  # run as a script: the repository is the import root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model_cards.about import About, load_about
from model_cards.card import ROOT, render
from model_cards.eval_results import eval_results, on_benchmark
from model_cards.mel_stage import MelStageAbout, is_mel_stage, render_mel_stage
from speech_enhance import DEFAULT_CHECKPOINT, LIVE_CHECKPOINT, MEL_STAGE_CHECKPOINT
from speech_enhance.hub.publishing import check_pipeline, check_repo_id, code_revision, publish_pipeline, stage_pipeline
from speech_enhance.pending_files import write_text
from training.config import read_yaml
from training.evaluation.reports import Reports

SAMPLES = ROOT / "samples"
DEMO = ROOT / "docs" / "demo.png"
BASE_ABOUT = ROOT / "model_cards" / "base.yaml"
BASE_RESULTS = ROOT / "training" / "results"
OWN = {
    DEFAULT_CHECKPOINT: BASE_ABOUT,
    LIVE_CHECKPOINT: ROOT / "model_cards" / "live.yaml",
    ROOT / "checkpoints" / "large": ROOT / "model_cards" / "large.yaml",
    MEL_STAGE_CHECKPOINT: ROOT / "model_cards" / "mel_stage.yaml",
}
"""Checkpoints of this repository, each with the facts for its card."""


def publish_model(
    folder: Path,
    repo_id: str,
    about: About | MelStageAbout,
    results: Path,
    *,
    revision: str = "main",
    benchmark: str | None = None,
    private: bool | None = None,
    output: Path | None = None,
    token: str | None = None,
) -> str:
    """Render the card, enhance the samples with the model itself, and publish. `training/train.py --push_to_hub` calls
    this function.

    Args:
        folder: Folder of the pipeline.
        repo_id: Name of the repository, `user/name`.
        about: Facts that no results file holds.
        results: Folder of reports.
        revision: Branch, see [`publish_pipeline`].
        benchmark: Dataset of `training/pairs/push_benchmark.py` whose results the figures are, for `.eval_results/`.
        private: Privacy of the repository, see [`publish_pipeline`].
        token: Token of the Hub, see [`publish_pipeline`].
        output: Folder that the files are written to instead of being published.

    Returns:
        Address of the repository, or of `output`.

    Raises:
        ValueError, OSError: if the model cannot be published, or the Hub does not accept it.
    """
    check_repo_id(repo_id)
    if benchmark:
        check_repo_id(benchmark)
        if not isinstance(about, About):
            raise ValueError("a benchmark is for a model that enhances recordings")
        about = on_benchmark(about, benchmark)
    reports = checked_reports(folder, about, results)
    pipeline = check_pipeline(folder)
    with tempfile.TemporaryDirectory() as work:
        files = report_files(about, results)
        if about.training_config:
            files["training_config.yaml"] = whole_config(existing(ROOT / about.training_config), Path(work))
        if benchmark and isinstance(about, About):
            path = Path(work) / "eval_results.yaml"
            measured = {item.results: reports.results(item.results) for item in about.evaluations}
            path.write_text(eval_results(about, measured, repo_id, revision), encoding="utf-8")
            files[f".eval_results/{benchmark.replace('/', '-')}.yaml"] = path
        if isinstance(about, About):
            files |= sample_files(pipeline, Path(work))
        card = card_text(
            about, reports, folder, assets(repo_id, revision, about), repo_id, revision, code_revision(revision)
        )
        if output:
            stage_pipeline(folder, card, files, output)
            return str(output)
        work = Path(work) / "staged"
        return publish_pipeline(folder, repo_id, card, files, work, revision=revision, private=private, token=token)


def checked_reports(folder: Path, about: About | MelStageAbout, results: Path) -> Reports:
    """Return the reports that `about` names, after a check that they are about `folder`."""
    reports = Reports(results, about.results)
    default = DEFAULT_CHECKPOINT if isinstance(about, About) else MEL_STAGE_CHECKPOINT
    reports.check_model(folder, default, ROOT)
    return reports


def card_text(about: About | MelStageAbout, *arguments) -> str:
    """Return the text of the card, made from the template for this kind of `about`."""
    if isinstance(about, About):
        return render(about, *arguments)
    return render_mel_stage(about, *arguments)


def assets(repo_id: str, revision: str, about: About | MelStageAbout) -> dict[str, str]:
    """Return the addresses of pictures and sounds. Pictures are relative. Sounds are absolute, because HTML in a card
    is shown unchanged."""
    from huggingface_hub import constants

    if isinstance(about, MelStageAbout):
        return {"picture": f"results/{about.report}.png"}
    here = f"{constants.ENDPOINT}/{repo_id}/resolve/{revision}"
    sounds = {name: f"{here}/samples/{name}.wav" for name in ("noisy", "enhanced", "clean")}
    return {
        "picture": "samples/spectrograms.png",
        "demo": "samples/demo.png",
        "schedulers": "results/schedulers.png",
        **sounds,
    }


def sample_files(pipeline, work: Path) -> dict[str, Path]:
    """Make samples, enhanced by `pipeline`, and pictures. Returns them by their path in the repository."""
    import soundfile

    from samples.make_picture import draw
    from speech_enhance import write_audio

    files = {f"samples/{name}.wav": SAMPLES / f"{name}.wav" for name in ("noisy", "clean")}
    recordings = {}
    for name in ("noisy", "clean"):
        recordings[name], rate = soundfile.read(SAMPLES / f"{name}.wav", dtype="float32")
    enhanced = pipeline(recordings["noisy"], rate).audios
    write_audio(work / "enhanced.wav", enhanced[None], rate, "PCM_16")
    draw(
        {"noisy": recordings["noisy"], "enhanced": enhanced, "clean original": recordings["clean"]},
        rate,
        work / "spectrograms.png",
    )
    files |= {"samples/enhanced.wav": work / "enhanced.wav", "samples/spectrograms.png": work / "spectrograms.png"}
    return files | {"samples/demo.png": existing(DEMO)}


def report_files(about: About | MelStageAbout, results: Path) -> dict[str, Path]:
    """Return the reports and their picture by their path in the repository."""
    files = {f"results/{name}{end}": results / f"{name}{end}" for name in about.results for end in (".json", ".md")}
    drawn = about.schedulers if isinstance(about, About) else about.report
    if drawn:
        files[f"results/{drawn}.png"] = existing(results / f"{drawn}.png")
    return files


def whole_config(path: Path, work: Path) -> Path:
    """Return a file with a run's whole config: `path`, or, if it extends another file, one in `work` with both."""
    if "extends" not in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}):
        return path
    whole = work / "training_config.yaml"
    whole.write_text(yaml.safe_dump(read_yaml(path), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return whole


def refresh_card(folder: Path, about: About | MelStageAbout, results: Path) -> Path:
    """Write the card of a checkpoint in this repository, with links into the repository, and return its path."""

    def link(path: Path) -> str:
        return os.path.relpath(existing(path), folder.resolve()).replace(os.sep, "/")

    reports = checked_reports(folder, about, results)
    if isinstance(about, About):
        links = {"picture": link(ROOT / "docs" / "before_after.png"), "demo": link(DEMO)}
        links |= {name: link(SAMPLES / f"{name}.wav") for name in ("noisy", "clean")}
        if about.schedulers:
            links["schedulers"] = link(results.resolve() / f"{about.schedulers}.png")
    else:
        links = {"picture": link(results.resolve() / f"{about.report}.png")}
    target = folder / "README.md"
    write_text(target, card_text(about, reports, folder, links))
    return target


def existing(path: Path) -> Path:
    """Return `path` if it is a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    return path


def parse(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="pipeline folder")
    parser.add_argument("repo_id", nargs="?", metavar="USER/NAME", help="where to publish it")
    parser.add_argument(
        "--about",
        type=Path,
        help="YAML file of the card's facts (default, of a checkpoint of this repository only: its own in "
        "model_cards/)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="folder of reports (default, of a checkpoint of this repository only: training/results)",
    )
    parser.add_argument("--revision", default="main", help="branch to publish on (default: %(default)s)")
    parser.add_argument(
        "--benchmark",
        metavar="USER/NAME",
        help="dataset of training/pairs/push_benchmark.py: publish the figures as its results, too, in .eval_results/",
    )
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument(
        "--dry-run", type=Path, metavar="FOLDER", help="publish nothing, write there what would be published"
    )
    parser.add_argument(
        "--card", action="store_true", help="only write README.md into the folder, with links into this repository"
    )
    options = parser.parse_args(arguments)
    if bool(options.repo_id) == options.card:
        parser.error("give either USER/NAME or --card")
    for own, about in OWN.items():
        if options.folder.resolve() == own.resolve():
            options.about, options.results = options.about or about, options.results or BASE_RESULTS
    if not options.about or not options.results:
        parser.error(
            f"{options.folder} is no checkpoint of this repository: give its --about and --results "
            "(model_cards/own.yaml is an example)"
        )
    if options.benchmark and (options.card or is_mel_stage(options.folder)):
        parser.error("--benchmark is for publishing a model that enhances recordings")
    return parser, options


def main(arguments: list[str] | None = None) -> None:
    parser, options = parse(arguments)
    from diffusers.utils import logging

    logging.disable_progress_bar()
    try:
        about = load_about(options.about, MelStageAbout if is_mel_stage(options.folder) else About)
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
                    benchmark=options.benchmark,
                    private=options.private,
                    output=options.dry_run,
                )
            )
    except (OSError, ValueError) as error:
        parser.error(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
