"""The Space: what is pushed, with the real client to a Hub on loopback, and that it runs as Spaces would run it."""

import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from demo import serve
from environments import own_environment
from hub_routes import TOKEN
from processes import run

REPO = "user/speech"


def deploy(hub, home, *arguments, token: str | None = TOKEN) -> subprocess.CompletedProcess:
    environment = hub.environment(home, token)
    command = [sys.executable, "spaces/deploy.py", *map(str, arguments)]
    return run(command, "torch", cwd=ROOT, env=environment, capture_output=True, text=True)


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_front_matter_fits_the_versions_in_use():
    card = front_matter((ROOT / "spaces" / "README.md").read_text())
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert card["sdk"] == "gradio"
    assert card["sdk_version"] == pins["gradio"]
    assert (ROOT / "spaces" / card["app_file"]).is_file()
    assert isinstance(card["python_version"], str)
    assert card["license"] == "apache-2.0"
    assert len(card["short_description"]) <= 60
    assert {card["colorFrom"], card["colorTo"]} <= {
        "red",
        "yellow",
        "green",
        "blue",
        "indigo",
        "purple",
        "pink",
        "gray",
    }


def test_requirements_ask_for_this_version():
    from speech_enhance import __version__

    assert (ROOT / "spaces" / "requirements.txt").read_text() == f"speech-enhance[demo]=={__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-slash"], "expected user/name, got 'no-slash'"),
        ([REPO, "--model", "a/b/c"], "expected user/name, got 'a/b/c'"),
        ([REPO, "--private"], "use --pypi"),
        ([REPO, "--dry-run", "tests"], "is not empty"),
        (["someone/else", "--pypi"], "right to write"),
    ],
)
def test_wrong_use_is_one_line(hub, tmp_path, arguments, message):
    ran = deploy(hub, tmp_path, *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


def test_with_pypi_nothing_is_built(hub, tmp_path):
    ran = deploy(hub, tmp_path, REPO, "--pypi", "--model", "user/model", "--dry-run", tmp_path / "space")
    assert ran.returncode == 0, ran.stderr
    assert not list((tmp_path / "space").glob("*.whl"))
    assert (tmp_path / "space" / "requirements.txt").read_text().startswith("speech-enhance[demo]==")
    assert front_matter((tmp_path / "space" / "README.md").read_text())["models"] == ["user/model"]


@pytest.mark.slow
def test_a_deployed_space_runs(hub, tmp_path):
    """Push, clone, install what it requires, start it, use it."""
    ran = deploy(hub, tmp_path / "home", REPO, "--code-url", "https://example.org/code")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == f"{hub.url}/spaces/{REPO}"
    repository = hub.repository(REPO, "space")
    files = repository.files()
    requirement = files["requirements.txt"].content.decode().strip()
    wheel = re.fullmatch(rf"speech-enhance\[demo\] @ {hub.url}/spaces/{REPO}/resolve/main/(.*\.whl)", requirement)[1]
    assert wheel in files
    card = front_matter(files["README.md"].content.decode())
    assert card["thumbnail"] == f"{hub.url}/spaces/{REPO}/resolve/main/demo.png"
    assert "demo.png" in files

    folder = tmp_path / "space"
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.content)
    python = own_environment(tmp_path, ["-r", str(folder / "requirements.txt")], {"demo"})

    from gradio_client import Client, handle_file

    with serve(tmp_path / "work", folder, python) as server:
        client = Client(server.url, verbose=False, download_files=str(tmp_path))
        path, facts = client.predict(audio=handle_file(folder / "examples" / "telephone.flac"), api_name="/enhance")
        client.close()
        assert path.endswith("telephone-enhanced.flac")
        assert facts["sampling_rate"] == 8000
        assert "https://example.org/code" in str(client.config)

    again = deploy(hub, tmp_path / "home", REPO)
    assert again.returncode == 0, again.stderr
    assert len([name for name in repository.files() if name.endswith(".whl")]) == 1
