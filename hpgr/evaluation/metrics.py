"""Ranking metrics of a query, exact in expectation over random tie-breaking, for one target or several.

``G`` is a query's target set, ``r`` a target's rank in the full list of eligible items, ``K`` the depth:

- ``HitRate@K``: probability that at least one target stands in the first K.
- ``Recall@K``: mean over targets of ``1[r <= K]``. ``Precision@K``: number of targets in the first K, over K.
- ``NDCG@K``: sum over targets of ``1[r <= K] / log2(r + 1)``, over the best sum that ``min(K, |G|)`` targets can have.
- ``MRR@K``: ``1 / r`` of the first target if it stands in the first K, else 0.
- ``MAP@K``: sum over targets with ``r <= K`` of (targets at rank <= r) / r, over ``min(K, |G|)``.

A target that cannot be recommended (``RankCounts.missed``) stays in ``G`` and is a miss.
Source: Järvelin & Kekäläinen, TOIS 2002 (NDCG); McSherry & Najork, ECIR 2008 (metrics with tied scores).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hpgr.core.errors import ConfigError, DataError, UnknownNameError
from hpgr.evaluation.ranks import RankCounts


@dataclass(frozen=True, slots=True)
class Metric:
    """A ranking metric and its depth, as in ``NDCG@10``.

    >>> Metric.parse("NDCG@10").name
    'NDCG@10'
    """

    kind: str
    k: int

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise UnknownNameError.of("metric", self.kind, _KINDS)
        if self.k < 1:
            raise ConfigError(f"depth of {self.kind} ({self.k}) must be at least 1")

    @classmethod
    def parse(cls, text: str) -> Metric:
        """The metric that ``text`` names; case does not matter and ``HR`` is ``HitRate``.

        Raises: UnknownNameError with the nearest name; ConfigError where the depth is missing or below 1.
        """
        match = re.fullmatch(r"\s*([A-Za-z]+)\s*(?:@\s*(\d+))?\s*", text)
        if match is None:
            raise ConfigError(f"metric ({text}) must be a name and a depth, as in NDCG@10")
        spelt = {kind.lower(): kind for kind in _KINDS} | {"hr": "HitRate"}
        kind = spelt.get(match[1].lower(), match[1])
        if kind in _KINDS and match[2] is None:
            raise ConfigError(f"metric ({text}) must say its depth, as in {kind}@10")
        return cls(kind, int(match[2] or 1))

    @property
    def name(self) -> str:
        return f"{self.kind}@{self.k}"


def per_query(counts: RankCounts, metrics: Sequence[Metric | str]) -> dict[str, np.ndarray]:
    """``[Q]`` float64 values of each metric, by its name."""
    ties = _Ties.of(counts)
    chosen = [m if isinstance(m, Metric) else Metric.parse(m) for m in metrics]
    return {m.name: _KINDS[m.kind](ties, m.k) for m in chosen}


def per_user(users: Sequence[object] | pl.Series | np.ndarray, values: dict[str, np.ndarray]) -> pl.DataFrame:
    """One row a user: ``user_id``, ``num_queries`` and the mean of each metric over the user's queries; by ``user_id``.

    ``users [Q]`` are ids of any one type. NaN means that a query has no value; a user without any gets null.
    """
    ids = pl.Series("user_id", users)
    for name, column in values.items():
        if len(column) != len(ids):
            raise DataError(f"{name} ({len(column)} values) must have one value for each query ({len(ids)})")
    frame = pl.DataFrame([ids, *(pl.Series(name, column).fill_nan(None) for name, column in values.items())])
    means = [pl.col(name).mean() for name in values]
    return frame.group_by("user_id").agg(pl.len().cast(pl.Int64).alias("num_queries"), *means).sort("user_id")


@dataclass(frozen=True, slots=True)
class _Ties:
    """Of each target: its query, items above, size of its tie group, targets in that group, targets above it."""

    num_queries: int
    query: np.ndarray
    above: np.ndarray
    size: np.ndarray
    mates: np.ndarray
    targets_above: np.ndarray
    num_targets_Q: np.ndarray

    @classmethod
    def of(cls, counts: RankCounts) -> _Ties:
        """Two targets of a query are tied exactly when equally many items stand above them."""
        query = counts.query_of_target()
        order = np.lexsort((counts.better, query))
        sorted_query, sorted_better = query[order], counts.better[order]
        new = np.ones(len(query), dtype=bool)
        new[1:] = (sorted_query[1:] != sorted_query[:-1]) | (sorted_better[1:] != sorted_better[:-1])
        starts = np.flatnonzero(new)
        group = np.cumsum(new) - 1
        mates, targets_above = np.empty(len(query), np.int64), np.empty(len(query), np.int64)
        mates[order] = np.diff(np.append(starts, len(query)))[group]
        targets_above[order] = starts[group] - counts.offsets[sorted_query]
        lengths = np.diff(counts.offsets)
        return cls(counts.num_queries, query, counts.better, counts.tied + 1, mates, targets_above, lengths)

    def total(self, value_N: np.ndarray) -> np.ndarray:
        """``[Q]`` sums over each query's targets."""
        return np.bincount(self.query, weights=value_N, minlength=self.num_queries)

    def places(self, k: int) -> np.ndarray:
        """``[N]`` places of each target's tie group that lie in the first ``k``."""
        return np.clip(k - self.above, 0, self.size)


def _sums(terms: np.ndarray, ties: _Ties, k: int) -> np.ndarray:
    """``[N]``: sum of ``terms[r-1]`` over the ranks ``r <= k`` of each target's tie group."""
    table = np.concatenate([[0.0], terms.cumsum()])
    first = np.minimum(ties.above, k)
    return table[first + ties.places(k)] - table[first]


def _recall(ties: _Ties, k: int) -> np.ndarray:
    return ties.total(ties.places(k) / ties.size) / ties.num_targets_Q


def _precision(ties: _Ties, k: int) -> np.ndarray:
    return ties.total(ties.places(k) / ties.size) / k


def _ndcg(ties: _Ties, k: int) -> np.ndarray:
    gains = 1 / np.log2(np.arange(1, k + 1) + 1)
    ideal = gains.cumsum()[np.minimum(k, ties.num_targets_Q) - 1]
    return ties.total(_sums(gains, ties, k) / ties.size) / ideal


def _hit_rate(ties: _Ties, k: int) -> np.ndarray:
    """A group that lies across depth k fails when its places within k all go to items that are no targets."""
    fails, places = np.ones(len(ties.query)), ties.places(k)
    for i in range(int(ties.mates.max(initial=0))):
        left = np.maximum(ties.size - places - i, 0) / np.maximum(ties.size - i, 1)
        fails *= np.where((i < ties.mates) & (places > 0), left, 1.0)
    worst = np.ones(ties.num_queries)
    np.minimum.at(worst, ties.query, fails)
    return 1 - worst


def _mrr(ties: _Ties, k: int) -> np.ndarray:
    """The first target is in the best group: place j of n with probability C(n-j, g-1) / C(n, g) for g targets."""
    first = np.flatnonzero(ties.targets_above == 0)
    first = first[np.unique(ties.query[first], return_index=True)[1]]
    above, size, mates, places = (x[first] for x in (ties.above, ties.size, ties.mates, ties.places(k)))
    value, chance = np.zeros(len(first)), mates / size
    for j in range(1, int(places.max(initial=0)) + 1):
        value += np.where(j <= places, chance / (above + j), 0.0)
        chance = chance * np.maximum(size - j - mates + 1, 0) / np.maximum(size - j, 1)
    return value


def _map(ties: _Ties, k: int) -> np.ndarray:
    """Given its place j of n, a target expects (g - 1)(j - 1) / (n - 1) of its g - 1 mates before it."""
    inverse = _sums(1 / np.arange(1, k + 1), ties, k)
    before = ties.places(k) - (np.minimum(ties.above, k) + 1) * inverse
    share = (ties.mates - 1) / np.maximum(ties.size - 1, 1)
    value = ((ties.targets_above + 1) * inverse + share * before) / ties.size
    return ties.total(value) / np.minimum(k, ties.num_targets_Q)


_KINDS: dict[str, Callable[[_Ties, int], np.ndarray]] = {
    "HitRate": _hit_rate,
    "MAP": _map,
    "MRR": _mrr,
    "NDCG": _ndcg,
    "Precision": _precision,
    "Recall": _recall,
}
