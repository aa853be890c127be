"""One file per reproduced experiment: data, split, entries, what is asked; ``hpgr recipes NAME`` runs it.

A recipe is a function that returns a ``Recipe``; its name is its file's.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.registry import Registry
from hpgr.evaluation.published import Published
from hpgr.training.run import Run

RECIPES: Registry[Callable[[], Recipe]] = Registry("recipe")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is compared on which data.

    ``source`` and ``view``: a reader in ``hpgr.data.sources`` and its options; ``folder``: where the set lies under the
    data folder, empty for a source that reads nothing. ``question``: what the table is about. ``entries``: the runs to
    compare, all with one split. ``limit``: test questions asked at most, spread evenly; None: all. ``exclude_seen``: what is
    in a user's history is not recommended, as most papers on films and reviews have it. ``published``: what others report,
    by entry."""

    summary: str
    source: str
    question: Literal["retrieve", "rank"]
    entries: tuple[Run, ...]
    folder: str = ""
    view: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    exclude_seen: bool = False
    published: dict[str, Published] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [run.name for run in self.entries]
        if len(set(names)) < len(names):
            raise ConfigError(f"entries ({', '.join(names)}) must have different names")
        if len({run.split for run in self.entries}) > 1:
            raise ConfigError("entries must share one split, or their results cannot be compared")
        for name in self.published:
            if name not in names:
                raise UnknownNameError.of("entry", name, names)


def recipes() -> Registry[Callable[[], Recipe]]:
    """The registry with every file of this package in it."""
    for found in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{found.name}")
    return RECIPES
