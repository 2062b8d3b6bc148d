"""What README and `docs/` tell people to type works as it stands there."""

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "channels"), [("README.md", 1), ("README.md", 2), ("docs/python.md", 1)])
def test_the_examples_of_the_pipeline_and_its_schedulers(monkeypatch, tmp_path, page, channels):
    (tmp_path / "samples").mkdir()
    audio, rate = soundfile.read(ROOT / "samples" / "noisy.wav", dtype="float32")
    audio = np.stack([audio] * channels, axis=1)
    soundfile.write(tmp_path / "samples" / "noisy.wav", audio, rate)
    monkeypatch.chdir(tmp_path)
    names = {}
    loading = next(block for block in blocks(page) if "from_pretrained(DEFAULT_CHECKPOINT)" in block)
    exec(loading, names)
    info = soundfile.info("enhanced.wav")
    assert (info.frames, info.channels, info.samplerate) == (*audio.shape, rate)
    if channels == 2:
        return
    before = names["enhanced"]
    swaps = [block for block in blocks(page) if "pipe.scheduler =" in block]
    assert swaps
    for block in swaps:
        exec(block, names)
        assert np.isfinite(names["enhanced"]).all()
        assert not np.array_equal(names["enhanced"], before)


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler", "LCMScheduler"])
def test_other_schedulers_go_in_the_same_way_after_loading(name, tmp_path):
    import diffusers
    from conftest import noise, quiet
    from hub_client import tiny_model

    from speech_enhance import SpeechEnhancementPipeline

    pipe = quiet(SpeechEnhancementPipeline.from_pretrained(tiny_model(tmp_path / "model")))
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
    assert np.isfinite(pipe(noise(9000), 16000, num_inference_steps=2).audios).all()


def test_the_error_of_diffusers_own_class_is_the_one_that_the_page_quotes(tmp_path):
    from diffusers import DiffusionPipeline
    from hub_client import tiny_model

    with pytest.raises(AttributeError) as error:
        DiffusionPipeline.from_pretrained(tiny_model(tmp_path / "model"))
    assert f"AttributeError: {error.value}" in (ROOT / "docs" / "troubleshooting.md").read_text()


@pytest.mark.slow
def test_sharing_a_model_works_as_written(hub, corpus, bare, tmp_path):
    """Every command of the page, in its order; `you` is the loopback Hub's user, `my` and `runs` are elsewhere."""
    import shutil

    from hub_client import client, command, tiny_model

    (tmp_path / "my" / "data").mkdir(parents=True)
    shutil.copy(corpus / "pairs.parquet", tmp_path / "my" / "data" / "pairs-valid-0.parquet")
    tiny_model(tmp_path / "runs" / "own" / "pipeline")
    own = (ROOT / "training" / "configs" / "own.yaml").read_text()
    own = own.replace("my/speech", str(corpus / "speech")).replace("my/noise", str(corpus / "noise-*.parquet"))
    (tmp_path / "own.yaml").write_text(own)
    text = (ROOT / "docs" / "publishing.md").read_text()
    commands = re.findall(
        r"^```\n(.*?)^```$", re.sub(r"^```python\n.*?^```$", "", text, flags=re.M | re.S), re.M | re.S
    )
    lines = [line for block in commands for line in block.splitlines()]
    ran = 0
    for line in lines:
        line = (
            line.replace("you/name", "user/shared")
            .replace("my/", f"{tmp_path}/my/")
            .replace("runs/", f"{tmp_path}/runs/")
            .replace("training/configs/own.yaml", f"{tmp_path}/own.yaml")
        )
        words = shlex.split(line)
        if words[0] == "cp":
            shutil.copy(ROOT / words[1], words[2])
        elif words[0] == "python":
            run = command(hub, tmp_path / "home", *words[1:])
            assert run.returncode == 0, run.stderr
            ran += 1
            if "--dry-run" in words:
                assert (tmp_path / "runs" / "hub" / "model" / "README.md").is_file()
                assert ("model", "user/shared") not in hub.repositories
        else:
            assert words[0] in ("pip", "hf")
    assert ran == 5
    assert "_int8_ranges" in (tmp_path / "runs" / "own" / "pipeline" / "unet" / "config.json").read_text()
    assert "my-pairs" in hub.repository("user/shared").files()["README.md"].content.decode()
    installed, remote = (
        block.replace("you/name", "user/shared") for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    )
    first = client(hub, tmp_path / "home", installed + "show(digest=digest(pipe))")
    assert client(hub, tmp_path / "home", remote + "show(digest=digest(pipe))", bare=bare)["digest"] == first["digest"]


def test_what_the_maintainers_page_names_exists():
    text = (ROOT / "MAINTAINING.md").read_text()
    scripts = re.findall(r"python ((?:model_cards|spaces)/\w+\.py|-m training[\w.]+)([^`]*)`", text)
    assert len(scripts) >= 5
    for script, arguments in scripts:
        name = script.removeprefix("-m ").replace(".", "/") + ".py" if script.startswith("-m ") else script
        source = (ROOT / name.replace("exam.py", "exam/command.py")).read_text()
        for option in re.findall(r"(?<= )--[\w-]+", arguments):
            assert f'"{option}"' in source, f"{script} {option}"
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / link).exists(), link


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("spaces/*.md"), ROOT / "training" / "README.md"]


def anchors(page: Path) -> set[str]:
    """Names that the headings of a page have in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link, anchor in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)]*))?\)", text):
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), f"{link}#{anchor}"


LAUNCHER = r"(?:python|accelerate launch|torchrun)[^`\n]*? "
COMMAND = re.compile(LAUNCHER + r"-m ((?:training|speech_enhance)[\w.]*)")
SCRIPT = re.compile(LAUNCHER + r"((?:training|spaces|model_cards|samples)/[\w/]+\.py)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_is_there(page):
    text = page.read_text()
    for name in COMMAND.findall(text):
        assert importlib.util.find_spec(name), name
    for name in SCRIPT.findall(text):
        assert (ROOT / name).is_file(), name
