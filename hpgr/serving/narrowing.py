"""Which items may be answered with: availability, categories, what was seen, weights of 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import UnknownNameError, UnsupportedError
from hpgr.data.item_clock import ItemClock
from hpgr.serving.events import ItemId
from hpgr.serving.questions import Question
from hpgr.serving.reading import Reading


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Narrowed:
    """By rows of the bundle's log: ``allowed [V_store]`` bool, None for all; ``boosted`` rows with ``log_weight`` each.

    ``candidates``: rows in the order asked, None for the whole catalogue; ``unknown``: ids that the log does not hold.
    """

    allowed: np.ndarray | None
    candidates: np.ndarray | None
    boosted: np.ndarray
    log_weight: np.ndarray
    unknown: tuple[ItemId, ...]


class Narrowing:
    """Turns the ids and names of a question into rows."""

    def __init__(self, reading: Reading, clock: ItemClock) -> None:
        self.reading, self.clock = reading, clock

    def of(self, question: Question, seen: np.ndarray) -> Narrowed:
        """``seen``: rows of the user's own history, -1 for unknown ones.

        Raises: UnknownNameError or UnsupportedError for categories that the bundle does not have.
        """
        size = len(self.reading.ids)
        unknown: tuple[ItemId, ...] = ()
        allowed, candidates = None, None
        if question.candidates is not None:
            candidates, unknown = self.reading.rows(question.candidates)
        if question.available is not None:
            rows, missing = self.reading.rows(question.available)
            unknown = tuple(dict.fromkeys((*unknown, *missing)))
            allowed = np.zeros(size, dtype=bool)
            allowed[rows] = True
        if question.categories:
            inside = self._in_categories(question.categories)
            allowed = inside if allowed is None else allowed & inside
        if question.exclude_seen:
            allowed = np.ones(size, dtype=bool) if allowed is None else allowed
            allowed[seen[seen >= 0]] = False
        boosts = {self.reading.row(item): weight for item, weight in question.weights}
        boosts.pop(-1, None)
        if 0.0 in boosts.values():
            allowed = np.ones(size, dtype=bool) if allowed is None else allowed
            allowed[[row for row, weight in boosts.items() if weight == 0]] = False
        boosts = {row: weight for row, weight in boosts.items() if weight > 0}
        return Narrowed(
            allowed=allowed,
            candidates=candidates if candidates is None or allowed is None else candidates[allowed[candidates]],
            boosted=np.fromiter(boosts.keys(), dtype=np.int64, count=len(boosts)),
            log_weight=np.log(np.fromiter(boosts.values(), dtype=np.float64, count=len(boosts))),
            unknown=unknown,
        )

    def _in_categories(self, names: tuple[str, ...]) -> np.ndarray:
        known, listed = self.clock.category_names, self.clock.categories
        if known is None or listed is None:
            raise UnsupportedError(
                "categories must be in the bundle, and this one has none; prepare the log with --items and train again"
            )
        numbers = known.rows(list(names))
        for name in np.array(names)[numbers < 0]:
            raise UnknownNameError.of("category", str(name), known.ids.cast(str).to_list())
        hit = np.isin(np.asarray(listed.values), numbers)
        owner = np.repeat(np.arange(len(self.reading.ids)), np.diff(np.asarray(listed.offsets)))
        inside = np.zeros(len(self.reading.ids), dtype=bool)
        inside[owner[hit]] = True
        return inside
