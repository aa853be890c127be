"""By what a card's metrics are told apart: users and histories, and targets or clicked items."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from hpgr.api.asking import Ranked
from hpgr.api.material import Material
from hpgr.data.ranges import Queries
from hpgr.evaluation.classification import grouped_auc
from hpgr.evaluation.slices import Classes, Slice, by_query, by_target, history_bins, popularity_classes, repeat_classes


def retrieval_slices(
    users: np.ndarray, queries: Queries, counts: Any, material: Material, values: dict[str, np.ndarray]
) -> tuple[Slice, ...]:
    """The first metrics by cold and known users, length of history, popularity of targets, repeats and first times."""
    chosen = [name for name in ("HitRate@10", "NDCG@10") if name in values] or list(values)[:1]
    train_count = material.split.catalogue.train_count
    trained = np.isin(queries.user_idx, material.split.train.user_idx)
    warm = _two_classes("user", ("cold", "warm"), trained)
    return (
        *by_query(warm, users, {name: values[name] for name in chosen}),
        *by_query(history_bins(queries.stop - queries.start), users, {name: values[name] for name in chosen}),
        *by_target(popularity_classes(counts.rows, train_count), users, counts, chosen),
        *by_target(repeat_classes(counts, material.seen(queries), len(train_count)), users, counts, chosen),
    )


def ranking_slices(found: Ranked, users: pl.Series, material: Material) -> tuple[Slice, ...]:
    """AUC in lists whose clicked items are all in the catalogue, and in those where one is outside it."""
    num_items = len(material.split.catalogue)
    requests, first, at = np.unique(found.request, return_index=True, return_inverse=True)
    cold = np.bincount(at, weights=(found.item_rows >= num_items) & (found.label > 0), minlength=len(requests)) > 0
    inside = grouped_auc(found.score, found.label, found.request)
    value = np.full(len(requests), np.nan)
    value[np.searchsorted(requests, inside.groups)] = inside.values
    ok = ~np.isnan(value)
    classes = _two_classes("clicked item", ("in the catalogue", "outside the catalogue"), cold[ok])
    return tuple(by_query(classes, users.to_numpy()[first][ok], {"AUC in lists": value[ok]}))


def _two_classes(kind: str, names: tuple[str, str], second: np.ndarray) -> Classes:
    return Classes(kind=kind, names=names, index=second.astype(np.int64))
