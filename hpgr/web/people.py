"""Whose events are looked at: users that the service was told of, users of a training log, or nobody's, made up on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from hpgr.core.errors import DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.store import SequenceStore
from hpgr.serving import UserStates
from hpgr.serving.events import ItemId, Stored
from hpgr.web.messages import Ask

Source = Literal["live", "log", "given"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """``events`` in the order in which they were told, asked about at ``at_ms``; ``source``: who told of them."""

    events: tuple[Stored, ...]
    at_ms: int
    source: Source

    def changed(self, removed: Sequence[int], added: Sequence[ItemId]) -> Past:
        """Without the events of these ``seq``, and with ``added`` items as the newest, whose ``seq`` are -1, -2 …"""
        gone = frozenset(removed)
        kept = tuple(event for event in self.events if event.seq not in gone)
        more = tuple(Stored(-1 - i, self.at_ms - 1, item, None, None) for i, item in enumerate(added))
        return Past(events=kept + tuple(e for e in more if e.seq not in gone), at_ms=self.at_ms, source=self.source)


class People:
    """Users by id: the live ones of ``states`` and, where there is one, those of ``store``."""

    def __init__(self, states: UserStates, store: SequenceStore | None, items: Vocabulary) -> None:
        """Raises: DataError if ``store`` is of other items than the bundle's log."""
        if store is not None and store.items != items:
            raise DataError(
                f"store ({store.path}) must hold the items of the bundle's log; give the store that it was trained on"
            )
        self._states, self._store = states, store

    def find(self, beginning: str, most: int) -> list[dict[str, Any]]:
        """``user_id`` and ``source`` of users whose ids begin with a text, live ones first."""
        found: dict[str, Source] = dict.fromkeys(self._states.find(beginning, most), "live")
        if self._names is not None:
            for name in self._names.filter(self._names.str.starts_with(beginning)).head(most):
                found.setdefault(name, "log")
        return [{"user_id": user, "source": source} for user, source in list(found.items())[:most]]

    def past(self, ask: Ask, now_ms: int, end_ms: int) -> Past:
        """The events of the one asked about; ``end_ms``: the end of the bundle's log, the moment of histories without times.

        Raises: DataError for a user that nobody knows; StateError.
        """
        if ask.user_id is None:
            at_ms = end_ms if ask.at is None else ask.at
            items = ask.history or []
            return Past(
                events=tuple(
                    Stored(i + 1, at_ms - 1000 * (len(items) - i), item, None, None) for i, item in enumerate(items)
                ),
                at_ms=at_ms,
                source="given",
            )
        user = str(ask.user_id)
        rows = self._states.read([(user, None)])[0].rows
        if rows:
            at_ms = max(now_ms, max(row.time_ms for row in rows) + 1) if ask.at is None else ask.at
            return Past(events=tuple(row for row in rows if row.time_ms < at_ms), at_ms=at_ms, source="live")
        return self._of_store(user, ask.at)

    def _of_store(self, user: str, at: int | None) -> Past:
        store = self._store
        row = -1 if store is None else int(store.users.rows([user])[0])
        if store is None or row < 0:
            where = "the service was told of" if store is None else "the service was told of, or of the store"
            raise DataError(f"user ({user}) must be one that {where}; look for another, or begin a made-up history")
        start, stop = int(store.user_offsets[row]), int(store.user_offsets[row + 1])
        at_ms = int(np.max(store.time_ms, initial=-1)) + 1 if at is None else at
        items = store.items.at(np.asarray(store.item_idx[start:stop])).to_list()
        codes = [0] * len(items) if store.session_code is None else store.session_code[start:stop].tolist()
        events = (
            Stored(i + 1, time_ms, item, store.actions[action - 1] if action else None, str(code) if code else None)
            for i, (item, time_ms, action, code) in enumerate(
                zip(items, store.time_ms[start:stop].tolist(), store.action[start:stop].tolist(), codes)
            )
        )
        return Past(events=tuple(event for event in events if event.time_ms < at_ms), at_ms=at_ms, source="log")

    @cached_property
    def _names(self) -> pl.Series | None:
        return None if self._store is None else self._store.users.ids.cast(pl.String)
