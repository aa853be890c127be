import math

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, DataError
from hpgr.evaluation.intervals import Bootstrap, bootstrap_means


def users(**columns):
    size = len(next(iter(columns.values())))
    return pl.DataFrame({"user_id": list(range(size)), "num_queries": [1] * size, **columns})


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    draws = {f"m{i}": rng.exponential(2.0, 80) for i in range(300)}
    found = bootstrap_means(users(**draws), Bootstrap(num_samples=400, level=0.9))
    covered = np.mean([i.low <= 2.0 <= i.high for i in found.values()])
    assert 0.83 < covered < 0.95


def test_interval_width_is_that_of_the_normal_theory():
    values = np.random.default_rng(1).normal(size=2000)
    found = bootstrap_means(users(x=values))["x"]
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(2000), rel=0.1)


def test_draws_depend_on_the_seed_and_not_on_the_memory():
    frame = users(x=np.random.default_rng(2).random(200))
    wide = bootstrap_means(frame, Bootstrap(num_samples=100))["x"]
    tight = bootstrap_means(frame, Bootstrap(num_samples=100, memory_mb=0.01))["x"]
    assert (wide.low, wide.high) == (pytest.approx(tight.low, abs=1e-12), pytest.approx(tight.high, abs=1e-12))
    assert wide != bootstrap_means(frame, Bootstrap(num_samples=100, seed=1))["x"]


def test_users_without_a_value_are_left_out():
    found = bootstrap_means(users(x=[1.0, None, 3.0, None], y=[1.0, 1.0, 1.0, 1.0]))
    assert (found["x"].value, found["x"].num_users) == (2.0, 2)
    assert 1.0 <= found["x"].low <= found["x"].high <= 3.0
    assert (found["y"].low, found["y"].high) == (1.0, 1.0)


def test_what_has_no_interval_is_refused():
    with pytest.raises(DataError, match=r"x \(NaN, or null for all 2 users\) must be a number"):
        bootstrap_means(users(x=[1.0, float("nan")]))
    with pytest.raises(DataError, match=r"users and metrics \(1 and 0\) must be at least 1"):
        bootstrap_means(pl.DataFrame({"user_id": [1], "num_queries": [1]}))
    with pytest.raises(ConfigError, match=r"level \(95\) must lie between 0 and 1"):
        Bootstrap(level=95)
    with pytest.raises(ConfigError, match=r"num_samples \(0\) must be at least 1"):
        Bootstrap(num_samples=0)
