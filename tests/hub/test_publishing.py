"""Publishing by the script, in processes of its own, on a Hub that speaks the real protocol."""

import json
import re

import pytest
import yaml
from hub_client import client, command, commands, tiny_model, tiny_reports
from hub_routes import TOKEN
from hub_store import front_matter

from speech_enhance.hub.remote_code import build_remote_code

SCRIPT = "model_cards/publish.py"


def arguments(published, *more, repo="user/tiny") -> list:
    folder, about, results = published
    return [folder, repo, "--about", about, "--results", results, *more]


def publish(hub, home, published, *more, repo="user/tiny", **environment):
    return command(hub, home, SCRIPT, *arguments(published, *more, repo=repo), **environment)


def test_a_repository_holds_model_card_samples_and_reports(hub, published):
    repository = hub.repository("user/tiny")
    files = repository.files()
    expected = {
        ".gitattributes",
        "README.md",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "results/validation.json",
        "results/validation.md",
        "samples/noisy.wav",
        "samples/enhanced.wav",
        "samples/clean.wav",
        "samples/spectrograms.png",
        "samples/demo.png",
    }
    assert set(files) == expected
    model = published[0]
    for name in ("unet/diffusion_pytorch_model.safetensors", "unet/config.json", "model_index.json"):
        assert files[name].content == (model / name).read_bytes()
    card = files["README.md"].content.decode()
    assert front_matter(card)["model-index"][0]["name"] == "tiny"
    assert f"{hub.url}/user/tiny/resolve/main/samples/enhanced.wav" in card
    for link in re.findall(r"\]\((?!http|#)([^)]+)\)", card):
        assert link in files
    assert len(files["samples/enhanced.wav"].content) == len(files["samples/noisy.wav"].content)
    assert files["samples/enhanced.wav"].content != files["samples/noisy.wav"].content
    assert len(repository.history["main"]) == 2  # the Hub's own first, and one of ours
    code = repository.files("remote-code")
    assert {name: code[name].content.decode() for name in build_remote_code()} == build_remote_code()
    assert not [name for name in files if name.endswith(".py")]


@pytest.mark.slow
def test_publishing_again_changes_nothing_and_new_weights_are_one_commit(hub, published, tmp_path):
    repository = hub.repository("user/tiny")
    before = dict(repository.branches)
    with hub.recorded() as requests:
        run = publish(hub, tmp_path / "home", published)
    assert run.returncode == 0, run.stderr
    assert repository.branches == before
    assert not [path for method, path in requests if method == "PUT"]
    assert run.stdout.strip() == f"{hub.url}/user/tiny"

    model = tiny_model(tmp_path / "model", seed=1)
    about, results = tiny_reports(tmp_path, model)
    options = ("--revision", "v2")
    run = command(hub, tmp_path / "home", SCRIPT, model, "user/tiny", "--about", about, "--results", results, *options)
    assert run.returncode == 0, run.stderr
    assert repository.branches["main"] == before["main"]
    assert set(repository.branches) == {"main", "remote-code", "v2", "v2-remote-code"}
    assert len(repository.history["v2"]) == 1
    assert 'revision="v2-remote-code"' in repository.files("v2")["README.md"].content.decode()


@pytest.mark.slow
def test_files_that_are_gone_leave_the_repository(hub, published, tmp_path):
    (tmp_path / "old" / "unet").mkdir(parents=True)
    (tmp_path / "old" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle" * 1000)
    hub.put("user/grown", tmp_path / "old")
    run = publish(hub, tmp_path / "home", published, repo="user/grown")
    assert run.returncode == 0, run.stderr
    assert "unet/diffusion_pytorch_model.bin" not in hub.repository("user/grown").files()
    assert len(hub.repository("user/grown").history["main"]) == 3


@pytest.mark.slow
def test_a_network_that_fails_half_way_is_tried_again(hub, published, tmp_path):
    """Whatever breaks, and if the answer to a commit that was made is lost, there is one commit in the end."""
    ways = {"busy": 503, "dropped": "drop", "lost": "lose"}
    for name, how in ways.items():
        hub.fail("POST", f"user/{name}/commit/", how)
    hub.fail("POST", "/repos/create", 502)
    hub.fail("PUT", "/lfs/", "drop")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "large.bin").write_bytes(bytes(range(256)) * 40)
    code = f"""
from speech_enhance.hub.publishing import upload
show(urls=[upload({str(folder)!r}, "user/" + name, "message", wait=0.01) for name in {list(ways)}])
"""
    got = client(hub, tmp_path / "home", code, token=TOKEN)
    assert got["urls"] == [f"{hub.url}/user/{name}" for name in ways]
    for name in ways:
        repository = hub.repository(f"user/{name}")
        assert len(repository.history["main"]) == 2
        assert repository.files()["large.bin"].content == (folder / "large.bin").read_bytes()
    assert got["stderr"].count("trying again") >= len(ways) + 1
    assert not [failure for failure in hub.failures if failure[3]]


@pytest.mark.slow
def test_a_hub_that_stays_out_of_order_leaves_nothing_half_published(hub, published, tmp_path):
    """The branch that people load by default is untouched, and what was sent is complete."""
    hub.fail("POST", "user/down/commit/main", 403)
    run = publish(hub, tmp_path / "home", published, repo="user/down")
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "the Hub: " in run.stderr.splitlines()[-1]
    repository = hub.repository("user/down")
    assert set(repository.files("main")) == {".gitattributes"}
    assert {"pipeline.py", "model_index.json", "unet/diffusion_pytorch_model.safetensors"} <= set(
        repository.files("remote-code")
    )
    assert publish(hub, tmp_path / "home", published, repo="user/down").returncode == 0
    assert len(repository.history["remote-code"]) == 1


@pytest.mark.slow
def test_private_repositories_and_tokens(hub, published, tmp_path):
    secret = arguments(published, "--private", repo="user/secret")
    others = arguments(published, "--private"), arguments(published, repo="somebody/else")
    run, public, foreign = commands(hub, tmp_path / "home", SCRIPT, secret, *others)
    assert run.returncode == 0, run.stderr
    assert hub.repository("user/secret").private
    texts = [run.stdout, run.stderr]
    texts += [path.read_text(errors="ignore") for path in (tmp_path / "home").rglob("*") if path.is_file()]
    texts += [file.content.decode(errors="ignore") for file in hub.repository("user/secret").files().values()]
    assert not [text for text in texts if TOKEN in text]

    assert public.returncode == 2
    assert "user/tiny exists and is public" in public.stderr
    run = publish(hub, tmp_path / "home", published, repo="user/other", token=None)
    assert run.returncode == 2
    assert "401" in run.stderr.splitlines()[-1]
    assert foreign.returncode == 2
    assert "403" in foreign.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_dry_run_writes_what_would_be_published_and_asks_nobody(hub, published, tmp_path):
    with hub.recorded() as requests:
        dry = arguments(published, "--dry-run", tmp_path / "out")
        run, again = commands(hub, tmp_path / "home", SCRIPT, dry, dry, token=None)
    assert run.returncode == 0, run.stderr
    assert requests == []
    for branch, name in {"model": "main", "code": "remote-code"}.items():
        written = {
            path.relative_to(tmp_path / "out" / branch).as_posix(): path.read_bytes()
            for path in (tmp_path / "out" / branch).rglob("*")
            if path.is_file()
        }
        sent = {path: file.content for path, file in hub.repository("user/tiny").files(name).items()}
        del sent[".gitattributes"]
        assert written == sent
    index = json.loads((tmp_path / "out" / "model" / "model_index.json").read_text())
    assert index["unet"] == ["speech_enhance", "ConditionalUNet2DModel"]
    assert again.returncode == 2
    assert "is not empty" in again.stderr


@pytest.mark.slow
def test_figures_are_published_as_results_of_a_benchmark(hub, published, tmp_path):
    model, about, results = published
    facts = yaml.safe_load(about.read_text())
    facts["evaluations"][0]["benchmark_set"] = "pairs-valid"
    (tmp_path / "about.yaml").write_text(yaml.safe_dump(facts))
    known = (model, tmp_path / "about.yaml", results)
    run, without = commands(
        hub,
        tmp_path / "home",
        SCRIPT,
        arguments(known, "--benchmark", "user/benchmark", repo="user/measured"),
        arguments(published, "--benchmark", "user/benchmark", repo="user/other-measured"),
    )
    assert run.returncode == 0, run.stderr
    code = (
        "from huggingface_hub import HfApi\nshow(found=[vars(item) for item in HfApi().model_info('user/measured', "
        "expand=['evalResults']).eval_results])"
    )
    found = {entry["task_id"]: entry for entry in client(hub, tmp_path / "home", code)["found"]}
    mean = json.loads((results / "validation.json").read_text())["ours, balanced"]["summary"]["pesq"]["mean"]
    assert found["pairs-valid_pesq"]["dataset_id"] == "user/benchmark"
    assert found["pairs-valid_pesq"]["value"] == mean
    card = front_matter(hub.repository("user/measured").files()["README.md"].content.decode())
    dataset = card["model-index"][0]["results"][0]["dataset"]
    assert (dataset["type"], dataset["config"], dataset["split"]) == ("user/benchmark", "pairs-valid", "test")
    assert ".eval_results/user-benchmark.yaml" not in hub.repository("user/measured").files("remote-code")
    assert without.returncode == 2
    assert "no evaluation of the card has a `benchmark_set`" in without.stderr.splitlines()[-1]
