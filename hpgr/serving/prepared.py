"""A question on its way through the engine."""

from __future__ import annotations

import numpy as np

from hpgr.serving.asked import Told
from hpgr.serving.narrowing import Narrowed
from hpgr.serving.questions import Question


class Prepared:
    """``trust`` in the model, 0 for nobody's history; ``items`` and ``score`` once they are found."""

    __slots__ = ("items", "narrowed", "question", "ranks", "score", "told", "trust")

    def __init__(self, question: Question, told: Told, narrowed: Narrowed, ranks: bool, trust: float) -> None:
        self.question, self.told, self.narrowed, self.ranks, self.trust = question, told, narrowed, ranks, trust
        self.items: np.ndarray | None = None
        self.score: np.ndarray | None = None

    @property
    def most(self) -> int:
        """How many items are retrieved."""
        wanted = self.question.k or 0
        return (
            max(self.question.pool, wanted)
            if self.ranks or self.question.diversity or self.question.variety
            else wanted
        )

    @property
    def plain(self) -> bool:
        """Whether nothing but the model says which items are retrieved."""
        return self.trust >= 1 and self.narrowed.allowed is None and not len(self.narrowed.boosted)
