"""How much of a log's order is order: what is left of it when each user's events are shuffled.

Two measures that know nothing but neighbours: 2-gram rules, and the hits of first-order counts on other users. Both are taken in the
given order, with all events of each user shuffled, and, as a control, with only simultaneous events shuffled: what that takes away is the
order of the file, not of time.
Source: Klenitskiy, Volodkevich, Pembek & Vasilev, RecSys 2024, arXiv:2408.12008 (rules under shuffling). Departs: hits of counts in place of
a trained model, and the control.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.seeds import numpy_generator
from hpgr.data.store import SequenceStore

# A measure with this share of itself left has little to do with order; a control with less says that the file made the order.
LITTLE_ORDER, FILE_ORDER = 0.8, 0.7
_TOP = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """``rules``: pairs of neighbours with enough support and confidence. ``hits``: share of events among the ten likeliest successors."""

    rules: float
    hits: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderAudit:
    """Of one log: in its ``given`` order, ``shuffled``, and with simultaneous events shuffled (``ties``); means over the shuffles."""

    num_users: int
    num_pairs: int
    given: Structure
    shuffled: Structure
    ties: Structure

    @property
    def rules_left(self) -> float:
        """Share of the rules that shuffling leaves; 1 where there are none."""
        return self.shuffled.rules / self.given.rules if self.given.rules else 1.0

    @property
    def hits_left(self) -> float:
        """Share of the hits that shuffling leaves; 1 where there are none."""
        return self.shuffled.hits / self.given.hits if self.given.hits else 1.0

    @property
    def ties_left(self) -> float:
        """Share of what shuffling takes from the hits that shuffling simultaneous events leaves; 1 where it takes nothing."""
        taken = self.given.hits - self.shuffled.hits
        return max(0.0, 1 - (self.given.hits - self.ties.hits) / taken) if taken > 0 else 1.0

    @property
    def weak(self) -> bool:
        """Whether there is little order in the log that a sequence model could use."""
        return self.hits_left > LITTLE_ORDER

    @property
    def of_the_file(self) -> bool:
        """Whether much of the order lies among simultaneous events, where only the file tells it."""
        return not self.weak and self.ties_left < FILE_ORDER

    @property
    def text(self) -> str:
        """For people, in one line."""
        return (
            f"shuffling each user's events leaves {self.rules_left:.0%} of {self.given.rules:,.0f} 2-gram rules and "
            f"{self.hits_left:.0%} of the first-order hits ({self.given.hits:.1%} to {self.shuffled.hits:.1%}); "
            f"shuffling simultaneous events only, hits are {self.ties.hits:.1%}"
        )


def audit_store(store: SequenceStore, *, shuffles: int = 3, seed: int = 0) -> OrderAudit:
    """Of all events of a store. Where its ties are a ``set``, simultaneous events are shuffled in what counts as given, too.

    The store keeps such events in one order of items for all users, which would pass for structure.
    """
    offsets, item, time_ms = (np.asarray(part) for part in (store.user_offsets, store.item_idx, store.time_ms))
    return audit_order(offsets, item, time_ms, ties_known=store.ties != "set", shuffles=shuffles, seed=seed)


def audit_order(
    user_offsets: np.ndarray,
    item: np.ndarray,
    time_ms: np.ndarray,
    *,
    ties_known: bool = True,
    shuffles: int = 3,
    seed: int = 0,
    support: int = 5,
    confidence: float = 0.1,
) -> OrderAudit:
    """Of ``N`` events of users end to end, each user's in order: ``user_offsets [U+1]``, ``item [N]``, ``time_ms [N]``.

    A rule is a pair of neighbouring items that occurs ``support`` times or more, and after ``confidence`` or more of the occurrences of its
    first item. Hits are of first-order counts of one half of the users on the events of the other, both ways. ``ties_known``: whether the
    given order of simultaneous events means anything.

    Raises: DataError if no user has two events.
    """
    if shuffles < 1:
        raise ConfigError(f"shuffles ({shuffles}) must be at least 1")
    lengths = np.diff(user_offsets)
    if not (lengths > 1).any():
        raise DataError("log must have a user with two events for its order to be examined; it has none")
    user, (_, item) = np.repeat(np.arange(len(lengths)), lengths), np.unique(item, return_inverse=True)
    half_U = numpy_generator(seed, "order audit halves").permutation(len(lengths)) % 2

    def measured(order: np.ndarray) -> Structure:
        return _structure(user, item[order], half_U[user], support, confidence)

    def mean_over(place: str, levels: Callable[[np.ndarray], tuple[np.ndarray, ...]]) -> Structure:
        found = []
        for i in range(shuffles):
            draw = numpy_generator(seed, "order audit", place, i).random(len(item))
            found.append(measured(np.lexsort(levels(draw))))
        return Structure(
            rules=float(np.mean([one.rules for one in found])), hits=float(np.mean([one.hits for one in found]))
        )

    ties = mean_over("ties", lambda draw: (draw, time_ms, user))
    return OrderAudit(
        num_users=int((lengths > 1).sum()),
        num_pairs=int(np.maximum(lengths - 1, 0).sum()),
        given=measured(np.arange(len(item))) if ties_known else ties,
        shuffled=mean_over("all", lambda draw: (draw, user)),
        ties=ties,
    )


def _structure(user: np.ndarray, item: np.ndarray, half: np.ndarray, support: int, confidence: float) -> Structure:
    follows = np.flatnonzero(user[1:] == user[:-1])
    size = int(item.max()) + 1
    pair, half = item[follows] * size + item[follows + 1], half[follows]
    distinct, count = np.unique(pair, return_counts=True)
    before = np.bincount(item[follows], minlength=size)
    rules = (count >= support) & (count >= confidence * before[distinct // size])
    hits = sum(_hits(pair[half == side], pair[half != side], size).sum() for side in (0, 1))
    return Structure(rules=float(rules.sum()), hits=float(hits / len(pair)))


def _hits(known: np.ndarray, asked: np.ndarray, size: int) -> np.ndarray:
    """``[asked]``: chance that the second item is among the ten commonest after the first in the ``known`` pairs, ties at random."""
    distinct, count = np.unique(known, return_counts=True)
    if not len(distinct):
        return np.zeros(len(asked))
    first = distinct // size
    order = np.lexsort((-count, first))
    begins = np.searchsorted(first, first)
    group = np.zeros(len(order), dtype=np.int64)
    group[1:] = ((first[order][1:] != first[order][:-1]) | (count[order][1:] != count[order][:-1])).cumsum()
    starts = np.searchsorted(group, np.arange(group[-1] + 1))
    above, tied = np.empty(len(order), dtype=np.int64), np.empty(len(order), dtype=np.int64)
    above[order] = starts[group] - begins[order]
    tied[order] = np.bincount(group)[group]
    chance = np.clip(_TOP - above, 0, tied) / tied
    at = np.minimum(np.searchsorted(distinct, asked), len(distinct) - 1)
    return np.where(distinct[at] == asked, chance[at], 0.0)
