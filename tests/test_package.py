import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

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
