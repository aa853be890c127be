"""What ranks among sampled negatives say of ranks in the catalogue: little, unless corrected. For reading others' numbers; ours are full.

``r`` is a target's rank among ``n`` items, ``m`` negatives are drawn uniformly, with replacement, from the other ``n - 1``. The rank
among them is ``1 + Binomial(m, (r - 1) / (n - 1))``. Only the AUC keeps its expectation; a metric that looks at the top does not, and two
models can change places. Names of sampled metrics carry the sampler: ``NDCG@10[u100]``.
Source: Krichene & Rendle, KDD 2020. Popularity-sampled ranks do not follow from full ones; they reward rare items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import ConfigError, DataError
from hpgr.evaluation.metric_names import marked
from hpgr.evaluation.metrics import Metric, per_query
from hpgr.evaluation.ranks import NEVER, RankCounts


def sampled_counts(full: RankCounts, num_negatives: int, generator: np.random.Generator) -> RankCounts:
    """Counts among ``num_negatives`` uniform negatives for each query, from counts in the catalogue; misses stay misses.

    Raises: DataError for a query of several targets, whose negatives would have to be shared, or without another item.
    """
    if num_negatives < 1:
        raise ConfigError(f"num_negatives ({num_negatives}) must be at least 1")
    others = _others(full)
    above, beside = (np.where(full.missed, 0, part) for part in (full.better, full.tied))
    better = generator.binomial(num_negatives, above / others)
    # Of the negatives that are not above, those beside: a multinomial draw in two steps.
    share = np.divide(beside, others - above, out=np.zeros(len(others)), where=others > above)
    tied = generator.binomial(num_negatives - better, share)
    return RankCounts(
        rows=full.rows,
        offsets=full.offsets,
        better=np.where(full.missed, NEVER, better),
        tied=np.where(full.missed, 0, tied),
        eligible=np.full(len(others), num_negatives + 1),
    )


def sampled_name(metric: Metric | str, num_negatives: int) -> str:
    """What a metric among uniform negatives is called.

    >>> sampled_name("hr@10", 100)
    'HitRate@10[u100]'
    """
    return marked(_parsed(metric).name, f"[u{num_negatives}]")


def sampled_per_query(
    full: RankCounts, metrics: Sequence[Metric | str], num_negatives: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """``[Q]`` values of each metric among sampled negatives, by its sampled name."""
    found = per_query(sampled_counts(full, num_negatives, generator), metrics)
    return {sampled_name(name, num_negatives): values for name, values in found.items()}


def auc_per_query(counts: RankCounts) -> np.ndarray:
    """``[Q]``: the share of the other items that stand below the target, ties by half; 0 for a miss.

    On sampled counts its expectation is that on full ones.
    """
    others = _others(counts)
    return np.where(counts.missed, 0.0, 1 - (counts.better + counts.tied / 2) / others)


def rank_estimate(sampled_rank: np.ndarray, num_items: int, num_negatives: int) -> np.ndarray:
    """``1 + (n - 1)(r - 1) / m`` of ranks ``1 … m + 1``: right on average; a metric of it is not.

    >>> rank_estimate(np.array([1, 2, 101]), num_items=10_000, num_negatives=100).tolist()
    [1.0, 100.99, 10000.0]
    """
    return 1 + (num_items - 1) * (np.asarray(sampled_rank) - 1) / num_negatives


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """Turns ranks among ``num_negatives`` uniform negatives of ``num_items`` into an estimate of a metric in the catalogue.

    ``gamma`` weighs variance against bias: near 0 the estimate is right on average and may vary by thousands of times the metric;
    1 is the expected metric given the sampled rank. ``prior [n]``: how likely each rank is held to be, by default all alike.
    """

    num_items: int
    num_negatives: int
    gamma: float = 0.01
    prior: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.num_items < 2 or self.num_negatives < 1:
            raise ConfigError(
                f"num_items and num_negatives ({self.num_items} and {self.num_negatives}) must be at least 2 and 1"
            )
        if not 0 < self.gamma <= 1:
            raise ConfigError(f"gamma ({self.gamma:g}) must lie above 0 and be at most 1")
        if self.prior is not None and len(self.prior) != self.num_items:
            raise ConfigError(f"prior ({len(self.prior)} ranks) must have one for each of {self.num_items} items")

    def table(self, metric: Metric | str) -> np.ndarray:
        """``[m + 1]``: the estimate for each sampled rank ``1 … m + 1``.

        The minimum over ``x`` of ``sum p(r) (bias(r)² + gamma * variance(r))``:
        ``((1 - gamma) AᵀDA + gamma diag(c)) x = AᵀDf``, where ``A[r, s]`` is the chance of sampled rank ``s`` given ``r``,
        ``D = diag(p)``, ``c = Aᵀp`` and ``f[r]`` the metric of rank ``r``.
        """
        prior_N = np.full(self.num_items, 1.0) if self.prior is None else np.asarray(self.prior, dtype=np.float64)
        prior_N = prior_N / prior_N.sum()
        chance_NS = _chances(self.num_items, self.num_negatives)
        weighted_SN = (chance_NS * prior_N[:, None]).T
        left_SS = (1 - self.gamma) * weighted_SN @ chance_NS + self.gamma * np.diag(weighted_SN.sum(1))
        return np.linalg.lstsq(left_SS, weighted_SN @ metric_of_ranks(metric, self.num_items), rcond=None)[0]

    def per_query(self, counts: RankCounts, metric: Metric | str) -> np.ndarray:
        """``[Q]`` estimates, from counts among the negatives; ties in expectation, and 0 for a miss.

        Single values can lie outside the metric's range; their mean is the estimate.
        """
        _others(counts)
        sums = np.concatenate([[0.0], self.table(metric).cumsum()])
        better = np.where(counts.missed, 0, counts.better)
        return np.where(counts.missed, 0.0, (sums[better + counts.tied + 1] - sums[better]) / (counts.tied + 1))


def metric_of_ranks(metric: Metric | str, num_items: int) -> np.ndarray:
    """``[n]``: the metric of a single target at rank ``1 … n``."""
    rank = np.arange(num_items)
    counts = RankCounts(
        rows=rank,
        offsets=np.arange(num_items + 1),
        better=rank,
        tied=np.zeros(num_items, dtype=np.int64),
        eligible=np.full(num_items, num_items),
    )
    (values,) = per_query(counts, [metric]).values()
    return values


def _chances(num_items: int, num_negatives: int) -> np.ndarray:
    """``[n, m + 1]``: of each sampled rank, given each rank in the catalogue."""
    drawn = np.arange(num_negatives + 1)
    steps = np.log(np.arange(1, num_negatives + 1))
    factorial = np.concatenate([[0.0], steps.cumsum()])
    ways = factorial[-1] - factorial[drawn] - factorial[num_negatives - drawn]
    share_N1 = (np.arange(num_items) / (num_items - 1))[:, None]
    # 0 * log 0 is 0 here: none drawn of what cannot be drawn.
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(drawn == 0, 0.0, drawn * np.log(share_N1))
        missed = np.where(drawn == num_negatives, 0.0, (num_negatives - drawn) * np.log1p(-share_N1))
    return np.exp(ways + hit + missed)


def _others(counts: RankCounts) -> np.ndarray:
    """``[N]`` items beside the target, of queries with one target each."""
    several = int((np.diff(counts.offsets) != 1).sum())
    if several:
        raise DataError(f"targets ({several} queries have several or none) must be one a query for sampled ranks")
    if (counts.eligible < 2).any():
        raise DataError(f"eligible items ({int(counts.eligible.min())} of a query) must be at least 2 to draw from")
    return counts.eligible - 1


def _parsed(metric: Metric | str) -> Metric:
    return metric if isinstance(metric, Metric) else Metric.parse(metric)
