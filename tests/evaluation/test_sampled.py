"""Ranks among sampled negatives: how they are drawn, how they mislead, and what a correction gives back."""

import numpy as np
import pytest
import torch

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.jagged import Jagged
from hpgr.evaluation.metrics import per_query
from hpgr.evaluation.ranks import NEVER, RankCounts, rank_counts
from hpgr.evaluation.sampled import (
    Correction,
    auc_per_query,
    metric_of_ranks,
    rank_estimate,
    sampled_counts,
    sampled_name,
    sampled_per_query,
)

N, M, Q = 10_000, 100, 20_000


def at(ranks, num_items=N, tied=0):
    size = len(ranks)
    return RankCounts(
        rows=np.zeros(size, dtype=np.int64),
        offsets=np.arange(size + 1),
        better=np.asarray(ranks) - 1,
        tied=np.full(size, tied),
        eligible=np.full(size, num_items),
    )


@pytest.fixture(scope="module")
def two_systems():
    """One puts every target into the first fifth and hardly ever first; one puts few first and is lost on the others."""
    rng = np.random.default_rng(0)
    middling = rng.integers(1, 1700, Q)
    sharp = np.where(rng.random(Q) < 0.06, rng.integers(1, 11, Q), rng.integers(1, N + 1, Q))
    return at(middling), at(sharp)


def means(name, systems, values=per_query):
    return [float(values(counts, [name])[name].mean()) for counts in systems]


def test_sampling_turns_two_systems_round_and_the_correction_turns_them_back(two_systems):
    rng = np.random.default_rng(1)
    sampled = [sampled_counts(counts, M, rng) for counts in two_systems]
    true, naive = means("NDCG@10", two_systems), means("NDCG@10", sampled)
    assert true == [pytest.approx(0.003, abs=0.001), pytest.approx(0.027, abs=0.002)]
    assert naive[0] > 2 * naive[1]
    correction = Correction(num_items=N, num_negatives=M)
    fixed = [float(correction.per_query(counts, "NDCG@10").mean()) for counts in sampled]
    assert fixed[1] > fixed[0] + 0.004
    assert abs(fixed[0] - true[0]) < 0.003
    assert abs(fixed[1] - true[1]) < abs(naive[1] - true[1])


def test_only_the_auc_keeps_its_value(two_systems):
    rng = np.random.default_rng(2)
    for full in two_systems:
        sampled = sampled_counts(full, M, rng)
        assert auc_per_query(sampled).mean() == pytest.approx(auc_per_query(full).mean(), abs=0.002)
        assert per_query(sampled, ["HR@10"])["HitRate@10"].mean() > 2 * per_query(full, ["HR@10"])["HitRate@10"].mean()
        assert rank_estimate(sampled.better + 1, N, M).mean() == pytest.approx((full.better + 1).mean(), rel=0.01)


def test_more_negatives_are_wrong_by_less(two_systems):
    (full, _), rng = two_systems, np.random.default_rng(3)
    true = per_query(full, ["HR@10"])["HitRate@10"].mean()
    found = [per_query(sampled_counts(full, m, rng), ["HR@10"])["HitRate@10"].mean() for m in (100, 1000, 5000)]
    assert found[0] > 5 * found[1] > 5 * found[2] > 5 * true


def test_drawn_from_ranks_is_drawn_from_scores():
    rng = np.random.default_rng(4)
    scores = rng.integers(0, 5, 40).astype(np.float64)
    others = np.delete(scores, 7)
    full = rank_counts(torch.tensor(scores)[None].repeat(20_000, 1), torch.full((20_000,), 7))
    drawn = others[rng.integers(0, 39, (20_000, 6))]
    sampled = sampled_counts(full, 6, rng)
    for mine, want in ((sampled.better, (drawn > scores[7]).sum(1)), (sampled.tied, (drawn == scores[7]).sum(1))):
        assert np.bincount(mine, minlength=7) / 20_000 == pytest.approx(
            np.bincount(want, minlength=7) / 20_000, abs=0.015
        )
    assert (sampled.eligible == 7).all()
    assert 0 < full.tied[0] < 39


def test_first_and_last_stay_where_they_are_and_misses_too():
    counts = at([1, 10, NEVER + 1], num_items=10)
    sampled = sampled_counts(counts, 5, np.random.default_rng(0))
    assert sampled.better.tolist() == [0, 5, NEVER]
    assert auc_per_query(counts).tolist() == [1.0, 0.0, 0.0]
    assert auc_per_query(at([3], num_items=10, tied=2)) == pytest.approx(1 - 3 / 9)
    assert Correction(num_items=10, num_negatives=5).per_query(sampled, "HR@3")[2] == 0.0


def test_the_correction_by_hand():
    # Two items, one negative: the sampled rank is the rank, so that nothing has to be corrected.
    sure = Correction(num_items=2, num_negatives=1)
    assert sure.table("NDCG@2") == pytest.approx([1.0, 1 / np.log2(3)])
    # Three items, one negative: rank 2 is seen as 1 or 2 alike. Given sampled rank 1 it was 1 twice as often as 2.
    given = Correction(num_items=3, num_negatives=1, gamma=1.0)
    assert given.table("HR@1") == pytest.approx([2 / 3, 0.0])
    # Least squares of (1, 0, 0) by (x, (x + y) / 2, y): 5x + y = 4 and x + 5y = 0.
    exact = Correction(num_items=3, num_negatives=1, gamma=1e-12)
    assert exact.table("HR@1") == pytest.approx([5 / 6, -1 / 6])


def test_the_correction_is_the_least_of_bias_and_variance():
    how = Correction(num_items=9, num_negatives=4, gamma=0.3, prior=np.arange(9, 0, -1.0))
    share = np.arange(9)[:, None] / 8
    ways = np.array([1, 4, 6, 4, 1])
    chance = ways * share ** np.arange(5) * (1 - share) ** np.arange(4, -1, -1)
    f, prior = metric_of_ranks("NDCG@3", 9), np.arange(9, 0, -1.0) / 45

    def cost(x):
        mean = chance @ x
        return float(prior @ ((mean - f) ** 2 + 0.3 * (chance @ x**2 - mean**2)))

    best = how.table("NDCG@3")
    for step in np.concatenate([np.eye(5), -np.eye(5)]) * 1e-3:
        assert cost(best + step) > cost(best)


def test_enough_negatives_leave_no_bias():
    how = Correction(num_items=4, num_negatives=5, gamma=1e-9)
    rng = np.random.default_rng(5)
    for rank, want in enumerate(metric_of_ranks("NDCG@2", 4), start=1):
        sampled = sampled_counts(at(np.full(40_000, rank), num_items=4), 5, rng)
        assert how.per_query(sampled, "NDCG@2").mean() == pytest.approx(want, abs=0.05)


def test_ties_count_by_half_in_an_estimate():
    how = Correction(num_items=50, num_negatives=5)
    table = how.table("NDCG@5")
    assert how.per_query(at([2], num_items=6, tied=2), "NDCG@5") == pytest.approx(table[1:4].mean())


def test_names_carry_the_sampler():
    found = sampled_per_query(at([1, 5], num_items=10), ["NDCG@10", "hr@1"], 100, np.random.default_rng(0))
    assert list(found) == ["NDCG@10[u100]", "HitRate@1[u100]"]
    assert found["HitRate@1[u100]"].tolist() == [1.0, 0.0]
    assert sampled_name("recall@5", 20) == "Recall@5[u20]"


def test_what_has_no_sampled_rank_is_refused():
    two = rank_counts(torch.rand(1, 9), Jagged.from_lengths(torch.tensor([0, 1]), [2]))
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match=r"targets \(1 queries have several or none\) must be one a query"):
        sampled_counts(two, 5, rng)
    with pytest.raises(DataError, match=r"eligible items \(1 of a query\) must be at least 2"):
        sampled_counts(at([1], num_items=1), 5, rng)
    with pytest.raises(ConfigError, match=r"num_negatives \(0\) must be at least 1"):
        sampled_counts(at([1]), 0, rng)
    with pytest.raises(ConfigError, match=r"gamma \(0\) must lie above 0"):
        Correction(num_items=9, num_negatives=5, gamma=0)
    with pytest.raises(ConfigError, match=r"prior \(3 ranks\) must have one for each of 9 items"):
        Correction(num_items=9, num_negatives=5, prior=np.ones(3))
    with pytest.raises(ConfigError, match=r"num_items and num_negatives \(1 and 5\) must be at least 2 and 1"):
        Correction(num_items=1, num_negatives=5)
