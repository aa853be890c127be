"""Why an item was recommended: the events it reads by preference, their sessions and weights, and the score without each."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from hpgr.answering.answerer import Answerer
from hpgr.answering.preference import preference
from hpgr.core.batch import Candidates, History
from hpgr.data.asked_histories import AskedHistories
from hpgr.data.candidate_lists import Lists
from hpgr.data.history import OrderedEvents


@torch.no_grad()
def explain(
    answerer: Answerer, asked: AskedHistories, table: pl.DataFrame, *, events: int = 5, by_rank: bool
) -> pl.DataFrame:
    """For each recommended row the ``events`` history events that matter most by the model's own account.

    ``user_id, item_id, rank, event_item_id, event_time_ms, session`` (from the oldest that the model reads, from 1),
    ``weight`` (the selection's gate; null where the model selects nothing and the newest events are listed instead),
    ``score``, ``score_without`` (the item's score if that event had not happened) and ``change`` (what the event adds; null for
    an item that has no score).
    """
    pieces = []
    for b, user in enumerate(asked.users):
        mine = table.filter(pl.col("user_id") == user)
        if len(mine):
            pieces.append(_one_user(answerer, asked, b, mine, events, by_rank))
    return pl.concat(pieces) if pieces else pl.DataFrame()


def _one_user(
    answerer: Answerer, asked: AskedHistories, b: int, mine: pl.DataFrame, events: int, by_rank: bool
) -> pl.DataFrame:
    items = answerer.clock.items.rows(mine["item_id"])
    start = max(int(asked.start[b]), int(asked.stop[b]) - answerer.max_len)
    history, candidates = answerer.batch(asked, _lists(asked, [b], items))
    picked = _picked(answerer, history, candidates, events)
    score = answerer.scored(history, candidates, by_rank=by_rank)
    session = history.session_of_event().numpy() + 1
    rows = []
    for event in sorted({at for chosen in picked for at, _ in chosen}):
        without = answerer.scored(*_batch_without(answerer, asked, b, start + event, items), by_rank=by_rank)
        for c, chosen in enumerate(picked):
            for at, weight in chosen:
                if at == event:
                    rows.append((c, at, weight, float(score[c]), float(without[c])))
    place = {(c, at): n for c, chosen in enumerate(picked) for n, (at, _) in enumerate(chosen)}
    rows.sort(
        key=lambda row: (row[0], row[4] - row[3] if row[2] is None and np.isfinite(row[3]) else 0.0, place[row[:2]])
    )
    places = np.array([start + row[1] for row in rows], dtype=np.int64)
    chosen_rows = mine[[row[0] for row in rows]]
    return pl.DataFrame(
        [
            chosen_rows["user_id"],
            chosen_rows["item_id"],
            chosen_rows["rank"],
            _ids(answerer, np.asarray(asked.events.item_idx)[places]),
            pl.Series("event_time_ms", np.asarray(asked.events.time_ms)[places].astype(np.int64)),
            pl.Series("session", [int(session[row[1]]) for row in rows], dtype=pl.Int64),
            pl.Series("weight", [row[2] for row in rows], dtype=pl.Float64),
            pl.Series("score", [row[3] for row in rows], dtype=pl.Float64),
            pl.Series("score_without", [row[4] for row in rows], dtype=pl.Float64),
            pl.Series("change", [row[3] - row[4] if np.isfinite(row[3]) else None for row in rows], dtype=pl.Float64),
        ]
    )


def _picked(
    answerer: Answerer, history: History, candidates: Candidates, events: int
) -> list[list[tuple[int, float | None]]]:
    """For each candidate ``(event, weight)`` of the strongest selected events, of equal ones the most similar, then the newest; or
    of the newest without weights."""
    found = preference(answerer.frame, history, candidates)
    if found is None:
        newest = range(max(0, history.num_events - events), history.num_events)
        return [[(event, None) for event in newest] for _ in range(candidates.num_candidates)]
    columns = (found.gate_CW, found.similarity_CW, found.rows_CW)
    ranked = [
        sorted(zip(*of_one), reverse=True) for of_one in zip(*(column.tolist() for column in columns), strict=True)
    ]
    return [[(row, gate) for gate, _, row in listed if row >= 0][:events] for listed in ranked]


def _lists(asked: AskedHistories, rows: list[int], items: np.ndarray) -> Lists:
    at = np.array(rows)
    return Lists(
        start=asked.start[at],
        stop=asked.stop[at],
        now_ms=asked.now_ms[at],
        item_rows=items,
        offsets=np.array([0, len(items)], dtype=np.int64),
    )


def _batch_without(
    answerer: Answerer, asked: AskedHistories, b: int, event: int, items: np.ndarray
) -> tuple[History, Candidates]:
    """The same question with one event left out; sessions keep their borders."""
    at = np.arange(int(asked.start[b]), int(asked.stop[b]))
    kept = at[at != event]
    borders = np.asarray(asked.events.session_offsets)
    session = np.searchsorted(borders, kept, side="right")
    begins = np.flatnonzero(np.diff(session, prepend=-1))
    events = OrderedEvents(
        item_idx=np.asarray(asked.events.item_idx)[kept],
        time_ms=np.asarray(asked.events.time_ms)[kept],
        action=np.asarray(asked.events.action[kept]),
        user_offsets=np.array([0, len(kept)], dtype=np.int64),
        session_offsets=np.append(begins, len(kept)).astype(np.int64),
        session_rule=asked.events.session_rule,
        dropped=0,
    )
    one = AskedHistories(
        events=events,
        users=asked.users[b : b + 1],
        start=np.zeros(1, dtype=np.int64),
        stop=np.array([len(kept)]),
        now_ms=asked.now_ms[b : b + 1],
    )
    return answerer.batch(one, _lists(one, [0], items))


def _ids(answerer: Answerer, rows: np.ndarray) -> pl.Series:
    """Ids of clock rows; null for an item that no log of the model holds."""
    known = answerer.clock.items.at(np.maximum(rows, 0))
    return pl.select(pl.when(pl.Series(rows >= 0)).then(known).otherwise(None)).to_series().rename("event_item_id")
