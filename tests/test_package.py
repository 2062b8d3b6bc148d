import ast
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from environments import own_environment

import speech_enhance


def test_every_public_name_exists():
    for name in speech_enhance.__all__:
        assert getattr(speech_enhance, name) is not None
    assert set(speech_enhance.__all__) <= set(dir(speech_enhance))


def test_unknown_names_fail_as_usual():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = speech_enhance.nonsense


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, speech_enhance; print([m for m in ('torch', 'diffusers', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_type_checkers_see_every_public_name():
    """They read the block under `TYPE_CHECKING`, in which each name stands again as itself: so a typed package
    exports."""
    tree = ast.parse(Path(speech_enhance.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = {alias.name: (node.module, alias.asname) for node in block.body for alias in node.names}
    assert imports == {name: (module, name) for name, module in speech_enhance._EXPORTS.items()}
    assert Path(speech_enhance.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("speech_enhance.audio_datasets", "load_audio_dataset"),
        ("speech_enhance.plotting", "draw_comparison"),
        ("speech_enhance.metrics", "module_path"),
        ("speech_enhance.metrics", "score"),
        ("speech_enhance.cli", "main"),
        ("speech_enhance.corpus.__main__", "main"),
        ("speech_enhance", "file_metric"),
        ("speech_enhance", "word_errors"),
    ],
)
def test_places_that_pages_and_published_metrics_import_from_stay(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_cards_build_on_training_and_not_the_other_way_round():
    """One door is left: a run with `--push_to_hub` publishes itself."""
    folder = Path(__file__).parents[1] / "training"
    importers = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "model_cards" for name in names):
                importers.add(path.relative_to(folder).as_posix())
    assert importers == {"hub.py"}


@pytest.mark.slow
def test_the_wheel_works_without_extras_and_without_the_repository(tmp_path):
    """Build and install it, import every public name, and enhance the sample offline with the model inside."""

    def run(*command, **options):
        command = [str(item) for item in command]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=900, **options)

    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "speech_enhance/checkpoints/base/unet/diffusion_pytorch_model.safetensors" in names
    assert "speech_enhance/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "training", "samples"))]
    python = own_environment(tmp_path, [str(wheel)], set())
    place = {"cwd": tmp_path, "env": {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}}
    code = "import speech_enhance as s; [getattr(s, name) for name in s.__all__]; print(s.__file__)"
    assert str(tmp_path) in run(python, "-W", "error", "-c", code, **place).stdout
    command = tmp_path / "venv" / "bin" / "speech-enhance"
    result = run(command, ROOT / "samples" / "noisy.wav", tmp_path / "out.wav", "--preset", "fast", **place)
    assert "7.7 s of audio enhanced" in result.stderr
    assert (tmp_path / "out.wav").stat().st_size == (ROOT / "samples" / "noisy.wav").stat().st_size
