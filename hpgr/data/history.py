"""Histories from events: the one way that training, evaluation, recommending and serving share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from hpgr.core.batch import History
from hpgr.core.errors import DataError
from hpgr.data.catalogue import Catalogue
from hpgr.data.ranges import flat_index, offsets_from
from hpgr.data.sessions import SessionRule


class Column(Protocol):
    """Values by rows ``[n]``."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


class Events(Protocol):
    """Events grouped by user and ordered by time: a store, ``Recoded`` or ``OrderedEvents``."""

    @property
    def item_idx(self) -> np.ndarray: ...
    @property
    def time_ms(self) -> np.ndarray: ...
    @property
    def action(self) -> Column: ...
    @property
    def session_offsets(self) -> np.ndarray: ...
    @property
    def session_rule(self) -> SessionRule: ...


@dataclass(frozen=True, slots=True)
class _Recoded:
    codes: np.ndarray
    table: np.ndarray

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        found: np.ndarray = self.table[self.codes[rows]]
        return found


class Recoded:
    """Events whose kinds have other codes: what was code ``i`` is ``table[i]``."""

    def __init__(self, events: Events, codes: np.ndarray, table: np.ndarray) -> None:
        self.item_idx, self.time_ms = events.item_idx, events.time_ms
        self.session_offsets, self.session_rule = events.session_offsets, events.session_rule
        self.action: Column = _Recoded(codes, table)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RawEvents:
    """Events of ``B`` users, ``offsets [B+1]`` apart, in any order: ``item_idx``, ``time_ms``, ``action`` ``[T]``.

    ``item_idx``: item rows that the catalogue's ``of_store`` counts, -1 for an unknown one. ``session_code [T]``: where
    sessions go by id. ``tie [T]``: orders simultaneous events, which stay as given without it.
    """

    item_idx: np.ndarray
    time_ms: np.ndarray
    action: np.ndarray
    offsets: np.ndarray
    session_code: np.ndarray | None = None
    tie: np.ndarray | None = None

    def check(self) -> None:
        """Raises: DataError if the columns have unlike lengths."""
        lengths = [len(self.item_idx), len(self.time_ms), len(self.action)]
        if set(lengths) != {int(self.offsets[-1])}:
            raise DataError(
                f"history columns ({lengths[0]} items, {lengths[1]} times, {lengths[2]} actions) "
                f"must have the {int(self.offsets[-1])} rows that their offsets say"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OrderedEvents:
    """Events of ``B`` users made like a store's: ``item_idx``, ``time_ms``, ``action`` ``[T]``.

    ``user_offsets [B+1]``, ``session_offsets [S+1]`` int64. ``dropped``: events left out because they were not past.
    """

    item_idx: np.ndarray
    time_ms: np.ndarray
    action: np.ndarray
    user_offsets: np.ndarray
    session_offsets: np.ndarray
    session_rule: SessionRule
    dropped: int

    def history(self, catalogue: Catalogue, now_ms: np.ndarray, *, max_len: int) -> History:
        """The users' histories, of the newest ``max_len`` events each."""
        start, stop = self.user_offsets[:-1], self.user_offsets[1:]
        return gather_history(self, catalogue, start, stop, now_ms, max_len=max_len)


def newest(
    events: Events, start: np.ndarray, stop: np.ndarray, max_len: int, max_sessions: int | None = None
) -> np.ndarray:
    """``[B]`` int64: where to start so that at most ``max_len`` events and ``max_sessions`` sessions are left."""
    start = np.maximum(start, stop - max_len)
    if max_sessions is not None:
        first = np.searchsorted(events.session_offsets, stop, side="left") - max_sessions
        start = np.maximum(start, np.minimum(np.asarray(events.session_offsets)[np.maximum(first, 0)], stop))
    return start


def gather_history(
    events: Events,
    catalogue: Catalogue,
    start: np.ndarray,
    stop: np.ndarray,
    now_ms: np.ndarray,
    *,
    max_len: int,
    max_sessions: int | None = None,
) -> History:
    """One history for each range ``start[b] … stop[b]-1`` of events, asked at ``now_ms[b]``; ``[B]`` each.

    The newest ``max_len`` events, of the newest ``max_sessions`` sessions, are kept; a session cut by the range's
    border begins at the border. The last session is open where the events' session rule says so.
    """
    start = newest(events, start, stop, max_len, max_sessions)
    offsets = offsets_from(stop - start)
    at = flat_index(start, stop)
    time_ms = np.asarray(events.time_ms)[at]
    filled = stop > start
    is_open = np.zeros(len(start), dtype=bool)
    if filled.any():
        is_open[filled] = events.session_rule.is_open(time_ms[offsets[1:][filled] - 1], np.asarray(now_ms)[filled])
    return History(
        item_idx=torch.from_numpy(catalogue.rows(np.asarray(events.item_idx)[at])),
        time_ms=torch.from_numpy(time_ms.astype(np.int64, copy=False)),
        action=torch.from_numpy(np.asarray(events.action[at]).astype(np.int64)),
        user_offsets=torch.from_numpy(offsets),
        session_offsets=torch.from_numpy(_session_offsets(np.asarray(events.session_offsets), start, stop, offsets)),
        now_ms=torch.from_numpy(np.array(now_ms, dtype=np.int64)),
        session_open=torch.from_numpy(is_open),
    )


def ordered_events(
    raw: RawEvents, now_ms: np.ndarray, *, session_rule: SessionRule, keep_now: bool = False
) -> OrderedEvents:
    """Raw events in a store's order and sessions. What is not before ``now_ms [B]`` is dropped and counted.

    ``keep_now`` keeps events at ``now_ms`` itself, for logs that declare the order inside an instant.

    Raises: DataError if the columns have unlike lengths.
    """
    raw.check()
    user = np.repeat(np.arange(len(raw.offsets) - 1), np.diff(raw.offsets))
    last = np.asarray(now_ms)[user]
    past = raw.time_ms <= last if keep_now else raw.time_ms < last
    order = np.lexsort((np.zeros_like(user) if raw.tie is None else raw.tie, raw.time_ms, user))
    order = order[past[order]]
    offsets = offsets_from(np.bincount(user[order], minlength=len(raw.offsets) - 1))
    time_ms = raw.time_ms[order].astype(np.int64)
    starts = session_rule.starts(offsets, time_ms, None if raw.session_code is None else raw.session_code[order])
    return OrderedEvents(
        item_idx=raw.item_idx[order],
        time_ms=time_ms,
        action=raw.action[order],
        user_offsets=offsets,
        session_offsets=np.append(np.flatnonzero(starts), len(order)).astype(np.int64),
        session_rule=session_rule,
        dropped=len(user) - len(order),
    )


def _session_offsets(borders: np.ndarray, start: np.ndarray, stop: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    first = np.searchsorted(borders, start, side="right")
    end = np.maximum(np.searchsorted(borders, stop, side="left"), first)
    begins = np.zeros(int(offsets[-1]), dtype=bool)
    begins[offsets[:-1][stop > start]] = True
    begins[borders[flat_index(first, end)] - np.repeat(start - offsets[:-1], end - first)] = True
    return np.append(np.flatnonzero(begins), offsets[-1]).astype(np.int64)
