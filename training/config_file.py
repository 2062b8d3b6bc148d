"""YAML files, read into dataclasses. With `extends: FILE`, a file holds only what differs from another file."""

import dataclasses
import math
import types
import typing
from pathlib import Path

import yaml

Kind = typing.TypeVar("Kind")


def read_config(kind: type[Kind], path: str | Path) -> Kind:
    """Read a YAML file (see [`read_yaml`]) into the dataclass `kind`. Its fields may be dataclasses too, or lists and
    mappings of them.

    Raises:
        ValueError: if the file is no YAML, or if a field is missing, unknown, or of the wrong type or value. The
            message names the field by its path in the file.
    """
    return _build(kind, read_yaml(path), str(path))


def read_yaml(path: str | Path, extended_by: tuple[Path, ...] = ()):
    """The content of a YAML file. A file with `extends: FILE` has all entries of FILE except those that it gives
    itself. The path is relative to the file. Mappings are merged and lists are replaced.

    Raises:
        ValueError: if a file is no YAML or extends itself.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: no valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or "extends" not in content:
        return content
    files = (*extended_by, Path(path).resolve())
    expect(isinstance(content["extends"], str), f"{path}: extends", "the path of a file", content["extends"])
    base = files[-1].parent / content.pop("extends")
    expect(base.resolve() not in files, f"{path}: extends", "a file that does not extend this one", str(base))
    extended = read_yaml(base, files)
    expect(isinstance(extended, dict), f"{base}", "a mapping", extended)
    return _merge(extended, content)


def _merge(base: dict, changes: dict) -> dict:
    merged = base | changes
    for name in base.keys() & changes.keys():
        if isinstance(base[name], dict) and isinstance(changes[name], dict):
            merged[name] = _merge(base[name], changes[name])
    return merged


def _build(kind, value, where: str) -> typing.Any:
    """Build `kind` from plain YAML data; every error says where."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        choices = [item for item in arguments if item is not types.NoneType]
        lists = [item for item in choices if typing.get_origin(item) is list]
        return _build(lists[0] if lists and isinstance(value, list) else choices[0], value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        expect(isinstance(value, dict), where, "a mapping", value)
        hints = typing.get_type_hints(kind)
        for name in value:
            if name not in hints:
                raise ValueError(f"{where}: unknown field {name!r}; known are {', '.join(hints)}")
        fields = {name: _build(hints[name], item, f"{where}: {name}") for name, item in value.items()}
        try:
            return kind(**fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
    if origin in (list, tuple):
        expect(isinstance(value, list), where, "a list", value)
        return origin(_build(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        expect(isinstance(value, dict), where, "a mapping", value)
        return {name: _build(arguments[1], item, f"{where}: {name}") for name, item in value.items()}
    if kind is float:
        finite = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        expect(finite, where, "a number", value)
        return float(value)
    if kind is str and isinstance(value, bool):
        raise ValueError(f"{where}: expected str, got {value}; put no, yes, on and off in quotes where a word is meant")
    expect(isinstance(value, kind) and not (kind is int and isinstance(value, bool)), where, kind.__name__, value)
    return value


def expect(condition: bool, where: str, expected: str, value) -> None:
    """Check a value of a configuration.

    Raises:
        ValueError: unless `condition`; it names the place, what was expected there, and the value.
    """
    if not condition:
        raise ValueError(f"{where}: expected {expected}, got {value!r}")
