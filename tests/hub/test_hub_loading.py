"""Loading from the Hub with the package installed: every process has caches of its own and the real client."""

import shutil

import pytest
from hub_client import client, tiny_model
from hub_routes import TOKEN

from speech_enhance import SpeechEnhancementPipeline

DIGEST = "show(digest=digest(load('user/tiny')))"


@pytest.mark.slow
def test_loading_without_trust_then_from_the_cache_then_offline(hub, published_digest, tmp_path):
    home = tmp_path / "home"
    with hub.recorded() as requests:
        first = client(hub, home, DIGEST)
    assert first["digest"] == published_digest
    fetched = [path.split("/resolve/")[1].split("/", 1)[1] for method, path in requests if "/resolve/" in path]
    wanted = {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    assert set(fetched) == wanted  # neither reports nor samples nor code

    with hub.recorded() as requests:
        second = client(hub, home, DIGEST)
    assert second["digest"] == published_digest
    assert not [path for method, path in requests if "/resolve/" in path or "/lfs/" in path]

    with hub.recorded() as requests:
        offline = client(hub, home, DIGEST, HF_HUB_OFFLINE="1")
    assert offline["digest"] == published_digest
    assert requests == []


@pytest.mark.slow
def test_local_files_only_and_a_cache_dir(hub, published_digest, tmp_path):
    code = """
import os
missing = failure(lambda: load("user/tiny", cache_dir="mine", local_files_only=True))
load("user/tiny", cache_dir="mine")
pipe = load("user/tiny", cache_dir="mine", local_files_only=True)
elsewhere = os.path.exists(os.environ["HF_HOME"] + "/hub")
show(missing=missing, digest=digest(pipe), there=os.listdir("mine"), elsewhere=elsewhere)
"""
    got = client(hub, tmp_path / "home", code)
    assert got["missing"].startswith("LocalEntryNotFoundError")
    assert got["digest"] == published_digest
    assert "models--user--tiny" in got["there"]
    assert not got["elsewhere"]


@pytest.mark.slow
def test_revisions_by_branch_and_commit(hub, published_digest, tmp_path):
    old = hub.repository("user/tiny").branches["main"]
    hub.put("user/moving", tiny_model(tmp_path / "new", seed=1))
    hub.put("user/moving", tiny_model(tmp_path / "newer"), revision="experiment")
    first = hub.repository("user/moving").branches["main"]
    hub.put("user/moving", tiny_model(tmp_path / "newest", seed=2))
    code = f"""
show(commit=digest(load("user/tiny", revision="{old}")), main=digest(load("user/moving")),
     branch=digest(load("user/moving", revision="experiment")), first=digest(load("user/moving", revision="{first}")))
"""
    got = client(hub, tmp_path / "home", code)
    assert got["commit"] == got["branch"] == published_digest
    assert len({got["main"], got["branch"], got["first"]}) == 3


@pytest.mark.slow
def test_half_precision_variant(hub, published_digest, tmp_path):
    """The variant alone is fetched where it is asked for, and not where it is not. Plain files that are half already
    are it."""
    folder = tiny_model(tmp_path / "model")
    SpeechEnhancementPipeline.from_pretrained(folder).save_pretrained(tmp_path / "both")
    shutil.copy(
        folder / "unet" / "diffusion_pytorch_model.safetensors",
        tmp_path / "both" / "unet" / "diffusion_pytorch_model.fp16.safetensors",
    )
    hub.put("user/both", tmp_path / "both")
    SpeechEnhancementPipeline.from_pretrained(folder).save_pretrained(tmp_path / "single")
    hub.put("user/single", tmp_path / "single")
    code = """
pipe = load("user/both", variant="fp16")
show(digest=digest(pipe), plain=digest(load("user/tiny", variant="fp16")),
     single=failure(lambda: load("user/single", variant="fp16")))
"""
    with hub.recorded() as requests:
        got = client(hub, tmp_path / "home", code)
    assert got["digest"] == published_digest
    assert got["plain"] == published_digest
    assert "variant=fp16" in got["single"]
    fetched = {path for method, path in requests if "/user/both/resolve/" in path}
    assert [path.rsplit("/", 1)[1] for path in fetched if path.endswith(".safetensors")] == [
        "diffusion_pytorch_model.fp16.safetensors"
    ]
    with hub.recorded() as requests:
        client(hub, tmp_path / "home2", "load('user/both'); show()")
    assert not [path for method, path in requests if "fp16" in path]


@pytest.mark.slow
def test_private_repositories_need_a_token(hub, published_digest, tmp_path):
    hub.put("user/private", tiny_model(tmp_path / "model"), private=True)
    code = f"""
show(without=failure(lambda: load("user/private")), wrong=failure(lambda: load("user/private", token="hf_wrong")),
     argument=digest(load("user/private", token="{TOKEN}")))
"""
    got = client(hub, tmp_path / "home", code)
    assert "Repository Not Found" in got["without"]
    assert "private or gated repo" in got["without"]
    assert "Error" in got["wrong"]
    assert got["argument"] == published_digest
    got = client(hub, tmp_path / "home2", "show(digest=digest(load('user/private')))", token=TOKEN)
    assert got["digest"] == published_digest


@pytest.mark.slow
def test_what_is_not_there_is_named(hub, tmp_path):
    folder = tiny_model(tmp_path / "model")
    for name, missing in {
        "index": "model_index.json",
        "config": "unet/config.json",
        "scheduler": "scheduler/scheduler_config.json",
        "weights": "unet/diffusion_pytorch_model.safetensors",
    }.items():
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / missing).unlink()
        hub.put(f"user/without-{name}", tmp_path / name)
    code = """
show(repository=failure(lambda: load("user/nothing")), revision=failure(lambda: load("user/tiny", revision="gone")),
     name=failure(lambda: load("user/tiny/more")),
     **{name: failure(lambda: load("user/without-" + name)) for name in ("index", "config", "scheduler", "weights")})
"""
    got = client(hub, tmp_path / "home", code)
    assert got["repository"].startswith("RepositoryNotFoundError")
    assert "user/nothing" in got["repository"]
    assert got["revision"].startswith("RevisionNotFoundError")
    assert "gone" in got["revision"]
    assert "neither a valid local path nor a valid repo id" in got["name"]
    for name, missing in {
        "index": "model_index.json",
        "config": "unet/config.json",
        "scheduler": "scheduler/scheduler_config.json",
        "weights": "unet/diffusion_pytorch_model.safetensors",
    }.items():
        assert got[name].startswith("OSError"), got[name]
        assert f"has no {missing}" in got[name], got[name]


@pytest.mark.slow
def test_damaged_weights_are_named(hub, published_digest, tmp_path):
    folder = tiny_model(tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    damages = {"cut": content[:-100], "empty": b"", "noise": b"\xff" * 4000, "page": b"<html>not found</html>" * 100}
    for name, damaged in damages.items():
        weights.write_bytes(damaged)
        hub.put(f"user/{name}", folder)
    code = "show(**{name: failure(lambda: load('user/' + name)) for name in ('cut', 'empty', 'noise', 'page')})"
    got = client(hub, tmp_path / "home", code)
    for name in damages:
        assert got[name].startswith("OSError"), got[name]
        assert "diffusion_pytorch_model.safetensors is damaged" in got[name]
        assert "force_download=True" in got[name]

    hub.fail("GET", "/lfs/", "cut", times=2)  # an answer that breaks off is asked for again, from where it was
    got = client(hub, tmp_path / "home3", DIGEST)
    assert got["digest"] == published_digest


@pytest.mark.slow
def test_the_command_takes_a_hub_id(hub, published, tmp_path):
    from conftest import ROOT
    from hub_client import command

    arguments = ["-m", "speech_enhance", ROOT / "samples" / "noisy.wav", tmp_path / "out.wav", "--model"]
    run = command(hub, tmp_path / "home", *arguments, "user/tiny", token=None)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out.wav").is_file()
    run = command(hub, tmp_path / "home", *arguments, "user/nothing", token=None)
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert "user/nothing: no such folder, and the Hub has no such model" in run.stderr
