"""What one question of ``recommend`` gives: items in order, reasons where they are asked for, and what nobody knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from hpgr.answering.answerer import Answerer, Wanted
from hpgr.api.explaining import explain
from hpgr.data.asked_histories import AskedHistories


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendations:
    """``table``: ``user_id, item_id, score, rank``. What could not be answered is named: ``unknown_users``,
    ``unknown_items`` (in histories), ``unknown_candidates``; ``dropped`` events were not before the moment asked about.
    ``explanations``: see ``hpgr.api.explaining``; None unless asked for."""

    table: pl.DataFrame
    unknown_users: tuple[Any, ...] = ()
    unknown_items: tuple[Any, ...] = ()
    unknown_candidates: tuple[Any, ...] = ()
    dropped: int = 0
    explanations: pl.DataFrame | None = None


def recommendations(
    answerer: Answerer, asked: AskedHistories, wanted: Wanted, *, explained_events: int = 0
) -> Recommendations:
    """The answer for every user of ``asked``. ``explained_events``: of the history, to explain each item by; 0: none."""
    table = answerer.answer(asked, wanted) if len(asked.users) else _nothing(asked, answerer)
    explanations = None
    if explained_events:
        by_rank = answerer.ranks(wanted)
        explanations = explain(answerer, asked, table, events=explained_events, by_rank=by_rank)
    unknown = () if wanted.candidates is None else answerer.candidate_rows(wanted.candidates)[1]
    return Recommendations(
        table=table,
        unknown_users=asked.unknown_users,
        unknown_items=asked.unknown_items,
        unknown_candidates=unknown,
        dropped=asked.dropped,
        explanations=explanations,
    )


def _nothing(asked: AskedHistories, answerer: Answerer) -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            "user_id": asked.users.dtype,
            "item_id": answerer.clock.items.ids.dtype,
            "score": pl.Float64,
            "rank": pl.Int64,
        }
    )
