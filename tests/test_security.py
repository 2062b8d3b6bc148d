"""SECURITY.md names a test for every line; here are that they exist, and the ones that belong nowhere else."""

import io
import re
import sys

from conftest import ROOT, noise

from speech_enhance import AudioWriter
from speech_enhance.jobs.standard_streams import spooled_input, spooled_output


def test_every_line_names_tests_that_exist():
    text = (ROOT / "SECURITY.md").read_text().split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(lines) >= 15
    for line in lines:
        named = re.findall(r"`(test_\w+\.py|)(?:::(test_\w+))?`", line.split("|")[-2])
        assert named, line
        file = None
        for name, test in named:
            file = name or file
            source = next(path.read_text() for path in (ROOT / "tests").rglob(file))
            assert f"def {test}(" in source if test else "def test_" in source, f"{file}::{test}"


def test_temporary_files_are_private(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a recording")))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    with spooled_input() as path, spooled_output("wav") as target:
        assert path.parent.stat().st_mode & 0o077 == 0
        assert target.parent.stat().st_mode & 0o077 == 0
        target.write_bytes(b"enhanced")
    assert not path.parent.exists()
    assert not target.parent.exists()
    with AudioWriter(tmp_path / "out.wav", 16000, 1) as writer:
        writer.write(noise(100, channels=1))
        assert not any(path.stat().st_mode & 0o077 for path in tmp_path.iterdir())
