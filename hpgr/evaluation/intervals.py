"""How sure a mean is: the bootstrap over users.

The unit is the user: each metric is first a user's own mean, so that the queries of one user are resampled together.
Seeds are another source of variance, which these intervals do not contain; ``seeds`` has some that do.
Source: Efron & Tibshirani, 1993 (percentile bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


def bootstrap_means(frame: pl.DataFrame, how: Bootstrap = DEFAULT) -> dict[str, Interval]:
    """The mean and interval of every column but ``user_id`` and ``num_queries``.

    ``frame``: a row a user, as ``metrics.per_user`` gives. A null leaves the user out of that column. All columns share
    the draws, and the memory budget does not change them.

    Raises: DataError for a frame without users, a column without a value, and for NaN.
    """
    names = metric_columns(frame)
    values_UM, known_UM = known_values(frame, names)
    drawn = np.concatenate([_means(weights, values_UM, known_UM) for weights in user_weights(len(frame), how)])
    tail = (1 - how.level) / 2
    found = {}
    for m, name in enumerate(names):
        low, high = np.quantile(drawn[~np.isnan(drawn[:, m]), m], [tail, 1 - tail])
        count = int(known_UM[:, m].sum())
        mean = float(values_UM[:, m].sum() / count)
        found[name] = Interval(value=mean, low=float(low), high=float(high), num_users=count)
    return found


def metric_columns(frame: pl.DataFrame) -> list[str]:
    """The columns of a per-user frame that hold metrics."""
    return [name for name in frame.columns if name not in ("user_id", "num_queries")]


def known_values(frame: pl.DataFrame, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """``[U, M]`` values, 0 where unknown, and whether each is known.

    Raises: DataError for a frame without users, a column without a value, and for NaN.
    """
    if not len(frame) or not names:
        raise DataError(f"users and metrics ({len(frame)} and {len(names)}) must be at least 1 for an interval")
    values_UM = np.stack([frame[name].cast(pl.Float64).fill_null(0.0).to_numpy() for name in names], axis=1)
    known_UM = np.stack([frame[name].is_not_null().to_numpy() for name in names], axis=1).astype(np.float64)
    for m, name in enumerate(names):
        if np.isnan(values_UM[:, m]).any() or not known_UM[:, m].any():
            raise DataError(f"{name} (NaN, or null for all {len(frame)} users) must be a number where it is not null")
    return values_UM, known_UM


def user_weights(num_users: int, how: Bootstrap) -> Iterator[np.ndarray]:
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
