import itertools

import numpy as np
import polars as pl
import pytest
import torch
from torchmetrics import functional as oracle

from hpgr.core.errors import ConfigError, DataError, UnknownNameError
from hpgr.core.jagged import Jagged
from hpgr.evaluation.metrics import Metric, per_query, per_user
from hpgr.evaluation.ranks import rank_counts

KINDS = ("HitRate", "MAP", "MRR", "NDCG", "Precision", "Recall")


def by_definition(order, targets, k):
    """Each metric of one strict order of items."""
    ranks = sorted(order.index(t) + 1 for t in targets if t in order)
    top = [r for r in ranks if r <= k]
    best = min(k, len(targets))
    return {
        "HitRate": float(bool(top)),
        "MAP": sum((i + 1) / r for i, r in enumerate(top)) / best,
        "MRR": 1 / top[0] if top else 0.0,
        "NDCG": sum(1 / np.log2(r + 1) for r in top) / sum(1 / np.log2(r + 1) for r in range(1, best + 1)),
        "Precision": len(top) / k,
        "Recall": len(top) / len(targets),
    }


def over_all_orders(scores, targets, k):
    """The mean over every order that sorts the scores."""
    groups = [[i for i, s in enumerate(scores) if s == value] for value in sorted(set(scores), reverse=True)]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    found = [by_definition([i for group in order for i in group], targets, k) for order in orders]
    return {kind: float(np.mean([f[kind] for f in found])) for kind in KINDS}


@pytest.mark.parametrize("num_targets", [1, 2, 3, 4])
def test_ties_count_as_the_mean_over_all_orders(num_targets):
    rng = np.random.default_rng(num_targets)
    checked = 0
    for _ in range(12):
        scores = rng.integers(0, 3, size=7).tolist()
        targets = rng.choice(9, size=num_targets, replace=False).tolist()
        counts = rank_counts(torch.tensor([scores]).float(), Jagged.from_lengths(torch.tensor(targets), [num_targets]))
        for k in (1, 2, 4, 7, 9):
            want = over_all_orders(scores, targets, k)
            got = per_query(counts, [Metric(kind, k) for kind in KINDS])
            for kind in KINDS:
                assert got[f"{kind}@{k}"][0] == pytest.approx(want[kind], abs=1e-12), (kind, k, scores, targets)
                checked += 1
    assert checked == 12 * 5 * 6


def test_constant_scores_earn_what_chance_earns():
    counts = rank_counts(torch.zeros(3, 50), torch.tensor([0, 17, 49]))
    found = per_query(counts, ["HR@10", "NDCG@10"])
    np.testing.assert_allclose(found["HitRate@10"], 10 / 50)
    np.testing.assert_allclose(found["NDCG@10"], sum(1 / np.log2(r + 1) for r in range(1, 11)) / 50)


def test_without_ties_by_hand():
    counts = rank_counts(torch.tensor([[9.0, 8.0, 7.0, 6.0, 5.0]]), Jagged.from_lengths(torch.tensor([1, 3, 5]), [3]))
    found = {name: float(value[0]) for name, value in per_query(counts, [f"{k}@4" for k in KINDS]).items()}
    assert found["HitRate@4"] == 1
    assert found["Recall@4"] == pytest.approx(2 / 3)
    assert found["Precision@4"] == 0.5
    assert found["MRR@4"] == 0.5
    assert found["MAP@4"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert found["NDCG@4"] == pytest.approx((0.630930 + 0.430677) / (1 + 0.630930 + 0.5), abs=1e-6)


def test_equal_to_torchmetrics_where_definitions_agree():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(20, 30, generator=generator)
    targets = [torch.randperm(30, generator=generator)[: 1 + q % 5] for q in range(20)]
    counts = rank_counts(scores, Jagged.from_lengths(torch.cat(targets), [len(t) for t in targets]))
    names = {
        "HitRate": oracle.retrieval.retrieval_hit_rate,
        "NDCG": oracle.retrieval.retrieval_normalized_dcg,
        "Precision": oracle.retrieval.retrieval_precision,
        "Recall": oracle.retrieval.retrieval_recall,
    }
    found = per_query(counts, [Metric(kind, 10) for kind in names] + [Metric("MRR", 30)])
    for q, rows in enumerate(targets):
        relevant = torch.zeros(30, dtype=torch.bool)
        relevant[rows] = True
        for kind, function in names.items():
            assert found[f"{kind}@10"][q] == pytest.approx(float(function(scores[q], relevant, top_k=10)), abs=1e-6)
        reciprocal = oracle.retrieval.retrieval_reciprocal_rank(scores[q], relevant)
        assert found["MRR@30"][q] == pytest.approx(float(reciprocal), abs=1e-6)


def test_a_miss_stays_in_the_target_set():
    counts = rank_counts(torch.tensor([[2.0, 1.0]]), Jagged.from_lengths(torch.tensor([0, 2]), [2]))
    found = per_query(counts, ["Recall@2", "NDCG@2", "MAP@2"])
    assert found["Recall@2"][0] == 0.5
    assert found["NDCG@2"][0] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert found["MAP@2"][0] == 0.5


def test_metric_names():
    assert Metric.parse(" ndcg@10 ") == Metric("NDCG", 10)
    assert Metric.parse("hr@5").name == "HitRate@5"
    with pytest.raises(UnknownNameError, match=r"no metric is named 'Recal'; did you mean Recall\?"):
        Metric.parse("Recal@10")
    with pytest.raises(ConfigError, match=r"metric \(NDCG\) must say its depth, as in NDCG@10"):
        Metric.parse("NDCG")
    with pytest.raises(ConfigError, match=r"depth of MRR \(0\) must be at least 1"):
        Metric.parse("MRR@0")
    with pytest.raises(ConfigError, match=r"metric \(10@NDCG\) must be a name and a depth"):
        Metric.parse("10@NDCG")


def test_users_count_alike_however_many_queries_they_have():
    frame = per_user(["b", "a", "b"], {"x": np.array([1.0, 0.5, 0.0]), "y": np.array([np.nan, np.nan, 2.0])})
    want = pl.DataFrame({"user_id": ["a", "b"], "num_queries": [1, 2], "x": [0.5, 0.5], "y": [None, 2.0]})
    assert frame.equals(want)
    with pytest.raises(DataError, match=r"x \(1 values\) must have one value for each query \(2\)"):
        per_user([1, 2], {"x": np.array([1.0])})
