"""Our metrics beside those of other libraries, where they mean the same; the optional ones are tested where they are installed."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional import retrieval as torch_metrics

from hpgr.core.jagged import Jagged
from hpgr.evaluation.metrics import per_query
from hpgr.evaluation.ranks import rank_counts
from hpgr.evaluation.sampled import auc_per_query

QUERIES, ITEMS, K = 60, 40, 10


@pytest.fixture(scope="module")
def asked():
    """Scores without ties, and one to five targets a query."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(QUERIES, ITEMS, generator=generator, dtype=torch.float64)
    return scores, [torch.randperm(ITEMS, generator=generator)[: 1 + q % 5] for q in range(QUERIES)]


def ours(asked, names):
    scores, targets = asked
    return per_query(rank_counts(scores, Jagged.from_lengths(torch.cat(targets), [len(t) for t in targets])), names)


def relevant(rows):
    return np.isin(np.arange(ITEMS), rows.numpy()).astype(int)


def test_map_is_torchmetrics_at_full_depth(asked):
    scores, targets = asked
    want = [
        float(torch_metrics.retrieval_average_precision(scores[q], torch.tensor(relevant(rows))))
        for q, rows in enumerate(targets)
    ]
    assert ours(asked, [f"MAP@{ITEMS}"])[f"MAP@{ITEMS}"] == pytest.approx(np.array(want), abs=1e-6)


def test_ndcg_map_and_auc_are_sklearns(asked):
    scores, targets = asked
    found = ours(asked, [f"NDCG@{K}", f"MAP@{ITEMS}"])
    truth = np.stack([relevant(rows) for rows in targets])
    ndcg = [sklearn_metrics.ndcg_score(t[None], s[None], k=K) for t, s in zip(truth, scores.numpy())]
    precision = [sklearn_metrics.average_precision_score(t, s) for t, s in zip(truth, scores.numpy())]
    assert found[f"NDCG@{K}"] == pytest.approx(np.array(ndcg), abs=1e-6)
    assert found[f"MAP@{ITEMS}"] == pytest.approx(np.array(precision), abs=1e-6)
    one = torch.stack([rows[0] for rows in targets])
    tied = (scores * 8).round()
    alone = [sklearn_metrics.roc_auc_score(relevant(row), s) for row, s in zip(one, tied.numpy())]
    assert auc_per_query(rank_counts(tied, one)) == pytest.approx(np.array(alone), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_ranking_metrics_are_those_of_rectools(asked):
    other = pytest.importorskip("rectools.metrics", exc_type=ImportError)
    scores, targets = asked
    top = scores.topk(K).indices
    lists = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(QUERIES), K),
            "item_id": top.flatten().numpy(),
            "rank": np.tile(np.arange(1, K + 1), QUERIES),
        }
    )
    truth = pd.DataFrame(
        {"user_id": np.repeat(np.arange(QUERIES), [len(t) for t in targets]), "item_id": torch.cat(targets).numpy()}
    )
    theirs = {
        "NDCG": other.NDCG(k=K, divide_by_achievable=True).calc_per_user(lists, truth),
        "MAP": other.MAP(k=K).calc_per_user(lists, truth),
        "MRR": other.MRR(k=K).calc_per_user(lists, truth),
        "HitRate": other.HitRate(k=K).calc_per_user(lists, truth),
        "Recall": other.Recall(k=K).calc_per_user(lists, truth),
        "Precision": other.Precision(k=K).calc_per_user(lists, truth),
    }
    found = ours(asked, [f"{name}@{K}" for name in theirs])
    for name, want in theirs.items():
        assert 0 < want.mean() < 1
        assert found[f"{name}@{K}"] == pytest.approx(want.sort_index().to_numpy(), abs=1e-6), name
