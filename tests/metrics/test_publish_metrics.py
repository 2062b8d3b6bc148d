"""The modules for Hugging Face Evaluate as Spaces: by folder, by name on the Hub, and as a page."""

import json
import sys
import time

import pytest
from conftest import ROOT
from hub_client import client, command
from hub_store import front_matter, metadata_errors
from processes import Process

from model_cards.publish_metrics import MODULES, stage_metric
from speech_enhance.metrics.reference import METRICS, score_files

PAIR = {"predictions": [str(ROOT / "samples" / "noisy.wav")], "references": [str(ROOT / "samples" / "clean.wav")]}


@pytest.mark.parametrize("name", MODULES)
def test_a_staged_folder_is_a_space_and_loads(name, tmp_path):
    import evaluate

    folder = stage_metric(name, "user", tmp_path / name)
    assert {path.name for path in folder.iterdir()} == {"README.md", "app.py", "requirements.txt", f"{name}.py"}
    card = (folder / "README.md").read_text()
    assert "{{" not in card
    assert not metadata_errors(card, "space")
    data = front_matter(card)
    assert (data["sdk"], data["app_file"], data["tags"]) == ("gradio", "app.py", ["evaluate", "metric"])
    module = evaluate.load(str(folder))
    names = tuple(metric for metric in METRICS if f"`{metric}`:" in card)
    assert set(names) == set(module.names)
    values = module.compute(**PAIR)
    expected = score_files(**PAIR, metrics=module.names)  # a sum's last bit depends on where its samples lie in memory
    assert values == {key: pytest.approx(value, rel=1e-12) for key, value in expected.items()}
    with pytest.raises(ValueError, match="is not empty"):
        stage_metric(name, "user", folder)


@pytest.mark.slow
def test_published_modules_load_by_their_name_on_the_hub(hub, tmp_path):
    run = command(hub, tmp_path / "home", "model_cards/publish_metrics.py", "user")
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [f"{hub.url}/spaces/user/{name}" for name in MODULES]
    assert hub.repository("user/pesq", "space").sdk == "gradio"
    code = f"""
import evaluate
pair = {PAIR!r}
show(**{{name: evaluate.load("user/" + name).compute(**pair) for name in {MODULES}}})
"""
    got = client(hub, tmp_path / "home2", code)
    for name in MODULES:
        expected = score_files(**PAIR, metrics=tuple(metric for metric in METRICS if metric in got[name]))
        assert got[name].keys() == expected.keys()
        for key, value in expected.items():
            assert got[name][key] == pytest.approx(value)
    offline = client(hub, tmp_path / "home2", code, HF_EVALUATE_OFFLINE="1", HF_HUB_OFFLINE="1")
    assert offline["pesq"] == got["pesq"]
    run = command(hub, tmp_path / "home", "model_cards/publish_metrics.py", "user", token=None)
    assert run.returncode == 2
    assert "401" in run.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_page_of_a_space_scores_two_files(hub, tmp_path):
    from gradio_client import Client, handle_file

    folder = stage_metric("composite", "user", tmp_path / "composite")
    environment = hub.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT), "GRADIO_ANALYTICS_ENABLED": "0"}
    environment["PYTHONUNBUFFERED"] = "1"
    with open(tmp_path / "log", "w") as log:
        server = Process([sys.executable, "app.py"], "torch", cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while "http://" not in (text := (tmp_path / "log").read_text()):
            assert server.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.2)
        page = Client("http://" + text.split("http://")[1].split()[0], verbose=False)
        pair = [handle_file(PAIR[name][0]) for name in ("predictions", "references")]
        values = page.predict(*pair, api_name="/score")
    finally:
        server.terminate()
        server.wait()
    expected = score_files(**PAIR, metrics=("csig", "cbak", "covl"))
    assert values == pytest.approx({name: expected[name] for name in values}, abs=1e-4)
    assert json.dumps(values).count(":") == 3
