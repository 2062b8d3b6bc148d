import subprocess
import sys

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
