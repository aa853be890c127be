"""Public data sets: a file each, which reads the official files, or the same log normalised to Parquet.

A normalised folder holds ``interactions.parquet`` with ``user_id, item_id, timestamp``, and ``items.parquet`` where
something is known of the items.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from hpgr.core.registry import Registry
from hpgr.data.log import EventLog


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A log, a table of its items (with ``item_id``) if any is known, and the options of ``SequenceStore.build``."""

    log: EventLog
    items: pl.DataFrame | None
    build: dict[str, Any]


SOURCES: Registry[Callable[..., Source]] = Registry("data source")


def sources() -> Registry[Callable[..., Source]]:
    """Every source by name: a function of the data set's folder, and of a view where the set has several."""
    for found in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{found.name}")
    return SOURCES
