"""Environments of Python that have the package as somebody has it who installed it, and no repository."""

import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def own_environment(folder: Path, arguments: Sequence[str], extras: set[str]) -> str:
    """Install a wheel of the package into a new environment, which borrows from that of the tests the packages that the
    wheel asks for, and has no others.

    Args:
        folder: Folder in which the environment is made.
        arguments: What `pip install` is to install: a wheel, or a list of requirements that names one.
        extras: Extras of the package whose requirements are borrowed too.

    Returns:
        The Python of the environment.
    """
    venv.create(folder / "venv")
    python = str(folder / "venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, *arguments], check=True, timeout=600)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    for package in _needed("speech-enhance", extras, [str(packages), *sys.path])[1:]:
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(package.locate_file(top))
    return python


def _needed(name: str, extras: set[str], path: list[str]) -> list[metadata.Distribution]:
    """The package, as installed in `path`, and all that it asks for with these extras."""
    found, waiting = {}, [(name, extra) for extra in ("", *extras)]
    for name, extra in waiting:  # grows meanwhile
        package = found.setdefault(name, next(iter(metadata.distributions(name=name, path=path))))
        for requirement in map(Requirement, package.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                items = [(canonicalize_name(requirement.name), extra) for extra in ("", *requirement.extras)]
                waiting += [item for item in items if item not in waiting]
    return list(found.values())
