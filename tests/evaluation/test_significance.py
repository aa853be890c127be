import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import DataError
from hpgr.evaluation.intervals import Bootstrap
from hpgr.evaluation.significance import differences_from, holm, paired_differences, sign_flip_p


def users(**columns):
    size = len(next(iter(columns.values())))
    return pl.DataFrame({"user_id": list(range(size)), "num_queries": [1] * size, **columns})


def test_a_true_null_is_rejected_about_as_often_as_the_level_says():
    """Two models' values of each user, swapped at random."""
    rng = np.random.default_rng(3)
    how, rejected = Bootstrap(num_samples=199), 0
    for _ in range(600):
        values_2U = np.sort(rng.exponential(1.0, (2, 60)), axis=0)
        swapped = rng.permuted(values_2U, axis=0)
        rejected += sign_flip_p(swapped[1] - swapped[0], how=how) <= 0.05
    assert 0.03 < rejected / 600 < 0.07


def test_the_p_of_three_users_by_hand():
    # The 8 sign patterns of (3, 2, 1) give sums 6, 4, 2, 0, 0, -2, -4, -6.
    assert sign_flip_p(np.array([3.0, 2.0, 1.0])) == 2 / 8
    assert sign_flip_p(np.array([3.0, 2.0, -1.0])) == 4 / 8
    assert sign_flip_p(np.array([-3.0, 2.0, 1.0])) == 1.0
    assert sign_flip_p(np.array([0.1, 0.2, 0.0, -0.3])) == 1.0
    assert sign_flip_p(np.zeros(5)) == 1.0


def test_drawn_patterns_agree_with_counted_ones():
    moved = np.array([5.0, 4.0, 3.0, 3.0, 2.0, 2.0, 1.0, 1.0, -1.0, -1.0, -2.0, -3.0])
    counted = sign_flip_p(moved)
    # A thirteenth user who hardly differs turns counting into drawing.
    drawn = sign_flip_p(np.append(moved, 1e-12), how=Bootstrap(num_samples=20_000))
    assert 0.05 < counted < 0.4
    assert drawn == pytest.approx(counted, abs=0.02)


def test_questions_of_a_user_are_flipped_together():
    # Alone, four equal questions could fall in 16 ways; of two users there are 4 patterns, 2 of them as far from zero.
    questions, who = np.ones(4), np.array(["a", "a", "b", "b"])
    assert sign_flip_p(questions) == 2 / 16
    assert sign_flip_p(questions, who) == 2 / 4
    assert sign_flip_p(np.array([2.0, -1.0, 1.0]), np.array([7, 7, 9])) == sign_flip_p(np.ones(2))


def test_paired_difference_aligns_users_and_has_a_sign():
    rng = np.random.default_rng(4)
    base = rng.random(300)
    first = users(**{"NDCG@10": base, "AUC": base})
    second = users(**{"AUC": base, "NDCG@10": base + 0.1 + 0.01 * rng.normal(size=300)}).reverse()
    better, same = paired_differences(first, second)
    assert (better.metric, same.metric) == ("NDCG@10", "AUC")
    assert better.interval.low < 0.1 < better.interval.high
    assert (better.first, same.second) == (pytest.approx(base.mean()), pytest.approx(base.mean()))
    assert better.second - better.first == pytest.approx(better.interval.value)
    assert better.p_value < 0.01
    assert better.p_holm == pytest.approx(2 * better.p_value)
    assert (same.interval.value, same.p_value, same.detectable) == (0.0, 1.0, 0.0)
    assert [d.metric for d in paired_differences(first, second, metrics=["AUC"])] == ["AUC"]


def test_a_user_without_a_value_on_one_side_is_in_neither_mean():
    (found,) = paired_differences(users(x=[1.0, None, 3.0]), users(x=[2.0, 9.0, None]))
    assert (found.first, found.second, found.interval.value, found.interval.num_users) == (1.0, 2.0, 1.0, 1)


def test_a_metric_that_no_user_has_is_not_compared():
    first, second = users(x=[1.0, 2.0], y=[None, None]), users(x=[2.0, 3.0], y=[1.0, 1.0])
    empty = pl.lit(None, dtype=pl.Float64).alias("y")
    assert [found.metric for found in paired_differences(first.with_columns(empty), second)] == ["x"]
    with pytest.raises(DataError, match=r"metrics \(y\) must be among those of both sides \(x\)"):
        paired_differences(first.with_columns(empty), second, metrics=["y"])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_goes_over_the_whole_table():
    reference = users(x=np.zeros(6), y=np.zeros(6))
    others = {"b": users(x=np.ones(6), y=np.arange(6.0)), "c": users(x=np.zeros(6), y=-np.ones(6))}
    table = differences_from(reference, others)
    # All 6 users up or down: 2 of 64 patterns; one user at zero: 2 of 32.
    assert [(d.metric, d.p_value) for d in table["b"]] == [("x", 2 / 64), ("y", 2 / 32)]
    assert [d.p_holm for d in table["b"]] == pytest.approx([4 * 2 / 64, 2 * 2 / 32])
    assert [d.p_holm for d in table["c"]] == pytest.approx([1.0, 4 * 2 / 64])
    assert table["c"][1].interval.value == -1.0


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(DataError, match=r"users \(2 and 1\) must be the same on both sides"):
        paired_differences(users(x=[1.0, 2.0]), users(x=[1.0]))
    twice = pl.DataFrame({"user_id": [0, 0], "num_queries": [1, 1], "x": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"users \(2 and 2\) must be the same on both sides"):
        paired_differences(twice, twice)
    with pytest.raises(DataError, match=r"metrics \(y\) must include one that both sides have"):
        paired_differences(users(x=[1.0]), users(y=[1.0]))
    with pytest.raises(DataError, match=r"metrics \(z\) must be among those of both sides \(x\)"):
        paired_differences(users(x=[1.0]), users(x=[1.0]), metrics=["z"])
