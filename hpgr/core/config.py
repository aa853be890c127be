"""Config trees: frozen dataclasses to JSON and back, and overrides by dotted path."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import sys
import types
import typing
from typing import Any, TypeVar

from hpgr.core.errors import ConfigError, UnknownNameError, UnsupportedError

C = TypeVar("C")
_CLASS = "class"  # a keyword, so never the name of an option


def to_tree(config: Any) -> Any:
    """JSON-ready values of a config: every dataclass becomes a dictionary that names its class under ``class``."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        kind = type(config)
        tree = {_CLASS: f"{kind.__module__}:{kind.__qualname__}"}
        return tree | {f.name: to_tree(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {str(key): to_tree(value) for key, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_tree(value) for value in config]
    if isinstance(config, enum.Enum):
        return config.value
    if config is None or isinstance(config, (str, int, float, bool)):
        return config
    raise ConfigError(f"config value ({config!r}) must be a dataclass, tuple, string, number, bool or None")


def from_tree(tree: Any) -> Any:
    """The config that ``to_tree`` wrote.

    Raises: UnsupportedError where the tree names a class outside hpgr that the caller has not imported, or one this
    version does not have; ConfigError where an option is not one of the class's.
    """
    if isinstance(tree, dict) and _CLASS in tree:
        kind = _config_class(tree[_CLASS])
        known = {f.name for f in dataclasses.fields(kind)}
        for name in tree.keys() - known - {_CLASS}:
            raise UnknownNameError.of(f"option of {tree[_CLASS]}", name, known)
        return kind(**{name: from_tree(value) for name, value in tree.items() if name != _CLASS})
    if isinstance(tree, dict):
        return {key: from_tree(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return tuple(from_tree(value) for value in tree)
    return tree


def override(config: C, changes: dict[str, str]) -> C:
    """``config`` with options replaced: ``{"train.retrieve.lr": "0.004"}``; texts are read by the option's type.

    Raises: UnknownNameError with the nearest option's name; ConfigError where the text does not fit the type.
    """
    for path, text in changes.items():
        config = _replaced(config, path.split("."), text, path)
    return config


def options(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every option of a config tree by its dotted path, as ``override`` accepts it."""
    found: dict[str, Any] = {}
    for name, value in _children(config).items():
        path = f"{prefix}{name}"
        found |= options(value, path + ".") if _children(value) else {path: value}
    return found


def _children(config: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return dict(config)
    if isinstance(config, tuple) and any(dataclasses.is_dataclass(x) for x in config):
        return {str(i): value for i, value in enumerate(config)}
    return {}


def _replaced(config: Any, names: list[str], text: str, path: str) -> Any:
    children = _children(config)
    name = names[0]
    if name not in children:
        raise UnknownNameError.of(f"option at {path!r}", name, children)
    hint = typing.get_type_hints(type(config)).get(name, Any) if dataclasses.is_dataclass(config) else Any
    value = _replaced(children[name], names[1:], text, path) if len(names) > 1 else _parsed(text, hint, path)
    if isinstance(config, dict):
        return config | {name: value}
    if isinstance(config, tuple):
        return tuple(value if str(i) == name else old for i, old in enumerate(config))
    return dataclasses.replace(config, **{name: value})


def _parsed(text: str, hint: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if text.lower() in ("none", "null") and type(None) in arguments:
            return None
        for kind in (int, float, bool, str, *arguments):
            if kind in arguments and kind is not type(None):
                try:
                    return _parsed(text, kind, path)
                except ConfigError:
                    continue
        raise ConfigError(f"{path} ({text}) must be one of {hint}")
    if origin is tuple:
        return () if text.lower() == "none" else tuple(_parsed(x, arguments[0], path) for x in text.split(",") if x)
    if origin is typing.Literal:
        if text not in arguments:
            raise UnknownNameError.of(f"choice for {path}", text, map(str, arguments))
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{path} ({text}) must be true or false")
        return text.lower() == "true"
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise ConfigError(f"{path} ({text}) must be {'an integer' if hint is int else 'a number'}") from None
    if hint is str:
        return text
    raise ConfigError(f"{path} ({text}) must be set through one of its own options, as in {path}.NAME=VALUE")


def _config_class(name: str) -> type:
    module_name, _, qualname = name.partition(":")
    ours = module_name == "hpgr" or module_name.startswith("hpgr.")
    if not ours and module_name not in sys.modules:
        raise UnsupportedError(f"config names {name!r} outside hpgr; import {module_name} first if you trust it")
    try:
        found: Any = importlib.import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        raise UnsupportedError(f"config names {name!r}, which this version of hpgr does not have") from None
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise UnsupportedError(f"config names {name!r}, which is not a config class")
    return found
