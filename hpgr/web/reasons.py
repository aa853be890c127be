"""Why an item stands where it does: the model's own mask over the history, and its score without each event and each session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpgr.answering.preference import PreferenceMask, preference_mask
from hpgr.core.errors import DataError, UnsupportedError
from hpgr.data.candidate_lists import Lists
from hpgr.serving.asked import asked_histories
from hpgr.serving.engine import Engine
from hpgr.serving.questions import Answer
from hpgr.web.asking import Arranged, answers, question
from hpgr.web.messages import Explain
from hpgr.web.names import Names
from hpgr.web.people import Past

_EVENTS_MEASURED, _SESSIONS_MEASURED = 16, 12


def explain(engine: Engine, names: Names, past: Past, ask: Explain) -> dict[str, Any]:
    """What the model looked at for one item: ``events`` with ``similarity, chosen, gate, change`` by ``seq``, and ``sessions``.

    ``gate``: in [0, 1], how strongly preference lifts the event; None for a model that selects nothing. ``change``: what the
    item's score loses without the event, among those that the model reads: where the history is longer, an older event would take
    its place, and that is not its effect. None where it was not measured, or where too little history would be left to say.

    Raises: DataError for an item that the log does not hold; what the engine answers with.
    """
    row = engine.reading.row(ask.item_id)
    if row < 0:
        raise DataError(f"item_id ({ask.item_id}) must be an item that the model's log holds")
    now = past.changed(ask.removed, ask.added)
    arranged = Arranged.of(engine, now)
    answer = answers(engine, [question(now, ask, (ask.item_id,))])[0]
    mask, similarity = _mask(engine, arranged, row)
    read = range(arranged.first_read, arranged.told.length)
    gate = {i: float(mask.gate_T[i - read.start]) for i in read} if mask is not None else {}
    first = sorted(read, key=lambda i: (gate.get(i, 0.0), similarity.get(i, 0.0), i), reverse=True)
    session = arranged.session_of
    some = list(dict.fromkeys(session[read.start : read.stop][::-1].tolist()))[:_SESSIONS_MEASURED]
    groups = [[i] for i in first[:_EVENTS_MEASURED]] + [np.flatnonzero(session == s).tolist() for s in some]
    window = Past(events=tuple(arranged.order[i] for i in read), at_ms=now.at_ms, source=now.source)
    change = _changes(engine, window, ask, [[arranged.order[i].seq for i in group] for group in groups])
    of_event = dict(zip(first[:_EVENTS_MEASURED], change))
    of_session = dict(zip(some, change[len(of_event) :]))
    total = sum(gate.values())
    events = [
        {
            "seq": arranged.order[i].seq,
            "similarity": similarity.get(i),
            "chosen": None if mask is None else bool(mask.chosen_T[i - read.start]),
            "gate": gate.get(i),
            "change": of_event.get(i),
        }
        for i in read
    ]
    sessions = [
        {
            "seqs": [arranged.order[i].seq for i in read if session[i] == s],
            "share": sum(gate.get(i, 0.0) for i in read if session[i] == s) / total if total else None,
            "change": of_session.get(s),
        }
        for s in dict.fromkeys(session[read.start : read.stop].tolist())
    ]
    return names.of(ask.item_id) | {
        "score": answer.items[0][1] if answer.items else None,
        "source": answer.source,
        "ordered_by": answer.ordered_by,
        "selects": mask is not None,
        "only": mask is not None and mask.only,
        "cold": bool(engine.answerer.catalogue.rows(np.array([row]))[0] >= len(engine.answerer.catalogue)),
        "most_chosen": None if mask is None else mask.most,
        "events": events,
        "sessions": sessions,
    }


def _changes(engine: Engine, window: Past, ask: Explain, groups: Sequence[Sequence[int]]) -> list[float | None]:
    """What the item's score loses without each group of the events that are read; no older event comes in for them."""
    pasts = [window, *(window.changed(group, ()) for group in groups)]
    score, *without = map(_score, answers(engine, [question(past, ask, (ask.item_id,)) for past in pasts]))
    return [None if score is None or one is None else score - one for one in without]


def _score(answer: Answer) -> float | None:
    """Of the only item, where the model alone says it."""
    return answer.items[0][1] if answer.items and answer.source == "model" else None


def _mask(engine: Engine, arranged: Arranged, row: int) -> tuple[PreferenceMask | None, dict[int, float]]:
    """The mask over what is read, and the likeness of each event that has one, by place in the order."""
    first = arranged.first_read
    if arranged.told.length == first:
        return None, {}
    asked = asked_histories([arranged.told], engine.reading.rule, engine.answerer.max_len)
    lists = Lists(
        start=asked.start,
        stop=asked.stop,
        now_ms=asked.now_ms,
        item_rows=np.array([row]),
        offsets=np.array([0, 1], dtype=np.int64),
    )
    history, candidates = engine.answerer.batch(asked, lists)
    mask = preference_mask(engine.answerer.frame, history, candidates)
    if mask is not None:
        return mask, {first + i: float(value) for i, value in enumerate(mask.similarity_T)}
    try:
        vectors = engine.shelf.likeness
    except UnsupportedError:
        return None, {}
    rows = engine.shelf.places(arranged.told.seen[first:])
    alike = vectors[rows] @ vectors[engine.shelf.places(np.array([row]))[0]]
    return None, {first + i: float(value) for i, value in enumerate(alike)}
