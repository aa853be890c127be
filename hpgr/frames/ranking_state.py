"""Histories as a ranker keeps them between requests: what happened, and what candidates read of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import DataError
from hpgr.encoders.hstu_memory import Memory

_COLUMNS = ("item_idx", "time_ms", "action", "user_offsets", "session_offsets", "now_ms", "session_open")


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What one user did: an item of the catalogue (``V``: one outside it), when, how, and whether a session begins."""

    item_idx: int
    time_ms: int
    action: int = 0
    new_session: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RankingState:
    """A ``History``, the item vectors that preference selection compares, and the layers' keys and values.

    What is kept is of one user; states of several are put ``together`` to be asked at once. ``query_BD``: what a first stage
    asks of candidates, where it tells the ranker anything. Never changed: what appends gives another. Made of tensors
    alone, so that it is written without pickle.
    """

    history: History
    signal_TD: Tensor
    memory: Memory
    query_BD: Tensor | None = None

    @property
    def num_events(self) -> int:
        return self.history.num_events

    @property
    def num_bytes(self) -> int:
        """What its tensors take in memory."""
        columns = [getattr(self.history, name) for name in _COLUMNS]
        asked = [] if self.query_BD is None else [self.query_BD]
        tensors = [*columns, self.signal_TD, *self.memory.keys, *self.memory.values, *asked]
        return sum(x.numel() * x.element_size() for x in tensors)

    @classmethod
    def together(cls, states: Sequence[RankingState]) -> RankingState:
        """One state of all their users, in their order."""
        if len(states) == 1:
            return states[0]
        layers = range(len(states[0].memory.keys))
        keys, values = (
            tuple(_end_to_end([getattr(state.memory, kind)[depth] for state in states]) for depth in layers)
            for kind in ("keys", "values")
        )
        queries = [state.query_BD for state in states if state.query_BD is not None]
        return cls(
            history=History.together([state.history for state in states]),
            signal_TD=torch.cat([state.signal_TD for state in states]),
            memory=Memory(keys, values),
            query_BD=torch.cat(queries) if queries else None,
        )

    def of_user(self, user: int) -> RankingState:
        """That of one of its users, with memory of its own."""
        start, stop = self.history.user_offsets[user : user + 2].tolist()
        keys, values = (tuple(x[start:stop] for x in kept) for kept in (self.memory.keys, self.memory.values))
        return RankingState(
            history=self.history.of_user(user),
            signal_TD=self.signal_TD[start:stop].clone(),
            memory=Memory(keys, values).by_head(),
            query_BD=None if self.query_BD is None else self.query_BD[user : user + 1].clone(),
        )

    def tensors(self) -> dict[str, Tensor]:
        """By name, contiguous, as a safetensors file takes them."""
        columns = {name: getattr(self.history, name) for name in _COLUMNS}
        layers = {
            f"{kind}.{depth}": x_THK
            for kind, kept in (("keys", self.memory.keys), ("values", self.memory.values))
            for depth, x_THK in enumerate(kept)
        }
        asked = {} if self.query_BD is None else {"query": self.query_BD}
        return {name: x.contiguous() for name, x in (columns | {"signal": self.signal_TD} | asked | layers).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> RankingState:
        """The state that ``tensors`` came from.

        Raises: DataError where one is missing.
        """
        missing = [name for name in (*_COLUMNS, "signal", "keys.0", "values.0") if name not in tensors]
        if missing:
            raise DataError(f"tensors (without {', '.join(missing)}) must be those of a ranking state")
        num_layers = sum(name.startswith("keys.") for name in tensors)
        keys, values = (tuple(tensors[f"{kind}.{depth}"] for depth in range(num_layers)) for kind in ("keys", "values"))
        columns: dict[str, Any] = {name: tensors[name] for name in _COLUMNS}
        return cls(
            history=History(**columns),
            signal_TD=tensors["signal"],
            memory=Memory(keys, values).by_head(),
            query_BD=tensors.get("query"),
        )


def with_event(history: History, event: Event) -> History:
    """One user's history with an event more, asked right after it.

    Raises: DataError for an event from before the newest one, or histories of several users.
    """
    if history.num_users != 1:
        raise DataError(f"history (of {history.num_users} users) must be that of one user")
    newest = int(history.time_ms[-1]) if history.num_events else None
    if newest is not None and event.time_ms < newest:
        raise DataError(f"event time_ms ({event.time_ms}) must not lie before the newest event, which came at {newest}")
    count = history.num_events + 1

    def grown(old: Tensor, value: int) -> Tensor:
        return torch.cat([old, old.new_tensor([value])])

    begins = event.new_session or not history.num_events
    borders = history.session_offsets
    return replace(
        history,
        item_idx=grown(history.item_idx, event.item_idx),
        time_ms=grown(history.time_ms, event.time_ms),
        action=grown(history.action, event.action),
        user_offsets=history.user_offsets.new_tensor([0, count]),
        session_offsets=grown(borders if begins else borders[:-1], count),
        now_ms=history.now_ms.new_tensor([event.time_ms]),
        session_open=torch.ones_like(history.session_open),
    )


def some(candidates: Candidates, start: int, stop: int) -> Candidates:
    """The candidates ``start … stop - 1``; users whose candidates lie elsewhere have none."""
    rows = slice(start, stop)
    return Candidates(
        item_idx=candidates.item_idx[rows],
        time_ms=candidates.time_ms[rows],
        offsets=candidates.offsets.clamp(start, stop) - start,
        features=candidates.features[rows],
    )


def _end_to_end(parts: Sequence[Tensor]) -> Tensor:
    """``[T, H, K]``, laid out by head as its parts are."""
    return torch.cat([x_THK.transpose(0, 1) for x_THK in parts], 1).transpose(0, 1)
