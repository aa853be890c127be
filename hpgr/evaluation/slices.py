"""Metrics of parts of the test: short and long histories, popular, rare and new items, repeats and first times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.jagged import Jagged
from hpgr.evaluation.intervals import DEFAULT, Bootstrap, Interval, bootstrap_means, metric_columns
from hpgr.evaluation.metrics import per_query, per_user
from hpgr.evaluation.ranks import RankCounts
from hpgr.evaluation.seen import seen_before


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """One part of the test: by what (``kind``), which (``name``), how much of it there is, and its metrics."""

    kind: str
    name: str
    num_users: int
    num_queries: int
    metrics: dict[str, Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """By what things are told apart (``kind``), the classes in the order to show, and the class of each: ``[n]``."""

    kind: str
    names: tuple[str, ...]
    index: np.ndarray

    def masks(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each class that has members, with ``[n]`` bool."""
        for i in np.unique(self.index):
            yield self.names[i], self.index == i


def history_bins(lengths_Q: np.ndarray, edges: Sequence[int] = (0, 5, 20, 100)) -> Classes:
    """Queries by length of history: ``0``, ``1-5``, ``6-20``, ``21-100`` and ``101+`` events.

    >>> bins = history_bins(np.array([0, 3, 6, 200]))
    >>> [bins.names[i] for i in bins.index]
    ['0', '1-5', '6-20', '101+']
    """
    if list(edges) != sorted(set(edges)) or min(edges, default=-1) < 0:
        raise ConfigError(f"edges ({', '.join(map(str, edges))}) must rise, start at 0 or above, and not be empty")
    low = [0, *(edge + 1 for edge in edges)]
    names = [str(a) if a == b else f"{a}-{b}" for a, b in zip(low, edges)]
    index = np.searchsorted(np.asarray(edges), lengths_Q, side="left")
    return Classes(kind="history length", names=(*names, f"{low[-1]}+"), index=index)


def popularity_classes(rows_N: np.ndarray, train_count_V: np.ndarray) -> Classes:
    """Targets by training count: ``head``, ``mid``, ``tail``, about a third of the training events each, and ``cold``.

    Head is the fewest, most popular items. Items of equal count share a class. ``cold``: an item that training never
    saw, or a row outside ``0 … V-1``.
    """
    counts = np.asarray(train_count_V)
    falling = np.sort(counts)[::-1]
    events_above = np.concatenate([[0], falling.cumsum()])
    above_V = events_above[np.searchsorted(-falling, -counts, side="left")]
    class_V = np.searchsorted(np.array([1 / 3, 2 / 3]), above_V / max(counts.sum(), 1), side="right")
    class_V = np.append(np.where(counts == 0, 3, class_V), 3)
    inside = (rows_N >= 0) & (rows_N < len(counts))
    index = class_V[np.where(inside, rows_N, len(counts))]
    return Classes(kind="item popularity", names=("head", "mid", "tail", "cold"), index=index)


def repeat_classes(counts: RankCounts, history: Jagged, num_items: int) -> Classes:
    """Targets that the query's history holds (``repeat``) and others (``explore``)."""
    if history.num_rows != counts.num_queries:
        raise DataError(f"history ({history.num_rows} rows) must have one row for each query ({counts.num_queries})")
    seen = seen_before(history, counts.query_of_target(), counts.rows, num_items)
    return Classes(kind="repeat or explore", names=("repeat", "explore"), index=np.where(seen, 0, 1))


def by_query(
    classes: Classes, users_Q: np.ndarray, values: dict[str, np.ndarray], how: Bootstrap = DEFAULT
) -> list[Slice]:
    """A slice for each class of queries: means over the users that have such queries, over these queries only."""
    users_Q = np.asarray(users_Q)
    return [
        _slice(classes.kind, name, per_user(users_Q[mask], {n: v[mask] for n, v in values.items()}), how)
        for name, mask in classes.masks()
    ]


def by_target(
    classes: Classes, users_Q: np.ndarray, counts: RankCounts, metrics: Sequence[str], how: Bootstrap = DEFAULT
) -> list[Slice]:
    """A slice for each class of targets: a query keeps the targets of the class; their ranks in the full list stay."""
    slices = []
    for name, mask in classes.masks():
        kept, queries = counts.keep(mask)
        frame = per_user(np.asarray(users_Q)[queries], per_query(kept, metrics))
        slices.append(_slice(classes.kind, name, frame, how))
    return slices


def _slice(kind: str, name: str, frame: pl.DataFrame, how: Bootstrap) -> Slice:
    known = frame.select(c for c in frame.columns if frame[c].null_count() < len(frame))
    queries = int(frame["num_queries"].sum())
    found = bootstrap_means(known, how) if metric_columns(known) else {}
    return Slice(kind=kind, name=name, num_users=len(frame), num_queries=queries, metrics=found)
