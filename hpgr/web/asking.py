"""How the page asks the engine: of a bare history, as ``/v1/recommend`` would, so that what it shows is what the service answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import HpgrError
from hpgr.serving.asked import Told
from hpgr.serving.engine import Engine
from hpgr.serving.events import ItemId, Mark, Stored, UserLog
from hpgr.serving.questions import Answer, Question
from hpgr.serving.user_history import UserHistory
from hpgr.web.messages import Ask
from hpgr.web.people import Past

_AT_ONCE = 8
_POOL = 200
_MARK = Mark("page", 0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Arranged:
    """``order``: the events as the model meets them, ``history`` in step with it; ``first_read``: where ``max_len`` begins."""

    order: list[Stored]
    told: Told
    first_read: int

    @classmethod
    def of(cls, engine: Engine, past: Past) -> Arranged:
        """The past in sessions."""
        events = list(past.events)
        raw = engine.reading.raw(events)
        order = np.lexsort((np.zeros(len(events)) if raw.tie is None else raw.tie, raw.time_ms))
        history = UserHistory.of(UserLog(mark=_MARK, rows=events, whole=True), engine.reading)
        kept = [events[i] for i in order[len(events) - len(history) :]]
        told = Told.until(history, past.at_ms)
        return cls(order=kept, told=told, first_read=max(0, told.length - engine.answerer.max_len))

    @property
    def session_of(self) -> np.ndarray:
        """``[T]``: the session of each event, from 0."""
        offsets = self.told.history.session_offsets
        return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def question(past: Past, ask: Ask, candidates: tuple[ItemId, ...] | None, k: int | None = None) -> Question:
    """The ``k`` best of the ``candidates``, by default of all; ``k`` None: every candidate, seen or not."""
    return Question(
        events=past.events,
        at_ms=past.at_ms,
        k=k,
        candidates=candidates,
        exclude_seen=ask.exclude_seen and k is not None,
        by=ask.by,
    )


def popular(engine: Engine) -> tuple[ItemId, ...]:
    """The items chosen most often in training: what a model is asked about that cannot retrieve."""
    catalogue = engine.answerer.catalogue
    rows = catalogue.store_rows()[np.argsort(-catalogue.train_count, kind="stable")[:_POOL]]
    return tuple(engine.reading.ids[row] for row in rows if row >= 0)


def answers(engine: Engine, questions: list[Question]) -> list[Answer]:
    """A few at a time, so that long histories do not fill the memory.

    Raises: the error of the first that has none.
    """
    found: list[Answer] = []
    for start in range(0, len(questions), _AT_ONCE):
        for one in engine.answer(questions[start : start + _AT_ONCE], engine.log.end_ms):
            if isinstance(one, HpgrError):
                raise one
            found.append(one)
    return found
