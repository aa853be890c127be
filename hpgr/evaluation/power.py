"""What a study can see before it is run: the least true difference, or the users it takes.

Source: the normal approximation of a two-sided test of a mean (Cohen, 1988). Metrics of users are far from normal and their means
are not, from some hundred users on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl

from hpgr.core.errors import ConfigError, DataError

FEW_USERS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Pilot:
    """What two models' values of single users say of a study: each one's standard deviation over users, and their correlation."""

    first: float
    second: float
    correlation: float

    def __post_init__(self) -> None:
        if min(self.first, self.second) < 0:
            raise ConfigError(f"spreads ({self.first:g} and {self.second:g}) must not be negative")
        if not -1 <= self.correlation <= 1:
            raise ConfigError(f"correlation ({self.correlation:g}) must lie between -1 and 1")

    @property
    def spread(self) -> float:
        """Standard deviation over users of the paired difference.

        >>> Pilot(first=0.3, second=0.3, correlation=0.5).spread
        0.3
        """
        variance = self.first**2 + self.second**2 - 2 * self.correlation * self.first * self.second
        return math.sqrt(max(variance, 0.0))

    @classmethod
    def of(cls, first: pl.DataFrame, second: pl.DataFrame, metric: str) -> Pilot:
        """From per-user frames of ``metrics.per_user``, such as those of a validation part; users with both values.

        Raises: DataError with fewer than two such users.
        """
        right = second.select("user_id", pl.col(metric).alias("second"))
        both = first.select("user_id", pl.col(metric).alias("first")).join(right, on="user_id").drop_nulls()
        if len(both) < 2:
            raise DataError(f"users with {metric} on both sides ({len(both)}) must be at least two")
        x, y = (both[name].to_numpy().astype(np.float64) for name in ("first", "second"))
        product = float(x.std() * y.std())
        covariance = float(((x - x.mean()) * (y - y.mean())).mean())
        correlation = min(1.0, max(-1.0, covariance / product)) if product > 0 else 0.0
        return cls(first=float(x.std()), second=float(y.std()), correlation=correlation)


def detectable_difference(
    spread: float,
    num_users: int,
    *,
    level: float = 0.05,
    power: float = 0.8,
    seed_spread: float = 0.0,
    num_seeds: int = 1,
) -> float:
    """The least true mean difference found with probability ``power`` by a two-sided test at ``level``.

    ``spread``: standard deviation over users of the paired difference. ``seed_spread``: that of a model's mean over seeds, where
    each of the two models is trained ``num_seeds`` times; 0 for one trained pair.
    """
    variance = spread**2 / max(num_users, 1) + 2 * seed_spread**2 / max(num_seeds, 1)
    return _reach(level, power) * math.sqrt(variance)


def users_needed(difference: float, spread: float, *, level: float = 0.05, power: float = 0.8) -> int:
    """The least number of users that show a true mean ``difference`` with probability ``power``.

    >>> users_needed(0.01, 0.3)
    7064
    """
    if not difference > 0:
        raise ConfigError(f"difference ({difference:g}) must be above 0")
    return math.ceil((_reach(level, power) * spread / difference) ** 2)


def power_line(metric: str, pilot: Pilot, num_users: int, *, seed_spread: float = 0.0, num_seeds: int = 1) -> str:
    """For people, before a study: which differences it will and will not see.

    >>> power_line("NDCG@10", Pilot(first=0.3, second=0.3, correlation=0.5), 10_000)
    'NDCG@10: 10,000 users show true differences from 0.0084 on (power 80%, level 5%); smaller ones will mostly be missed'
    """
    least = detectable_difference(pilot.spread, num_users, seed_spread=seed_spread, num_seeds=num_seeds)
    seeds = f" and {num_seeds} seeds" if seed_spread else ""
    doubt = f"; a rough figure below {FEW_USERS} users" if num_users < FEW_USERS else ""
    return (
        f"{metric}: {num_users:,} users{seeds} show true differences from {least:.4f} on (power 80%, level 5%); "
        f"smaller ones will mostly be missed{doubt}"
    )


def _reach(level: float, power: float) -> float:
    """How many standard errors a true difference must measure."""
    for name, value in (("level", level), ("power", power)):
        if not 0 < value < 1:
            raise ConfigError(f"{name} ({value:g}) must lie between 0 and 1")
    normal = NormalDist()
    return normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)
