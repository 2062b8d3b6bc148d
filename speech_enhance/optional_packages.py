"""Packages that are not always installed. If an import or a file of them is missing, the error names the command that
installs it."""

import importlib
import os
from importlib import metadata
from pathlib import Path
from types import ModuleType


def import_package(module: str, package: str) -> ModuleType:
    """Import a module of a package that is not always installed.

    Raises:
        ImportError: if it is missing, or does not load on this machine.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(package, f" (no module {error.name!r})") from error
    except (ImportError, OSError) as error:
        raise ImportError(f"the package {package} cannot be loaded here ({str(error).splitlines()[0]})") from error


def package_file(package: str, path: str, pip_options: str = "") -> Path:
    """Path of a file of an installed package. Nothing of the package is imported.

    Args:
        package: Name of the package on PyPI.
        path: Path inside the folder that packages are installed in.
        pip_options: Options of the command `pip install` that the error names, with a space after them.

    Raises:
        ImportError: if the package is missing or has no such file.
    """
    try:
        file = Path(str(metadata.distribution(package).locate_file(path)))
    except metadata.PackageNotFoundError as error:
        raise _missing(package, pip_options=pip_options) from error
    if not file.is_file():
        raise _missing(package, f" (its file {path} is not there)", pip_options)
    return file


def onnx_session(network: str | os.PathLike | bytes, num_threads: int):
    """Open a network in ONNX Runtime on the CPU.

    Args:
        network: Its file, or what such a file holds.
        num_threads: Threads of ONNX Runtime.

    Raises:
        ImportError: if `onnxruntime` is missing.
    """
    onnxruntime = import_package("onnxruntime", "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    # Its threads would wait for the next run in a busy loop, and keep others, such as PyTorch's, from the cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    model = network if isinstance(network, bytes) else str(network)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _missing(package: str, why: str = "", pip_options: str = "") -> ImportError:
    return ImportError(f"the package {package} is missing{why}; install it: pip install {pip_options}{package}")
