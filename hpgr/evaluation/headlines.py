"""What tables of results show first, which models only count, and which way a metric is better."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hpgr.evaluation.metric_names import base_name, named

HEADLINES = {
    "retrieve": ("NDCG@10", "HitRate@10", "HitRate@50", "MRR@10", "coverage@10", "novelty@10"),
    "rank": ("AUC", "GAUC", "AUC in lists", "NDCG@10", "log loss", "calibration error"),
}
"""The main metrics of each question, without a sampler; the first one orders a table."""

BASELINES = ("popularity", "popularity-recent", "popularity-hour", "markov", "skip_count", "item_knn", "ease")
TRIALS = "tuning trials"
"""Where a card's monitors say how many settings were tried."""
FIT, EVALUATION = "fit", "evaluation"
"""What of a card's wall time is no stage: fitting in one go, as counting models and trees are, and measuring."""

_BASELINE = re.compile(rf"({'|'.join(BASELINES)})(?![a-z0-9_])")


def is_baseline(model: str) -> bool:
    """Whether a model's name is that of a counting baseline, perhaps with something behind it.

    >>> is_baseline("popularity-hour"), is_baseline("item_knn, k=50"), is_baseline("markov_chain_net")
    (True, True, False)
    """
    return _BASELINE.match(model) is not None


def smaller_is_better(metric: str) -> bool:
    """Whether less of a metric is better: losses and errors.

    >>> smaller_is_better("log loss[u20]"), smaller_is_better("NDCG@10")
    (True, False)
    """
    return base_name(metric).endswith(("loss", "error", "entropy"))


def main_metrics(question: str, known: Iterable[str]) -> list[str]:
    """The headlines of a question that are among ``known``, as they are called there.

    >>> main_metrics("rank", ["GAUC[u20]", "AUC[u20]", "MRR@10[u20]"])
    ['AUC[u20]', 'GAUC[u20]']
    """
    names = list(known)
    return [name for headline in HEADLINES[question] if (name := named(headline, names)) is not None]
