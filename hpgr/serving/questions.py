"""What is asked of the engine and what it answers, in the user's own ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hpgr.answering.answerer import By
from hpgr.serving.events import ItemId, Stored

Source = Literal["model", "blend", "prior"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """For ``user``, or for a bare history of ``events``; at ``at_ms``, by default now, or just after the bare history.

    ``untimed``: the events' times only tell their order. ``k`` None: every candidate. ``available``, ``categories``: only such
    items. ``diversity`` in [0, 1]: how much likeness to items already chosen counts against an item; or ``variety``, as in
    ``Wanted``, where it is 0. ``weights``: what an item's odds are multiplied with; 0 leaves it out. The rest as in ``Wanted``.
    """

    user: str | None = None
    events: tuple[Stored, ...] = ()
    untimed: bool = False
    at_ms: int | None = None
    k: int | None = 10
    exclude_seen: bool = False
    candidates: tuple[ItemId, ...] | None = None
    by: By = "auto"
    pool: int = 200
    available: tuple[ItemId, ...] | None = None
    categories: tuple[str, ...] = ()
    diversity: float = 0.0
    variety: float = 0.0
    weights: tuple[tuple[ItemId, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """``items`` with scores, best first; the score of an item that nothing could score is None.

    ``source``: the model, the prior for who has no history, or a blend for who has a short one. ``history_length``: events
    before ``at_ms`` that were known; ``dropped_events`` were not before it.
    """

    items: list[tuple[ItemId, float | None]]
    source: Source
    ordered_by: Literal["rank", "retrieve"]
    at_ms: int
    history_length: int
    dropped_events: int
    unknown_items: tuple[ItemId, ...]
    unknown_candidates: tuple[ItemId, ...]
    fingerprint: str
