"""The self-test of a bundle before it may answer: histories made of its own items, and what must be true of the answers."""

from __future__ import annotations

import math

from hpgr.core.errors import DataError, HpgrError
from hpgr.serving.engine import Engine
from hpgr.serving.events import Stored
from hpgr.serving.questions import Answer, Question

_LENGTHS = (0, 1, 7, 60)
_K = 5


def self_test(engine: Engine) -> None:
    """Ask about histories of several lengths, together and one by one.

    Raises: DataError if an answer is missing, short, not finite, or depends on its neighbours.
    """
    questions = [_question(engine, length) for length in _LENGTHS]
    together = engine.answer(questions, engine.log.end_ms)
    alone = [engine.answer([question], engine.log.end_ms)[0] for question in questions]
    for length, question, answer, other in zip(_LENGTHS, questions, together, alone):
        what = f"self-test of bundle {engine.fingerprint} with {length} events"
        if isinstance(answer, HpgrError) or isinstance(other, HpgrError):
            raise DataError(f"{what} must be answered; {answer if isinstance(answer, HpgrError) else other}")
        wanted = min(_K, len(engine.answerer.catalogue), len(question.candidates or engine.reading.ids))
        scores = _scores(answer)
        if len(scores) < wanted or not all(map(math.isfinite, scores)):
            raise DataError(f"{what} must give {wanted} items with finite scores; gave {scores}")
        if any(abs(a - b) > 1e-3 * max(1.0, abs(b)) for a, b in zip(scores, _scores(other))):
            raise DataError(f"{what} must not depend on what is asked beside it; gave {scores}, alone {_scores(other)}")


def _question(engine: Engine, length: int) -> Question:
    ids, catalogue = engine.reading.ids, engine.answerer.catalogue.store_rows()
    rows = catalogue[catalogue >= 0]
    events = tuple(
        Stored(i + 1, engine.log.end_ms - 60_000 * (length - i), ids[rows[i * 7 % len(rows)]], None, None)
        for i in range(length)
    )
    only_ranks = not hasattr(engine.answerer.frame, "scores")
    candidates = tuple(ids[row] for row in rows[: 2 * _K]) if only_ranks else None
    return Question(events=events, at_ms=engine.log.end_ms, k=_K, candidates=candidates)


def _scores(answer: Answer) -> list[float]:
    return [math.nan if score is None else score for _, score in answer.items]
