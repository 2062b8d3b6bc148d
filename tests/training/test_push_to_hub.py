"""`training/train.py --push_to_hub`: from a config to a published repository with an honest card."""

import pytest
import yaml
from conftest import ROOT
from hub_client import client, command
from hub_store import front_matter
from training_runs import tiny_config

from model_cards.trained_run import check_push
from training.config import load_config


@pytest.mark.slow
def test_a_run_ends_as_a_repository(hub, corpus, tmp_path):
    options = {"validation_pairs": str(corpus / "pairs.parquet"), "model_card": "model_cards/own.yaml"}
    config = tiny_config(corpus, tmp_path, validate_every=0, **options)
    run = command(
        hub, tmp_path / "home", "training/train.py", "--config", config, "--push_to_hub", "user/run", "--private"
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == f"{hub.url}/user/run"
    repository = hub.repository("user/run")
    assert repository.private
    files = repository.files()
    card = files["README.md"].content.decode()
    results = front_matter(card)["model-index"][0]["results"]
    assert results[0]["dataset"]["name"] == "validation (1 pairs, validation)"
    assert "2 steps of 2 windows of 0.5 s" in card
    assert yaml.safe_load(files["training_config.yaml"].content)["max_train_steps"] == 2
    assert str(tmp_path) not in card.split("Commands and code")[0]
    again = "show(digest=digest(load('user/run')))"
    assert client(hub, tmp_path / "home2", again, token="hf_loopbacktoken")["digest"]

    run = command(
        hub,
        tmp_path / "home",
        "training/train.py",
        "--config",
        config,
        "--resume",
        "--push_to_hub",
        "user/run",
        token="hf_wrong",
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "--push_to_hub" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "repo_id", "message"),
    [
        ({"model_card": None}, "user/name", "the config needs model_card"),
        ({"validation_pairs": None}, "user/name", "the config needs validation_pairs"),
        ({}, "name", "it is written user/name"),
        ({"model_card": "model_cards/base.yaml"}, "user/name", "expected one of `evaluations`"),
        ({}, "user/name", "no token"),
    ],
)
def test_what_cannot_be_published_is_refused_before_training(corpus, tmp_path, monkeypatch, changes, repo_id, message):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    options = {"validation_pairs": str(corpus / "pairs.parquet"), "model_card": "model_cards/own.yaml"} | changes
    with pytest.raises(ValueError, match=message):
        check_push(load_config(tiny_config(corpus, tmp_path, **options)), repo_id)
