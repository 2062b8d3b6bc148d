"""The steps of `training/train.py --push_to_hub`. Before the run it refuses a model that could not be published. After
the run it measures the model, describes it and publishes it."""

import dataclasses
from pathlib import Path

from model_cards.about import About, load_about
from model_cards.publish import publish_model
from speech_enhance.hub.publishing import check_repo_id
from training.config import TrainingConfig
from training.evaluation import evaluate


def check_push(config: TrainingConfig, repo_id: str) -> About:
    """Check that a run can be published, and return the facts for its card.

    Raises:
        ValueError: if the config names no `model_card` or `validation_pairs`, if a name is wrong, or if there is no
            token.
        OSError: if the Hub does not accept the token or cannot be reached.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HTTPError

    check_repo_id(repo_id)
    if not config.model_card or not config.pairs_path:
        name = "validation_pairs" if config.model_card else "model_card"
        raise ValueError(
            f"--push_to_hub: the config needs {name}, since no model is published undescribed or unmeasured"
        )
    about = load_about(config.model_card, About)
    if len(about.results) != 1:
        raise ValueError(
            f"{config.model_card}: a run measures one set of pairs, expected one of `evaluations` and no other report"
        )
    if not get_token():
        raise ValueError("--push_to_hub: no token; run `hf auth login` or set HF_TOKEN")
    try:
        HfApi().whoami()
    except HTTPError as error:
        raise OSError(f"--push_to_hub: {' '.join(str(error).split())}") from error
    return about


def push(
    config: TrainingConfig,
    config_path: str,
    about: About,
    repo_id: str,
    steps: int,
    minutes: float,
    private: bool | None,
) -> str:
    """Measure the averaged weights on all validation pairs, publish them, and return the repository's address.

    Args:
        config: Configuration of the run.
        config_path: Path of the config file.
        about: Facts from [`check_push`].
        repo_id: Name of the repository, `user/name`.
        steps: Number of optimiser steps made.
        minutes: Minutes that the steps took.
        private: Whether a new repository is private.
    """
    folder, results = Path(config.output_dir) / "pipeline", Path(config.output_dir) / "results"
    pairs = ["--pairs", config.pairs_path, "--split", config.validation_split]
    systems = ["--model", str(folder), "--systems", "untouched", "--presets", "balanced"]
    evaluate.main([*pairs, *systems, "--output", str(results / about.results[0])])
    about = dataclasses.replace(
        about, training_config=str(Path(config_path).resolve()), steps=steps, minutes=round(minutes, 1)
    )
    return publish_model(folder, repo_id, about, results, private=private)
