"""How well scores tell clicks from no clicks: AUC, GAUC, log loss, and ranks inside request lists; ties are counted.

Arrays of one length ``n``: ``score`` or ``prob``, ``label`` (0 or 1), ``weight`` (not negative; 1 where left out),
``group`` (the user or request of each row, any ids). Nothing loops over groups: rows are sorted once and summed by
segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpgr.core.errors import DataError
from hpgr.evaluation.ranks import RankCounts


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupedAUC:
    """AUC inside each of ``G`` groups that has both labels.

    ``groups [G]`` ids; ``values [G]``; ``impressions [G]`` rows of each; ``num_skipped`` groups with a single label.
    """

    groups: np.ndarray
    values: np.ndarray
    impressions: np.ndarray
    num_skipped: int

    def mean(self, weight: Literal["equal", "impressions"] = "equal") -> float:
        """GAUC: every group counts alike, or in proportion to its rows (Zhou et al., KDD 2018).

        Raises: DataError where no group has both labels.
        """
        if not len(self.values):
            raise DataError(f"groups ({self.num_skipped}) must include one with both labels; all have one label only")
        return float(np.average(self.values, weights=None if weight == "equal" else self.impressions))


def auc(score: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Probability that a clicked row scores above one not clicked; a tie counts one half.

    Raises: DataError where all labels are the same.
    """
    whole = grouped_auc(score, label, np.zeros(len(score), dtype=np.int64), weight)
    if not len(whole.values):
        raise DataError(f"labels ({len(score)}, all the same) must hold both 0 and 1 for an AUC")
    return float(whole.values[0])


def grouped_auc(
    score: np.ndarray, label: np.ndarray, group: np.ndarray, weight: np.ndarray | None = None
) -> GroupedAUC:
    """AUC of each group by itself; groups whose rows all have one label are left out and counted."""
    score, label, weight = checked(score, label, weight)
    groups, index = np.unique(np.asarray(group), return_inverse=True)
    runs = _Runs.of(score, index)
    positive, negative = weight * label, weight * (1 - label)
    below = np.concatenate([[0.0], negative[runs.order].cumsum()])
    lost = below[runs.run_start] - below[runs.group_start]
    won = lost + 0.5 * (below[runs.run_stop] - below[runs.run_start])
    total, ups, downs = (
        np.bincount(index, weights=x, minlength=len(groups))
        for x in (_unsorted(won, runs.order) * positive, positive, negative)
    )
    both = (ups > 0) & (downs > 0)
    return GroupedAUC(
        groups=groups[both],
        values=total[both] / (ups[both] * downs[both]),
        impressions=np.bincount(index, minlength=len(groups))[both],
        num_skipped=int((~both).sum()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ListRanks:
    """Ranks of the clicked rows inside their own request list, for ``metrics.per_query``.

    ``groups [Q]`` the lists with a click; ``counts`` theirs, ``rows`` being rows of the input; ``num_skipped`` the
    lists without a click.
    """

    groups: np.ndarray
    counts: RankCounts
    num_skipped: int


def list_ranks(score: np.ndarray, label: np.ndarray, group: np.ndarray) -> ListRanks:
    """Each clicked row's place in its list; what was not shown does not take part."""
    score, label, _ = checked(score, label, None)
    groups, index = np.unique(np.asarray(group), return_inverse=True)
    runs = _Runs.of(score, index)
    clicked = runs.order[label[runs.order] > 0]
    better, tied, eligible = (
        _unsorted(x, runs.order)[clicked]
        for x in (
            runs.group_stop - runs.run_stop,
            runs.run_stop - runs.run_start - 1,
            runs.group_stop - runs.group_start,
        )
    )
    clicks = np.bincount(index[clicked], minlength=len(groups))
    offsets = np.concatenate([[0], clicks[clicks > 0].cumsum()]).astype(np.int64)
    counts = RankCounts(rows=clicked, offsets=offsets, better=better, tied=tied, eligible=eligible)
    return ListRanks(groups=groups[clicks > 0], counts=counts, num_skipped=int((clicks == 0).sum()))


def log_loss(prob: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Weighted mean of ``-log p(label)``, in nats; probabilities are kept ``1e-7`` away from 0 and 1."""
    prob, label, weight = checked(prob, label, weight, probabilities=True)
    return float(np.average(_cost(prob, label), weights=weight))


def normalised_entropy(prob: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Log loss over that of always predicting the mean label; below 1 is better than knowing the click rate.

    Source: He et al., ADKDD 2014.

    Raises: DataError where all labels are the same.
    """
    prob, label, weight = checked(prob, label, weight, probabilities=True)
    rate = float(np.average(label, weights=weight))
    if rate in (0.0, 1.0):
        raise DataError(f"labels ({len(label)}, all the same) must hold both 0 and 1 for a normalised entropy")
    return float(np.average(_cost(prob, label), weights=weight) / np.average(_cost(rate, label), weights=weight))


def checked(
    score: np.ndarray, label: np.ndarray, weight: np.ndarray | None, *, probabilities: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three as float64 of one length.

    Raises: DataError for no rows, unlike lengths, NaN, labels other than 0 and 1, and weights negative or all 0.
    """
    name = "prob" if probabilities else "score"
    score, label = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not len(score) or not len(score) == len(label) == len(weight):
        raise DataError(
            f"{name}, label and weight ({len(score)}, {len(label)} and {len(weight)} rows) must have one length above 0"
        )
    if np.isnan(score).any():
        raise DataError(f"{name} (NaN in {int(np.isnan(score).sum())} of {len(score)} rows) must be numbers")
    if probabilities and ((score < 0) | (score > 1)).any():
        low, high = np.min(score), np.max(score)
        raise DataError(f"prob (from {low:g} to {high:g}) must lie between 0 and 1; give probabilities, not logits")
    if not np.isin(label, (0.0, 1.0)).all():
        raise DataError(f"label ({label[~np.isin(label, (0.0, 1.0))][0]:g}) must be 0 or 1")
    if not (weight >= 0).all() or not np.isfinite(weight).all() or weight.sum() == 0:
        raise DataError(f"weight (sum {weight.sum():g}) must be finite, not negative and not all 0")
    return score, label, weight


@dataclass(frozen=True, slots=True)
class _Runs:
    """Rows sorted by group and score; of each sorted row, the borders of its group and of its run of equal scores."""

    order: np.ndarray
    group_start: np.ndarray
    group_stop: np.ndarray
    run_start: np.ndarray
    run_stop: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, index: np.ndarray) -> _Runs:
        order = np.lexsort((score, index))
        new_group = index[order][1:] != index[order][:-1]
        new_run = new_group | (score[order][1:] != score[order][:-1])
        return cls(order, *_borders(new_group), *_borders(new_run))


def _borders(new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``[n]`` start and stop of the segment of each row; ``new [n-1]`` tells where the next row opens one."""
    starts = np.concatenate([[0], np.flatnonzero(new) + 1])
    stops = np.append(starts[1:], len(new) + 1)
    return np.repeat(starts, stops - starts), np.repeat(stops, stops - starts)


def _unsorted(value: np.ndarray, order: np.ndarray) -> np.ndarray:
    back = np.empty_like(value)
    back[order] = value
    return back


def _cost(prob: np.ndarray | float, label: np.ndarray) -> np.ndarray:
    safe = np.clip(prob, 1e-7, 1 - 1e-7)
    return -(label * np.log(safe) + (1 - label) * np.log1p(-safe))
