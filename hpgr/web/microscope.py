"""One user under the microscope: the history as the model reads it, and the answer to it."""

from __future__ import annotations

from typing import Any

from hpgr.serving.engine import Engine
from hpgr.version import __version__
from hpgr.web.asking import Arranged, answers, popular, question
from hpgr.web.messages import Ask
from hpgr.web.names import Names
from hpgr.web.people import Past

_SHOWN = 400


def about(engine: Engine, names: Names) -> dict[str, Any]:
    """What the page says at its head."""
    return {
        "model": engine.model,
        "fingerprint": engine.fingerprint,
        "version": __version__,
        "num_items": len(engine.reading.ids),
        "has_titles": names.has_titles,
    }


def look(engine: Engine, names: Names, past: Past, ask: Ask) -> dict[str, Any]:
    """The timeline and the list: ``events`` (the newest ones, in order) and ``items``, with what is to be said of the answer.

    A model that only ranks is asked about the most popular items. Raises: what the engine answers with.
    """
    now = past.changed(ask.removed, ask.added)
    arranged = Arranged.of(engine, now)
    retrieves, catalogue = hasattr(engine.answerer.frame, "scores"), engine.answerer.catalogue
    candidates = None if retrieves else popular(engine)
    answer = answers(engine, [question(now, ask, candidates, ask.k)])[0]
    session, hidden = arranged.session_of, max(0, len(arranged.order) - _SHOWN)
    learnt = catalogue.rows(arranged.told.history.item_rows) < len(catalogue)
    events = [
        names.of(event.item)
        | {
            "seq": event.seq,
            "time_ms": event.time_ms,
            "action": event.action,
            "session": int(session[i]),
            "read": i >= arranged.first_read,
            "learnt": bool(learnt[i]),
        }
        for i, event in enumerate(arranged.order)
    ]
    return {
        "user_id": None if ask.user_id is None else str(ask.user_id),
        "from": past.source,
        "model": engine.model,
        "fingerprint": engine.fingerprint,
        "at_ms": past.at_ms,
        "source": answer.source,
        "ordered_by": answer.ordered_by,
        "ranks": hasattr(engine.answerer.frame, "logits"),
        "retrieves": retrieves,
        "learnt_from_shown": engine.answerer.learnt_from_shown,
        "num_events": len(arranged.order),
        "older": hidden,
        "max_len": engine.answerer.max_len,
        "categories": names.categories,
        "has_titles": names.has_titles,
        "events": events[hidden:],
        "items": [
            names.of(item) | {"score": score, "rank": rank} for rank, (item, score) in enumerate(answer.items, start=1)
        ],
    }
