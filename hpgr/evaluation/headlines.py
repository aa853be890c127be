"""What tables of results show first, which models only count, and which way a metric is better."""

from __future__ import annotations

import re

HEADLINES = {
    "retrieve": ("NDCG@10", "HitRate@10", "HitRate@50", "MRR@10", "coverage@10", "novelty@10"),
    "rank": ("AUC", "GAUC", "AUC in lists", "NDCG@10", "log loss", "calibration error"),
}
"""The main metrics of each question; the first one orders a table."""

BASELINES = ("popularity", "markov", "skip_count", "item_knn", "ease")
TRIALS = "tuning trials"
"""Where a card's monitors say how many settings were tried."""

_BASELINE = re.compile(rf"({'|'.join(BASELINES)})(?![a-z0-9_])")


def is_baseline(model: str) -> bool:
    """Whether a model's name is that of a counting baseline, perhaps with something behind it.

    >>> is_baseline("markov"), is_baseline("item_knn, k=50"), is_baseline("markov_chain_net")
    (True, True, False)
    """
    return _BASELINE.match(model) is not None


def smaller_is_better(metric: str) -> bool:
    """Whether less of a metric is better: losses and errors.

    >>> smaller_is_better("log loss"), smaller_is_better("NDCG@10")
    (True, False)
    """
    return metric.endswith(("loss", "error", "entropy"))
