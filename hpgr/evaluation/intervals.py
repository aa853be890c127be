"""How sure a number is: bootstrap over users, paired differences, Holm, and the least difference that can be seen.

The unit is the user: each metric is first a user's own mean, so that the queries of one user are resampled together.
Seeds are another source of variance, which none of these intervals contains.
Source: Efron & Tibshirani, 1993 (percentile bootstrap, sign-flip test); Holm, Scand. J. Statist. 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.seeds import numpy_generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean over ``num_users`` and its interval; ``low`` and ``high`` are None where none applies."""

    value: float
    low: float | None = None
    high: float | None = None
    num_users: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """How intervals are drawn: ``num_samples`` resamplings at coverage ``level``; ``memory_mb`` bounds the draws."""

    num_samples: int = 1000
    level: float = 0.95
    seed: int = 0
    memory_mb: float = 64.0

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ConfigError(f"num_samples ({self.num_samples}) must be at least 1")
        if not 0 < self.level < 1:
            raise ConfigError(f"level ({self.level}) must lie between 0 and 1, as in 0.95")

    def blocks(self, num_users: int) -> Iterator[int]:
        """Numbers of resamplings that fit the budget together; they add up to ``num_samples``."""
        fitting = max(1, int(self.memory_mb * 2**20 / 24) // max(num_users, 1))
        for start in range(0, self.num_samples, fitting):
            yield min(fitting, self.num_samples - start)


DEFAULT = Bootstrap()


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Second minus first of one metric over the same users: interval and two-sided sign-flip ``p_value``.

    ``p_holm`` is adjusted for the other metrics of the comparison. ``detectable``: the least true difference that this
    many users would show with power 0.8 at level 0.05.
    """

    metric: str
    interval: Interval
    p_value: float
    p_holm: float
    detectable: float


def bootstrap_means(frame: pl.DataFrame, how: Bootstrap = DEFAULT) -> dict[str, Interval]:
    """The mean and interval of every column but ``user_id`` and ``num_queries``.

    ``frame``: a row a user, as ``metrics.per_user`` gives. A null leaves the user out of that column. All columns share
    the draws, and the memory budget does not change them.

    Raises: DataError for a frame without users, a column without a value, and for NaN.
    """
    names = metric_columns(frame)
    values_UM, known_UM = _matrix(frame, names)
    drawn = np.concatenate([_means(weights, values_UM, known_UM) for weights in _weights(len(frame), how)])
    tail = (1 - how.level) / 2
    found = {}
    for m, name in enumerate(names):
        low, high = np.quantile(drawn[~np.isnan(drawn[:, m]), m], [tail, 1 - tail])
        count = int(known_UM[:, m].sum())
        mean = float(values_UM[:, m].sum() / count)
        found[name] = Interval(value=mean, low=float(low), high=float(high), num_users=count)
    return found


def paired_differences(
    first: pl.DataFrame, second: pl.DataFrame, how: Bootstrap = DEFAULT, metrics: Sequence[str] | None = None
) -> list[Difference]:
    """``second - first`` of each metric that both have, users aligned by ``user_id``; positive: the second is higher.

    A user without a value on either side is left out of that metric.

    Raises: DataError where the two do not hold the same users, or share no metric.
    """
    names = list(metrics or [name for name in metric_columns(first) if name in metric_columns(second)])
    if not names:
        raise DataError(f"metrics ({', '.join(metric_columns(second))}) must include one that both sides have")
    if first["user_id"].dtype != second["user_id"].dtype or set(first["user_id"]) != set(second["user_id"]):
        raise DataError(
            f"users ({len(first)} and {len(second)}) must be the same on both sides; evaluate both on one split"
        )
    right = second.select("user_id", *(pl.col(name).alias(f"second {name}") for name in names))
    both = first.select("user_id", *names).join(right, on="user_id", validate="1:1").sort("user_id")
    change = both.select("user_id", *((pl.col(f"second {name}") - pl.col(name)).alias(name) for name in names))
    intervals = bootstrap_means(change, how)
    columns = [change[name].drop_nulls().to_numpy() for name in names]
    p_values = [sign_flip_p(column, how) for column in columns]
    return [
        Difference(
            metric=name,
            interval=intervals[name],
            p_value=p,
            p_holm=adjusted,
            detectable=detectable_difference(float(np.std(column)), len(column)),
        )
        for name, p, adjusted, column in zip(names, p_values, holm(p_values), columns)
    ]


def sign_flip_p(difference_U: np.ndarray, how: Bootstrap = DEFAULT) -> float:
    """Two-sided p-value of a mean of zero: how often random signs give a mean at least as far from it."""
    difference_U = np.asarray(difference_U, dtype=np.float64)
    generator = numpy_generator(how.seed, "sign flip")
    total, size, extreme = difference_U.sum(), len(difference_U), 0
    # Sums of the same numbers in another order differ in the last bits; they must still count as equal.
    reach = abs(total) - 1e-9 * np.abs(difference_U).sum()
    for count in how.blocks(size):
        flips = generator.integers(0, 2, size=(count, size), dtype=np.int8).astype(np.float64)
        extreme += int((np.abs(total - 2 * (flips @ difference_U)) >= reach).sum())
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


def detectable_difference(spread: float, num_users: int, *, level: float = 0.05, power: float = 0.8) -> float:
    """The least true mean difference found with probability ``power`` by a two-sided test at ``level``.

    ``spread``: standard deviation over users of the paired difference (or of a guess made before a study).
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * spread / math.sqrt(max(num_users, 1))


def metric_columns(frame: pl.DataFrame) -> list[str]:
    """The columns of a per-user frame that hold metrics."""
    return [name for name in frame.columns if name not in ("user_id", "num_queries")]


def _matrix(frame: pl.DataFrame, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """``[U, M]`` values, 0 where unknown, and whether each is known."""
    if not len(frame) or not names:
        raise DataError(f"users and metrics ({len(frame)} and {len(names)}) must be at least 1 for an interval")
    values_UM = np.stack([frame[name].cast(pl.Float64).fill_null(0.0).to_numpy() for name in names], axis=1)
    known_UM = np.stack([frame[name].is_not_null().to_numpy() for name in names], axis=1).astype(np.float64)
    for m, name in enumerate(names):
        if np.isnan(values_UM[:, m]).any() or not known_UM[:, m].any():
            raise DataError(f"{name} (NaN, or null for all {len(frame)} users) must be a number where it is not null")
    return values_UM, known_UM


def _weights(num_users: int, how: Bootstrap) -> Iterator[np.ndarray]:
    """``[n, U]`` how often each user is drawn in each resampling."""
    generator = numpy_generator(how.seed, "bootstrap")
    for count in how.blocks(num_users):
        drawn = generator.integers(0, num_users, size=(count, num_users), dtype=np.int64)
        drawn += np.arange(count)[:, None] * num_users
        yield np.bincount(drawn.ravel(), minlength=count * num_users).reshape(count, num_users).astype(np.float64)


def _means(weights_nU: np.ndarray, values_UM: np.ndarray, known_UM: np.ndarray) -> np.ndarray:
    """``[n, M]``; NaN where a resampling holds no user with a value."""
    present = weights_nU @ known_UM
    return np.where(present > 0, weights_nU @ values_UM / np.maximum(present, 1), np.nan)
