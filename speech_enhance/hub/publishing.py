"""Publishes a trained folder as a Hub repository: check, stage, upload. `model_cards/` writes the card."""

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from .remote_code import write_remote_code

CODE_REVISION = "remote-code"
PIPELINE_FILES = ("model_index.json", "*/*.json", "*/*.safetensors")
PICKLES = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth", ".h5", ".msgpack")
RETRIES = 5


def publish_pipeline(
    folder: str | Path,
    repo_id: str,
    card: str,
    files: dict[str, Path],
    work: str | Path,
    *,
    revision: str = "main",
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Check a pipeline folder and publish it with its card. One commit on `revision` holds model, card and `files`.
    Another, on [`code_revision`], holds the same model with the code that loads it without this package. Publishing
    again changes nothing.

    Args:
        folder: Folder that `save_pretrained` wrote.
        repo_id: Name of the repository, `user/name`; made if it does not exist.
        card: Text of README.md; see [`check_card`].
        files: Further files by their path in the repository.
        work: Empty or missing folder, where everything is put together before it is sent.
        revision: Branch; made if it does not exist.
        private: Whether a new repository is private. If `True`, an existing public repository is refused.
        token: Token of the Hub; by default the one of `HF_TOKEN` or `hf auth login`.

    Returns:
        Address of the repository.

    Raises:
        ValueError: for a folder or card that must not be published.
        OSError: if the Hub refuses or stays out of reach.
    """
    check_pipeline(folder)
    model, code = stage_pipeline(folder, card, files, work)
    options = {"private": private, "token": token}
    # The branch that people load by default comes last, so that they do not see a failure before it.
    upload(code, repo_id, f"Code of the pipeline at {revision}", revision=code_revision(revision), **options)
    return upload(model, repo_id, "Model, card, samples and configuration", revision=revision, **options)


def code_revision(revision: str) -> str:
    """Return the branch of the loader code that belongs to a branch of the model."""
    return CODE_REVISION if revision == "main" else f"{revision}-{CODE_REVISION}"


def check_repo_id(repo_id: str) -> None:
    """Refuse a name that is not of the form `user/name`.

    Raises:
        ValueError: if the name is wrong; the message says what is wrong with it.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name of a repository: {error}") from None
    if not re.fullmatch(r"[^/]+/[^/]+", repo_id):
        raise ValueError(f"{repo_id!r} is no name of a repository; it is written user/name")


def check_pipeline(folder: str | Path):
    """Load the pipeline and run it on a second of noise.

    Returns:
        The loaded pipeline.

    Raises:
        ValueError: if the folder holds a pickle, if it does not load, or if its output is not finite sound.
    """
    import numpy as np

    from .. import SpeechEnhancementPipeline

    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{folder} is no pipeline folder (it has no model_index.json)")
    pickles = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in PICKLES)
    if pickles:
        raise ValueError(f"{folder} holds {', '.join(pickles)}: only safetensors are published")
    try:
        pipeline = SpeechEnhancementPipeline.from_pretrained(folder)
    except Exception as error:  # the errors of diffusers, safetensors and torch share no base class
        raise ValueError(f"{folder} does not load: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    rate = pipeline.config.sampling_rate
    audio = (0.1 * np.random.default_rng(0).standard_normal(rate)).astype(np.float32)
    enhanced = pipeline(audio, rate).audios
    if enhanced.shape != audio.shape or not np.isfinite(enhanced).all():
        raise ValueError(f"{folder}: what the pipeline gives is not finite sound of the input's length")
    return pipeline


def check_card(card: str) -> None:
    """Refuse a model card without evaluation results, or with unfilled fields.

    Raises:
        ValueError: if something is missing; the message says what.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = cast(ModelCardData, ModelCard(card).data)
    if not data.eval_results:
        raise ValueError("the card has no evaluation results (`model-index`): measure before you publish")
    missing = [name for name in ("license", "language", "library_name", "pipeline_tag", "tags") if not data.get(name)]
    if missing:
        raise ValueError(f"the card's metadata lacks {', '.join(missing)}")
    left = [mark for mark in ("{{", "{%", "TODO", "[More Information Needed]") if mark in card]
    if left:
        raise ValueError(f"the card has places left to fill ({', '.join(left)})")


def stage_pipeline(folder: str | Path, card: str, files: dict[str, Path], work: str | Path) -> tuple[Path, Path]:
    """Put together the files of both branches.

    Args:
        folder: Folder of the pipeline.
        card: Text of README.md.
        files: Further files of the model's branch by their path in the repository.
        work: Empty or missing folder.

    Returns:
        `(model, code)`: the folders `work/model` and `work/code` with the files of the two branches.
    """
    check_card(card)
    folder, work = Path(folder), Path(work)
    if work.exists() and any(work.iterdir()):
        raise ValueError(f"{work} is not empty")
    model, code = work / "model", work / "code"
    for branch in (model, code):
        branch.mkdir(parents=True)
        (branch / "README.md").write_text(card, encoding="utf-8")
        for path in sorted(path for pattern in PIPELINE_FILES for path in folder.glob(pattern)):
            target = branch / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            if path.suffix == ".json":
                _copy_config(path, target)
            else:
                shutil.copyfile(path, target)
    for name, path in files.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, model / name)
    write_remote_code(code)
    return model, code


def upload(
    folder: str | Path,
    repo_id: str,
    message: str,
    *,
    repo_type: str = "model",
    space_sdk: str | None = None,
    revision: str = "main",
    private: bool | None = None,
    token: str | None = None,
    wait: float = 1.0,
) -> str:
    """Make `revision` of a repository hold exactly the files of `folder`. This takes one commit, or none if the branch
    already holds them.

    If the network fails, the upload is tried again up to [`RETRIES`] times: first after `wait` seconds, then after
    twice the time before. The Hub takes a commit whole or not at all.

    Returns:
        Address of the repository.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    where: dict[str, Any] = {"repo_id": repo_id, "repo_type": repo_type}

    def send() -> str:
        url = api.create_repo(**where, private=private, space_sdk=space_sdk, exist_ok=True)
        if private and not api.repo_info(**where).private:
            raise ValueError(f"{repo_id} exists and is public; make it private in its settings, or leave out --private")
        if revision != "main":
            api.create_branch(**where, branch=revision, exist_ok=True)
        api.create_commit(
            **where,
            operations=_operations(api, where, revision, Path(folder)),
            commit_message=message,
            revision=revision,
        )
        return str(url)

    return _with_retries(send, wait)


def _operations(api, where: dict, revision: str, folder: Path) -> list:
    """Return operations that add every file of `folder` and delete every other file of the branch. One commit takes all
    of them; the client's `upload_folder` may make several commits."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    ours = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    theirs = api.list_repo_files(**where, revision=revision)
    stale = sorted(set(theirs) - set(ours) - {".gitattributes"})
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in ours]
    return [*added, *(CommitOperationDelete(path_in_repo=name) for name in stale)]


def _with_retries(send: Callable[[], str], wait: float) -> str:
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    for attempt in range(RETRIES + 1):
        try:
            return send()
        except HTTPError as error:  # an error of the transport, or HfHubHTTPError for an answer of the Hub
            refused = isinstance(error, HfHubHTTPError) and error.response.status_code not in (429, 500, 502, 503, 504)
            if refused or attempt == RETRIES:
                raise OSError(f"the Hub: {' '.join(str(error).split()) or type(error).__name__}") from error
            print(f"… the Hub did not answer as it should, trying again ({type(error).__name__})", file=sys.stderr)
            time.sleep(wait * 2**attempt)
    raise AssertionError("unreachable")


def _copy_config(source: Path, target: Path) -> None:
    """Copy a configuration, but leave out the path of the folder that it was loaded from."""
    config = json.loads(source.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    target.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
