"""What metrics are called: ``NDCG@10`` of the whole catalogue or of what was shown, ``NDCG@10[u20]`` among sampled candidates.

Every metric of sampled candidates has the mark, log loss and calibration too: the share of clicks is the sampler's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

Value = TypeVar("Value")


class ByMetric(dict[str, Value]):
    """Values by name of metric; a name without a sampler finds the one that has it.

    >>> ByMetric({"GAUC[u20]": 0.8})["GAUC"]
    0.8
    """

    def __missing__(self, name: str) -> Value:
        found = named(name, self)
        if found is None:
            raise KeyError(name)
        return self[found]


def sampler_mark(candidates: str) -> str:
    """What names of metrics end with where a protocol has these ``candidates``; empty where none were sampled.

    >>> sampler_mark("sampled[uniform 20], 105000 candidates"), sampler_mark("sampled[popularity 9]"), sampler_mark("exposed")
    ('[u20]', '[p9]', '')
    """
    sampler = re.match(r"sampled\[([^\]]+)\]", candidates)
    return "" if sampler is None else "[" + re.sub("^([a-z])[a-z]* ([0-9]+)$", r"\1\2", sampler[1]) + "]"


def marked(metric: str, mark: str) -> str:
    """The metric with the sampler's mark, once.

    >>> marked("GAUC", "[u20]"), marked("GAUC[u20]", "[u20]"), marked("GAUC", "")
    ('GAUC[u20]', 'GAUC[u20]', 'GAUC')
    """
    return metric if metric.endswith(mark) else metric + mark


def base_name(metric: str) -> str:
    """The metric without a sampler.

    >>> base_name("NDCG@10[u20]"), base_name("AUC in lists")
    ('NDCG@10', 'AUC in lists')
    """
    return re.sub(r"\[[^\]]*\]$", "", metric)


def named(metric: str, known: Iterable[str]) -> str | None:
    """The name among ``known`` that ``metric`` means: itself, else the same among sampled candidates; None for none.

    >>> named("GAUC", ["AUC[u20]", "GAUC[u20]"]), named("GAUC", ["AUC"]), named("GAUC[u20]", ["GAUC"])
    ('GAUC[u20]', None, None)
    """
    names = list(known)
    return metric if metric in names else next((name for name in names if base_name(name) == metric), None)
