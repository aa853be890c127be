"""What the lists look like, whether or not they are right: coverage, concentration, novelty, repeats, diversity.

All take ``top_QK``: item rows ``0 … V-1`` of the first K recommendations of each query. ``train_count_V`` says how
often training saw each item.
"""

from __future__ import annotations

import numpy as np

from hpgr.core.errors import DataError
from hpgr.core.jagged import Jagged
from hpgr.evaluation.seen import seen_before


def catalogue_facts(top_QK: np.ndarray, num_items: int) -> dict[str, float]:
    """``coverage@K`` and ``gini@K`` of all lists together.

    Coverage: share of the catalogue recommended at least once. Gini index of how often each item is recommended, items
    never shown included: 0 if all equally often, near 1 if all lists are the same.
    """
    top_QK = _rows(top_QK, num_items)
    shown = np.sort(np.bincount(top_QK.ravel(), minlength=num_items))
    ranks = np.arange(1, num_items + 1)
    gini = ((2 * ranks - num_items - 1) * shown).sum() / (num_items * shown.sum())
    k = top_QK.shape[1]
    return {f"coverage@{k}": float((shown > 0).mean()), f"gini@{k}": float(gini)}


def list_facts(
    top_QK: np.ndarray,
    train_count_V: np.ndarray,
    *,
    history: Jagged | None = None,
    categories: Jagged | None = None,
) -> dict[str, np.ndarray]:
    """``[Q]`` values of each list, ready for ``metrics.per_user``.

    ``novelty@K``: mean of ``-log2 p(i)``; ``p(i) = (count + 1) / (sum of counts + V)``, finite for a new item.
    ``popularity@K``: mean training count. ``repeats@K``, with ``history`` (item rows of each query): share of the list
    that the history holds. ``diversity@K``, with ``categories`` (codes of each of ``V`` items): mean over pairs of the
    list of one minus the Jaccard similarity of their categories; pairs with an item of no category are left out, and a
    list without a pair gets NaN.
    """
    train_count_V = np.asarray(train_count_V)
    top_QK = _rows(top_QK, len(train_count_V))
    k, total = top_QK.shape[1], train_count_V.sum() + len(train_count_V)
    surprise_V = -np.log2((train_count_V + 1) / total)
    facts = {
        f"novelty@{k}": surprise_V[top_QK].mean(1),
        f"popularity@{k}": train_count_V[top_QK].mean(1),
    }
    if history is not None:
        facts[f"repeats@{k}"] = _repeats(top_QK, history, len(train_count_V))
    if categories is not None:
        facts[f"diversity@{k}"] = _diversity(top_QK, categories, len(train_count_V))
    return facts


def _rows(top_QK: np.ndarray, num_items: int) -> np.ndarray:
    top_QK = np.asarray(top_QK)
    if top_QK.ndim != 2 or not top_QK.size:
        raise DataError(f"lists (shape {top_QK.shape}) must have the shape (queries, K), neither being 0")
    if top_QK.min() < 0 or top_QK.max() >= num_items:
        raise DataError(f"lists (rows {top_QK.min()} to {top_QK.max()}) must hold item rows from 0 to {num_items - 1}")
    return top_QK


def _repeats(top_QK: np.ndarray, history: Jagged, num_items: int) -> np.ndarray:
    if history.num_rows != len(top_QK):
        raise DataError(f"history ({history.num_rows} rows) must have one row for each list ({len(top_QK)})")
    return seen_before(history, np.arange(len(top_QK))[:, None], top_QK, num_items).mean(1)


def _diversity(top_QK: np.ndarray, categories: Jagged, num_items: int, memory_mb: float = 64.0) -> np.ndarray:
    if categories.num_rows != num_items:
        raise DataError(f"categories ({categories.num_rows} rows) must have one row for each item ({num_items})")
    names, codes = np.unique(categories.values.cpu().numpy(), return_inverse=True)
    k = top_QK.shape[1]
    block = max(1, int(memory_mb * 2**20 / (8 * k * (max(len(names), 1) + 4 * k))))
    first, second = np.triu_indices(k, 1)
    spread = np.full(len(top_QK), np.nan)
    start_V, length_V = categories.offsets[:-1].cpu().numpy(), categories.lengths.cpu().numpy()
    for begin in range(0, len(top_QK), block):
        lists = top_QK[begin : begin + block].ravel()
        lengths = length_V[lists]
        place = np.repeat(np.arange(len(lists)), lengths)
        within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        marks = np.zeros((len(lists), len(names)), dtype=np.float32)
        marks[place, codes[np.repeat(start_V[lists], lengths) + within]] = 1
        marks_qKC = marks.reshape(-1, k, len(names))
        common = (marks_qKC @ marks_qKC.transpose(0, 2, 1))[:, first, second]
        size = marks_qKC.sum(2)
        known = (size[:, first] > 0) & (size[:, second] > 0)
        union = size[:, first] + size[:, second] - common
        distance = np.where(known, 1 - common / np.where(known, union, 1), 0)
        pairs = known.sum(1)
        spread[begin : begin + block] = np.where(pairs > 0, distance.sum(1) / np.maximum(pairs, 1), np.nan)
    return spread
