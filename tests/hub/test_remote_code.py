"""The published loader code: built from the package's own modules, equal to them, and enough without the package."""

import ast
import re
import shutil

import pytest
from causal import make_pipeline
from hub_client import PREAMBLE, client

from speech_enhance import SpeechEnhancementPipeline
from speech_enhance.hub import remote_code
from speech_enhance.hub.publishing import stage_pipeline
from speech_enhance.hub.remote_code import PACKAGE, build_remote_code, entry_modules, merged_modules
from speech_enhance.models.networks import NETWORKS

TRUSTED = (
    "dict(revision='remote-code', custom_pipeline='user/tiny', custom_revision='remote-code', trust_remote_code=True)"
)


class _WithoutRelativeImports(ast.NodeTransformer):
    """What may differ between a module and the file it went into: imports of siblings."""

    def visit_ImportFrom(self, node):
        return None if node.level else node

    def visit_Pass(self, node):
        return None


def definitions(tree: ast.Module) -> dict[str, str]:
    """Functions, classes and assignments at top level, by what they define, as text."""
    found = {}
    for node in _WithoutRelativeImports().visit(tree).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = ast.dump(node)
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            found[ast.unparse(node)] = ast.dump(node)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("path", entry_modules())
def test_published_code_is_the_packages_own(path, network):
    """A change in any module that the pipeline needs is in the published file, and nothing else is."""
    text = build_remote_code(network)[path]
    ours = {}
    for name in merged_modules(entry_modules(network)[path]):
        ours |= definitions(ast.parse((PACKAGE / f"{name.replace('.', '/')}.py").read_text()))
    assert definitions(ast.parse(text)) == ours
    assert "speech_enhance" not in [
        node.module.split(".")[0] for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)
    ]
    assert not re.search(r"^\s*from\s+\.", text, flags=re.MULTILINE)  # Diffusers looks for siblings by this pattern
    compile(text, path, "exec")


def test_modules_are_followed_not_listed():
    modules = merged_modules("pipelines.speech_enhancement")
    assert modules[-1] == "pipelines.speech_enhancement"
    assert {"mel.spectrogram", "pipelines.windows", "models.schedulers", "pipelines.safe_loading"} <= set(modules)
    assert "models.unet" not in modules  # a file of its own
    assert merged_modules("models.unet") == ["models.removed_settings", "models.unet"]


TOP = "pipelines.speech_enhancement"


def write_modules(folder, modules: dict[str, str]):
    for name, text in modules.items():
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            {TOP: "from .other import f\ndef g(): ...", "pipelines.other": "def f(): ...\ndef g(): ..."},
            r"pipelines/other\.py and pipelines/speech_enhancement\.py both define g",
        ),
        ({TOP: "from ..other import f\nimport soxr as f2", "other": "f2 = 1"}, "both define f2"),
        ({TOP: "def f():\n    from . import name"}, r"pipelines/speech_enhancement\.py, line 2: import from a module"),
        ({TOP: "from .. import name"}, r"line 1: import from a module, not from `\.\.`"),
        ({TOP: "from ...above import name"}, r"line 1: import from a module, not from `\.\.\.`"),
        ({TOP: "from ..folder import name"}, r"\.folder is no module file"),
        ({TOP: "path = __file__"}, r"pipelines/speech_enhancement\.py uses __file__"),
        ({TOP: "from ..models.unet import fold", "models.unet": ""}, "needs fold of the component models.unet"),
    ],
)
def test_what_does_not_fit_into_one_file_is_refused(tmp_path, monkeypatch, modules, message):
    write_modules(tmp_path, {"models.unet": ""} | modules)
    monkeypatch.setattr(remote_code, "PACKAGE", tmp_path)
    with pytest.raises(ValueError, match=message):
        build_remote_code()


def test_imports_inside_functions_and_circles_are_resolved(tmp_path, monkeypatch):
    top = (
        '"""Top."""\nimport math\n\nfrom .a import one as uno\n\n\ndef two():\n    from .a import (\n        one,\n '
        "   )\n    from ..mel.b import three as tres\n\n    return math.floor(uno() + one() + tres())\n"
    )
    first = "def one():\n    from .speech_enhancement import two\n\n    return 1 if two else 0\n"
    second = "import math\n\n\ndef three():\n    return math.pi\n"
    write_modules(tmp_path, {"models.unet": "", TOP: top, "pipelines.a": first, "mel.b": second})
    monkeypatch.setattr(remote_code, "PACKAGE", tmp_path)
    text = build_remote_code()["pipeline.py"]
    names = {}
    exec(text, names)
    assert names["two"]() == 5
    assert text.count("import math") == 1
    assert "# pipelines/speech_enhancement.py: Top." in text


@pytest.mark.slow
def test_without_the_package_the_output_is_bit_equal(hub, published, published_digest, bare, tmp_path):
    code = f"""
pipe = load("user/tiny", **{TRUSTED})
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
first = digest(pipe)
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
audio = np.zeros(8000, np.float32)
steps = pipe(audio, 16000, num_inference_steps=3).audios.shape
pipe.scheduler = FlowMatchEulerDiscreteScheduler()
show(digest=first, steps=steps, wrong=failure(lambda: pipe(audio, 16000)), kind=type(pipe).__name__)
"""
    got = client(hub, tmp_path / "home", code, bare=bare)
    assert got["digest"] == published_digest
    assert got["steps"] == [8000]
    assert "does not suit this model" in got["wrong"]
    assert got["kind"] == "SpeechEnhancementPipeline"
    assert "Expected types" not in got["stderr"]


@pytest.mark.slow
def test_a_network_for_live_sound_needs_no_package_either(hub, published, bare, tmp_path):
    make_pipeline().save_pretrained(tmp_path / "model")
    card = hub.repository("user/tiny").files()["README.md"].content.decode()
    stage_pipeline(tmp_path / "model", card, {}, tmp_path / "staged")
    folder = str(tmp_path / "staged" / "code")
    code = f"""
pipe = load({folder!r}, custom_pipeline={folder!r}, trust_remote_code=True)
live = pipe.live(16000)
block = np.full(4000, 0.1, np.float32)
show(digest=digest(pipe), latency=live.latency, total=float(np.abs(live.process(block)).sum()))
"""
    got = client(hub, tmp_path / "home", code, bare=bare)
    names = {}
    exec(PREAMBLE, names)
    pipeline = SpeechEnhancementPipeline.from_pretrained(tmp_path / "model")
    assert got["digest"] == names["digest"](pipeline)
    assert got["latency"] == pipeline.live(16000).latency
    assert got["total"] > 0
    assert "Expected types" not in got["stderr"]


@pytest.mark.slow
def test_a_trusted_load_does_not_spoil_an_untrusted_one(hub, published, published_digest, bare, tmp_path):
    """All with the same caches: with the package, trusted without it, untrusted without it, with the package again."""
    home = tmp_path / "home"
    plain = "show(digest=digest(load('user/tiny')))"
    assert client(hub, home, plain)["digest"] == published_digest
    trusted = f"show(digest=digest(load('user/tiny', **{TRUSTED})))"
    assert client(hub, home, trusted, bare=bare)["digest"] == published_digest
    untrusted = """
import sys
show(main=failure(lambda: load("user/tiny")), branch=failure(lambda: load("user/tiny", revision="remote-code")),
     custom=failure(lambda: load("user/tiny", revision="remote-code", custom_pipeline="user/tiny",
                                 custom_revision="remote-code")),
     ran=[name for name in sys.modules if name.startswith("diffusers_modules") and "tiny" in name])
"""
    got = client(hub, home, untrusted, bare=bare)
    assert got["ran"] == []
    assert all("Error" in got[name] for name in ("main", "branch", "custom")), got
    assert "trust_remote_code=True" in got["custom"]
    # the branch with the code is no place for people who installed the package, once its code lies in their cache
    branch = "show(digest=digest(load('user/tiny')), error=failure(lambda: load('user/tiny', revision='remote-code')))"
    got = client(hub, home, branch)
    assert got["digest"] == published_digest
    assert "load the branch without it (`main`)" in got["error"]


@pytest.mark.slow
def test_the_cards_own_code_runs(hub, published, bare, tmp_path):
    """The Python of the published card, copied as a reader would."""
    from conftest import ROOT

    card = hub.repository("user/tiny").files()["README.md"].content.decode()
    installed, remote = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    shutil.copy(ROOT / "samples" / "noisy.wav", tmp_path)
    there = f"import os\nos.chdir({str(tmp_path)!r})\n"
    ending = "\nshow(shape=enhanced.shape, finite=bool(np.isfinite(enhanced).all()))"
    first = client(hub, tmp_path / "home", there + installed + ending)
    second = client(hub, tmp_path / "home2", there + remote + ending, bare=bare)
    assert first["shape"] == second["shape"] == [1, 122616]  # one channel is one row
    assert first["finite"]
    assert second["finite"]
    assert (tmp_path / "enhanced.wav").is_file()
