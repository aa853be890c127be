"""Is one trained model better than another on these users? Paired differences, sign-flip tests, Holm over a table.

The unit is the user: all questions of a user are flipped together. An effect and its interval always stand beside a p-value.
What other seeds would have given is not in it; ``seeds`` has that.
Source: Efron & Tibshirani, 1993 (sign-flip test); Holm, Scand. J. Statist. 1979.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from hpgr.core.errors import DataError
from hpgr.core.seeds import numpy_generator
from hpgr.evaluation.intervals import DEFAULT, Bootstrap, Interval, bootstrap_means, metric_columns
from hpgr.evaluation.metric_names import named
from hpgr.evaluation.power import detectable_difference

# Up to so many users that differ, every pattern of signs is counted: 4,096 at most.
_COUNTED_USERS = 12
PATTERNS_A_TEST = 200
"""Drawn for each test of a family: the least p-value, so many times adjusted, is half a percent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Second minus first of one metric over the same users: interval and two-sided sign-flip ``p_value``.

    ``first`` and ``second``: the means over these users. ``p_holm`` is adjusted for the other metrics of the comparison, or for
    the whole table. ``detectable``: the least true difference that this many users would show with power 0.8 at level 0.05.
    """

    metric: str
    first: float
    second: float
    interval: Interval
    p_value: float
    p_holm: float
    detectable: float


def paired_differences(
    first: pl.DataFrame,
    second: pl.DataFrame,
    how: Bootstrap = DEFAULT,
    metrics: Sequence[str] | None = None,
    *,
    tables: int = 1,
) -> list[Difference]:
    """``second - first`` of each metric that both have, users aligned by ``user_id``; positive: the second is higher.

    A user without a value on either side is left out of that metric.

    Raises: DataError where the two do not hold the same users, or share no metric.
    """
    names = shared_metrics([first, second], metrics)
    both = same_users([first, second])
    change = both[0].select("user_id", *((both[1][name] - both[0][name]).alias(name) for name in names))
    intervals = bootstrap_means(change, how)
    flips = replace(how, num_samples=max(how.num_samples, PATTERNS_A_TEST * len(names) * tables))
    found = []
    for name in names:
        known = change[name].is_not_null()
        moved = change[name].filter(known).to_numpy()
        means = [float(np.mean(side[name].filter(known).to_numpy())) for side in both]
        found.append(
            Difference(
                metric=name,
                first=means[0],
                second=means[1],
                interval=intervals[name],
                p_value=(p := sign_flip_p(moved, how=flips)),
                p_holm=p,
                detectable=detectable_difference(float(np.std(moved)), len(moved)),
            )
        )
    return _adjusted({"": found})[""]


def sign_flip_p(difference_N: np.ndarray, clusters: np.ndarray | None = None, *, how: Bootstrap = DEFAULT) -> float:
    """Two-sided p-value of a mean of zero: how often random signs give a mean at least as far from it.

    ``clusters [N]``: whose each difference is, such as users of questions; those of one cluster are flipped together. Exact where
    at most 12 clusters differ from zero; else ``how.num_samples`` drawn patterns, the given one counted with them.
    """
    difference_N = np.asarray(difference_N, dtype=np.float64)
    if clusters is not None:
        _, index = np.unique(np.asarray(clusters), return_inverse=True)
        difference_N = np.bincount(index, weights=difference_N)
    # A zero is the same under either sign; leaving it out changes no sum and saves most of the work on sparse metrics.
    moved = difference_N[difference_N != 0]
    # Sums of the same numbers in another order differ in the last bits; they must still count as equal.
    reach = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()
    if len(moved) <= _COUNTED_USERS:
        patterns = (np.arange(1 << len(moved))[:, None] >> np.arange(len(moved))) & 1
        return float(np.mean(np.abs(moved.sum() - 2 * (patterns @ moved)) >= reach))
    generator, extreme = numpy_generator(how.seed, "sign flip"), 0
    for count in how.blocks(len(moved)):
        flips = generator.integers(0, 2, size=(count, len(moved)), dtype=np.int8).astype(np.float64)
        extreme += int((np.abs(moved.sum() - 2 * (flips @ moved)) >= reach).sum())
    return (extreme + 1) / (how.num_samples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for step, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def differences_from(
    reference: pl.DataFrame,
    others: Mapping[str, pl.DataFrame],
    how: Bootstrap = DEFAULT,
    metrics: Sequence[str] | None = None,
) -> dict[str, list[Difference]]:
    """Each of ``others`` minus the ``reference``, by name; ``p_holm`` is adjusted over all cells of this table.

    Raises: DataError as ``paired_differences`` does.
    """
    return _adjusted(
        {name: paired_differences(reference, frame, how, metrics, tables=len(others)) for name, frame in others.items()}
    )


def shared_metrics(frames: Sequence[pl.DataFrame], metrics: Sequence[str] | None = None) -> list[str]:
    """``metrics``, by default all that some user has a value of in every frame; a name without a sampler finds the one that has it.

    Raises: DataError where that is none, or one is missing.
    """
    every = [name for name in metric_columns(frames[0]) if known_together(name, frames)]
    if not every:
        raise DataError(f"metrics ({', '.join(metric_columns(frames[-1]))}) must include one that both sides have")
    asked = [named(metric, every) for metric in metrics or every]
    if None in asked:
        raise DataError(f"metrics ({', '.join(metrics or ())}) must be among those of both sides ({', '.join(every)})")
    return [name for name in asked if name is not None]


def known_together(name: str, frames: Sequence[pl.DataFrame]) -> bool:
    """Whether a user has a value of the metric in all frames."""
    if not all(name in frame.columns for frame in frames):
        return False
    known = [frame.filter(pl.col(name).is_not_null())["user_id"] for frame in frames]
    return bool(set(known[0]).intersection(*known[1:]))


def same_users(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The frames with their users in one order.

    Raises: DataError where they do not hold the same users, or one twice.
    """
    placed = [frame.sort("user_id") for frame in frames]
    for frame in placed:
        if not frame["user_id"].equals(placed[0]["user_id"]) or frame["user_id"].is_duplicated().any():
            raise DataError(
                f"users ({len(placed[0])} and {len(frame)}) must be the same on both sides; evaluate both on one split"
            )
    return placed


def _adjusted(table: dict[str, list[Difference]]) -> dict[str, list[Difference]]:
    adjusted = iter(holm([found.p_value for column in table.values() for found in column]))
    return {name: [replace(found, p_holm=next(adjusted)) for found in column] for name, column in table.items()}
