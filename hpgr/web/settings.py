"""What the page may show beside the bundle, for this process and for workers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

_SETTINGS = "HPGR_PAGE_SETTINGS"
FACTORY = "hpgr.web.page:from_environment"
"""Gives the application of one worker among several, with the page; in the words of uvicorn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSettings:
    """``store``: a training log whose users the page may show. ``cards``: folders of result cards; none: those beside the bundle."""

    store: Path | None = None
    cards: tuple[Path, ...] = ()

    def to_environment(self) -> None:
        """Leave them for workers."""
        texts = {"store": None if self.store is None else str(self.store), "cards": list(map(str, self.cards))}
        os.environ[_SETTINGS] = json.dumps(texts)

    @classmethod
    def of_environment(cls) -> PageSettings:
        """What ``to_environment`` left."""
        found = json.loads(os.environ[_SETTINGS])
        store = None if found["store"] is None else Path(found["store"])
        return cls(store=store, cards=tuple(map(Path, found["cards"])))
