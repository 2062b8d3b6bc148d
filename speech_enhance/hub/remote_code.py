"""Builds the pipeline's code for users who have not installed this package. Diffusers fetches one file per class from a
repository; each file is put together from modules of this package by following their relative imports.

Modules that end up in one file share its namespace. So no two of them may define the same name at top level, and none
may use `__file__` or `from . import …`. The builder refuses both with the name (`tests/hub/test_remote_code.py` runs
it).
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path

from ..models.networks import DEFAULT_NETWORK, NETWORKS

PACKAGE = Path(__file__).parents[1]
# Files of a repository, each with the module that it is built from. Diffusers looks for a component's class in a file
# with the name of the library in `model_index.json`.
PIPELINE_FILE, NETWORK_FILE = "pipeline.py", "unet/speech_enhance.py"
# The network is a component with a file of its own. The pipeline file imports the network's base class instead, which
# satisfies Diffusers' `isinstance` check.
COMPONENTS = {
    "models.unet": {"ConditionalUNet2DModel": "from diffusers import UNet2DModel as ConditionalUNet2DModel"},
    "models.causal_unet": {
        "CausalUNet2DModel": "from diffusers import ModelMixin as CausalUNet2DModel",
        "CausalState": "from typing import Any as CausalState",
    },
}
HEADER = '''"""Built from the package speech_enhance {version} by its hub/remote_code.py.

Change the package, not this file.
"""
'''


@dataclass(frozen=True)
class _Module:
    name: str
    source: str
    tree: ast.Module

    @classmethod
    def read(cls, name: str) -> "_Module":
        path = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
        if not path.is_file():
            raise ValueError(f"remote code: .{name} is no module file of the package; it cannot be followed")
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        if any(isinstance(node, ast.Name) and node.id == "__file__" for node in ast.walk(tree)):
            raise ValueError(
                f"remote code: {name.replace('.', '/')}.py uses __file__, which means nothing in a repository"
            )
        return cls(name, source, tree)

    @property
    def file(self) -> str:
        """Path of the module's file in the package."""
        return f"{self.name.replace('.', '/')}.py"

    def relative_imports(self) -> list[tuple[ast.ImportFrom, str]]:
        """Return all relative imports, also those inside functions, each with the name of the imported module."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom) and node.level]
        return [(node, self.origin(node)) for node in found]

    def origin(self, node: ast.ImportFrom) -> str:
        """Return the name, within the package, of the module that a relative import names.

        Raises:
            ValueError: if the import names a folder, or something outside the package.
        """
        parents = self.name.split(".")[: -node.level]
        if not node.module or node.level > self.name.count(".") + 1:
            raise ValueError(
                f"remote code: {self.file}, line {node.lineno}: import from a module, not from `{'.' * node.level}`"
            )
        return ".".join([*parents, node.module])


def write_remote_code(folder: str | Path) -> None:
    """Write the files of [`build_remote_code`] into a repository's folder, for the network in its `model_index.json`.

    Raises:
        ValueError: if the network is none of this package.
    """
    _, network = json.loads((Path(folder) / "model_index.json").read_text(encoding="utf-8"))["unet"]
    for name, text in build_remote_code(network).items():
        target = Path(folder) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def build_remote_code(network: str = DEFAULT_NETWORK) -> dict[str, str]:
    """Return the text of the files by their path in a repository, for a network of [`NETWORKS`].

    Raises:
        ValueError: if there is no such network, or if the modules do not fit into one file.
    """
    return {path: _merge(entry) for path, entry in entry_modules(network).items()}


def entry_modules(network: str = DEFAULT_NETWORK) -> dict[str, str]:
    """Return the modules that the files are built from, by path. See [`build_remote_code`]."""
    if network not in NETWORKS:
        raise ValueError(f"remote code: a network is one of {', '.join(NETWORKS)}, got {network!r}")
    return {PIPELINE_FILE: "pipelines.speech_enhancement", NETWORK_FILE: f"models.{NETWORKS[network]}"}


def merged_modules(entry: str) -> list[str]:
    """Return the names of the modules in the file built from `entry`, each after the modules that it imports."""
    order: list[str] = []

    def follow(name: str, above: tuple[str, ...]) -> None:
        for _, origin in _Module.read(name).relative_imports():
            if origin in above:
                continue  # a circular import, made by an import inside a function
            if origin not in order and origin not in _components(entry):
                follow(origin, (*above, origin))
        order.append(name)

    follow(entry, (entry,))
    return order


def _components(entry: str) -> dict[str, dict[str, str]]:
    return {name: stand_ins for name, stand_ins in COMPONENTS.items() if name != entry}


def _merge(entry: str) -> str:
    from .. import __version__

    modules = [_Module.read(name) for name in merged_modules(entry)]
    _check_names(modules)
    imports: dict[str, None] = {}
    bodies = []
    for module in modules:
        bodies.append(_body(module, _components(entry), imports))
    plain = sorted(line for line in imports if line.startswith("import "))
    named = sorted(line for line in imports if not line.startswith("import "))
    return "\n".join([HEADER.format(version=__version__), *plain, *named, *bodies])


def _body(module: _Module, components: dict[str, dict[str, str]], imports: dict[str, None]) -> str:
    """Return a module's text without its imports, which are added to `imports`. Its docstring becomes a comment."""
    lines: list[str | None] = list(module.source.splitlines())
    top_level = set(map(id, module.tree.body))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            origin = module.origin(node)
            stand_ins = components.get(origin)
            if stand_ins is not None:
                for alias in node.names:
                    if alias.name not in stand_ins or alias.asname:
                        raise ValueError(f"remote code: {module.file} needs {alias.name} of the component {origin}")
                    imports[stand_ins[alias.name]] = None
            renamed = [f"{alias.asname} = {alias.name}" for alias in node.names if alias.asname and stand_ins is None]
            _replace(lines, node, renamed or ([] if id(node) in top_level else ["pass"]))
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) in top_level:
            imports[ast.unparse(node)] = None
            _replace(lines, node, [])
    docstring = ast.get_docstring(module.tree, clean=False)
    if docstring is not None:
        node = module.tree.body[0]
        comment = [f"# {line}".rstrip() for line in f"{module.file}: {docstring}".rstrip().splitlines()]
        lines[node.lineno - 1 : node.end_lineno] = comment
    text = "\n".join(line for line in lines if line is not None)
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return f"\n\n{text.strip()}\n"


def _replace(lines: list[str | None], node: ast.stmt, text: list[str]) -> None:
    """Replace a statement by `text` and keep the number of lines."""
    indent = " " * node.col_offset
    lines[node.lineno - 1] = "\n".join(indent + line for line in text) if text else None
    for index in range(node.lineno, node.end_lineno or node.lineno):
        lines[index] = None


def _check_names(modules: list[_Module]) -> None:
    """Refuse modules that give one top-level name two meanings."""
    meaning: dict[str, tuple[str, str]] = {}
    for module in modules:
        for name, what in _bound_names(module).items():
            known = meaning.setdefault(name, (what, module.file))
            if known[0] != what:
                raise ValueError(
                    f"remote code: {known[1]} and {module.file} both define {name}, and they share a file in a "
                    "published repository: rename one of them"
                )


def _bound_names(module: _Module) -> dict[str, str]:
    """Return the names that a module binds at top level, each with what it is bound to. A name from a relative import
    belongs to the imported module."""
    bound = {}
    for node in module.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound[node.name] = module.file
        elif isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            origin = getattr(node, "module", None)
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                bound[name] = f"{origin}.{alias.name}" if origin or alias.asname else name
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname: f"{module.origin(node)}: {alias.name}" for alias in node.names if alias.asname}
        else:
            for target in ast.walk(node):
                if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                    bound[target.id] = module.file
    return bound
