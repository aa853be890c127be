import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, DataError
from hpgr.evaluation.intervals import Bootstrap
from hpgr.evaluation.power import Pilot, detectable_difference, power_line, users_needed
from hpgr.evaluation.significance import sign_flip_p


def test_the_detectable_difference_by_hand():
    # 1.959964 + 0.841621 standard errors; one is 1 / sqrt(100).
    assert detectable_difference(1.0, 100) == pytest.approx(0.2801585, abs=1e-7)
    # Variance 0.09 + 0.16 - 2 * 0.25 * 0.12 = 0.19.
    assert Pilot(first=0.3, second=0.4, correlation=0.25).spread == pytest.approx(0.19**0.5)
    # Of seeds: 0.19 / 1900 and twice 0.02^2 / 8 make 2e-4.
    least = detectable_difference(0.19**0.5, 1900, seed_spread=0.02, num_seeds=8)
    assert least == pytest.approx(2.801585 * 2e-4**0.5, rel=1e-6)


def test_the_detectable_difference_is_found_with_its_power():
    least, rng = detectable_difference(1.0, 100), np.random.default_rng(5)
    how = Bootstrap(num_samples=199)
    found = np.mean([sign_flip_p(rng.normal(least, 1, 100), how=how) <= 0.05 for _ in range(300)])
    assert 0.72 < found < 0.88


def test_so_many_users_are_needed():
    needed = users_needed(0.01, 0.3)
    assert detectable_difference(0.3, needed) <= 0.01 < detectable_difference(0.3, needed - 1)


def test_a_pilot_from_two_frames_of_users():
    first = pl.DataFrame({"user_id": [1, 2, 3, 4], "num_queries": 1, "x": [0.0, 1.0, 2.0, None]})
    second = pl.DataFrame({"user_id": [3, 2, 1, 4], "num_queries": 1, "x": [4.0, 3.0, 0.0, 7.0]})
    pilot = Pilot.of(first, second, "x")
    # (0, 1, 2) beside (0, 3, 4): variances 2/3 and 26/9, covariance 4/3; the differences 0, 2, 2 have variance 8/9.
    assert (pilot.first, pilot.second) == (pytest.approx((2 / 3) ** 0.5), pytest.approx((26 / 9) ** 0.5))
    assert pilot.spread == pytest.approx((8 / 9) ** 0.5)
    flat = first.with_columns(x=pl.lit(1.0))
    assert Pilot.of(flat, flat, "x").spread == 0.0
    with pytest.raises(DataError, match=r"users with x on both sides \(1\) must be at least two"):
        Pilot.of(first, second[:1], "x")


def test_the_line_for_people():
    pilot = Pilot(first=0.3, second=0.3, correlation=0.5)
    assert power_line("MRR@10", pilot, 100, seed_spread=0.01, num_seeds=5) == (
        "MRR@10: 100 users and 5 seeds show true differences from 0.0859 on (power 80%, level 5%); "
        "smaller ones will mostly be missed"
    )
    assert power_line("MRR@10", pilot, 40).endswith("will mostly be missed; a rough figure below 100 users")


def test_what_is_no_plan_is_refused():
    with pytest.raises(ConfigError, match=r"correlation \(1.5\) must lie between -1 and 1"):
        Pilot(first=1, second=1, correlation=1.5)
    with pytest.raises(ConfigError, match=r"spreads \(-1 and 1\) must not be negative"):
        Pilot(first=-1, second=1, correlation=0)
    with pytest.raises(ConfigError, match=r"difference \(0\) must be above 0"):
        users_needed(0, 1)
    with pytest.raises(ConfigError, match=r"power \(80\) must lie between 0 and 1"):
        detectable_difference(1, 1, power=80)
