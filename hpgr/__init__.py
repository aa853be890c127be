"""hpgr: from an event log to recommendations, with sessions as first-class data."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hpgr.version import __version__

__all__ = ["EventLog", "Measure", "Recommender", "Run", "SequenceStore", "Wanted", "__version__", "load"]

_HOMES = {
    "EventLog": "hpgr.data.log",
    "Measure": "hpgr.api.evaluating",
    "Recommender": "hpgr.api.recommender",
    "Run": "hpgr.training.run",
    "SequenceStore": "hpgr.data.store",
    "Wanted": "hpgr.answering.answerer",
    "load": "hpgr.api.recommender",
}

if TYPE_CHECKING:
    from hpgr.answering.answerer import Wanted
    from hpgr.api.evaluating import Measure
    from hpgr.api.recommender import Recommender, load
    from hpgr.data.log import EventLog
    from hpgr.data.store import SequenceStore
    from hpgr.training.run import Run


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that ``import hpgr`` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hpgr' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
