"""Histories held in memory, as the batch that the model is asked with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hpgr.data.asked_histories import AskedHistories
from hpgr.data.history import OrderedEvents
from hpgr.data.ranges import offsets_from
from hpgr.data.sessions import SessionRule
from hpgr.serving.user_history import UserHistory


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Told:
    """A history until ``now_ms``: its first ``length`` events are before that moment."""

    history: UserHistory
    now_ms: int
    length: int

    @classmethod
    def until(cls, history: UserHistory, now_ms: int) -> Told:
        return cls(history=history, now_ms=now_ms, length=int(np.searchsorted(history.time_ms, now_ms, side="left")))

    @property
    def seen(self) -> np.ndarray:
        """``[length]`` the log's rows of its items, -1 for unknown ones."""
        return self.history.item_rows[: self.length]


def asked_histories(told: Sequence[Told], rule: SessionRule, max_len: int) -> AskedHistories:
    """The newest ``max_len`` events of each; a session that is cut begins at the cut."""
    stop = np.array([one.length for one in told], dtype=np.int64)
    start = np.maximum(stop - max_len, 0)
    offsets = offsets_from(stop - start)
    borders = []
    for one, first, last, at in zip(told, start, stop, offsets):
        inside = one.history.session_offsets
        inside = inside[(inside > first) & (inside < last)]
        borders.append(np.concatenate([[first] if last > first else [], inside]) - first + at)

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(one.history, name)[a:b] for one, a, b in zip(told, start, stop)])

    events = OrderedEvents(
        item_idx=column("item_rows"),
        time_ms=column("time_ms"),
        action=column("action"),
        user_offsets=offsets,
        session_offsets=np.concatenate([*borders, offsets[-1:]]).astype(np.int64),
        session_rule=rule,
        dropped=0,
    )
    return AskedHistories(
        events=events,
        users=pl.Series("user_id", np.arange(len(told))),
        start=offsets[:-1],
        stop=offsets[1:],
        now_ms=np.array([one.now_ms for one in told], dtype=np.int64),
    )
