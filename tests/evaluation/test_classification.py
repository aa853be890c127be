import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from torchmetrics.functional.classification import binary_calibration_error

from hpgr.core.errors import DataError
from hpgr.evaluation.calibration import calibration
from hpgr.evaluation.classification import auc, grouped_auc, list_ranks, log_loss, normalised_entropy
from hpgr.evaluation.metrics import per_query


def sample(n=400, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    score = np.round(rng.random(n) * 0.7 + 0.3 * label, 1)
    return score, label, rng.random(n), rng.integers(0, 40, n)


def test_auc_with_ties_and_weights_is_sklearns():
    score, label, weight, _ = sample()
    assert auc(score, label) == pytest.approx(oracle.roc_auc_score(label, score), abs=1e-12)
    want = oracle.roc_auc_score(label, score, sample_weight=weight)
    assert auc(score, label, weight) == pytest.approx(want, abs=1e-12)
    assert auc(np.zeros(4), np.array([0, 1, 0, 1])) == 0.5


def test_grouped_auc_is_a_loop_over_groups():
    score, label, _, group = sample(120)
    group = np.array([f"r{g}" for g in group])
    want, sizes, skipped = {}, [], 0
    for name in np.unique(group):
        rows = group == name
        if len(set(label[rows])) == 1:
            skipped += 1
            continue
        want[name] = oracle.roc_auc_score(label[rows], score[rows])
        sizes.append(rows.sum())
    found = grouped_auc(score, label, group)
    assert skipped > 0
    assert (found.groups.tolist(), found.num_skipped) == (list(want), skipped)
    np.testing.assert_allclose(found.values, list(want.values()), atol=1e-12)
    assert found.mean() == pytest.approx(np.mean(list(want.values())))
    assert found.mean("impressions") == pytest.approx(np.average(list(want.values()), weights=sizes))


def test_metrics_inside_a_list_count_only_what_was_shown():
    score = np.array([0.9, 0.5, 0.5, 0.1, 0.3, 0.3, 0.7])
    label = np.array([0, 1, 0, 0, 1, 0, 0])
    found = list_ranks(score, label, np.array([7, 7, 7, 7, 2, 2, 5]))
    assert (found.groups.tolist(), found.num_skipped) == ([2, 7], 1)
    assert found.counts.rows.tolist() == [4, 1]
    assert found.counts.eligible.tolist() == [2, 4]
    values = per_query(found.counts, ["MRR@10", "NDCG@1"])
    np.testing.assert_allclose(values["MRR@10"], [(1 + 1 / 2) / 2, (1 / 2 + 1 / 3) / 2])
    np.testing.assert_allclose(values["NDCG@1"], [0.5, 0.0])


def test_ndcg_of_lists_with_ties_is_sklearns():
    score, label, _, group = sample(200, seed=4)
    found = list_ranks(score, label, group)
    values = per_query(found.counts, ["NDCG@5"])["NDCG@5"]
    assert len(values) > 20
    for name, value in zip(found.groups, values):
        rows = group == name
        if rows.sum() > 1:
            assert value == pytest.approx(oracle.ndcg_score([label[rows]], [score[rows]], k=5), abs=1e-9)


def test_log_loss_and_normalised_entropy():
    score, label, weight, _ = sample()
    prob = np.clip(score, 0.05, 0.95)
    want = oracle.log_loss(label, prob, sample_weight=weight)
    assert log_loss(prob, label, weight) == pytest.approx(want, rel=1e-9)
    rate = np.full(len(label), label.mean())
    assert normalised_entropy(rate, label) == pytest.approx(1)
    assert np.isfinite(log_loss(np.array([0.0]), np.array([1])))


def test_calibration_by_hand():
    prob = np.array([0.1, 0.2, 0.7, 0.8])
    label = np.array([0, 1, 1, 1])
    found = calibration(prob, label, num_bins=2)
    assert [(b.low, b.high, b.weight) for b in found.bins] == [(0.0, 0.2, 2.0), (0.2, 1.0, 2.0)]
    assert [b.mean_prob for b in found.bins] == pytest.approx([0.15, 0.75])
    assert [b.mean_label for b in found.bins] == [0.5, 1.0]
    assert found.error == pytest.approx((0.35 * 2 + 0.25 * 2) / 4)
    assert found.ratio == pytest.approx(1.8 / 3)
    weighted = calibration(prob, label, np.array([1, 1, 0, 2]), num_bins=2)
    assert weighted.bins[1].mean_prob == 0.8
    assert weighted.error == pytest.approx((0.35 * 2 + 0.2 * 2) / 4)
    assert np.isnan(calibration(prob, np.zeros(4)).ratio)


def test_calibration_error_of_equal_widths_is_torchmetrics():
    rng = np.random.default_rng(1)
    prob, label = rng.random(500), rng.integers(0, 2, 500)
    want = float(binary_calibration_error(torch.from_numpy(prob), torch.from_numpy(label), n_bins=15))
    assert calibration(prob, label, num_bins=15, bins="width").error == pytest.approx(want, abs=1e-6)


def test_equal_predictions_share_a_bin():
    assert len(calibration(np.full(50, 0.3), np.arange(50) % 2).bins) == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([0.1, np.nan], [0, 1], None), r"score \(NaN in 1 of 2 rows\) must be numbers"),
        (([0.1, 0.2], [0, 2], None), r"label \(2\) must be 0 or 1"),
        (([0.1, 0.2], [0, 1], [1, -1]), r"weight \(sum 0\) must be finite, not negative and not all 0"),
        (([0.1, 0.2], [0, 1], [1, np.nan]), r"weight \(sum nan\) must be finite"),
        (([0.1], [0, 1], None), r"score, label and weight \(1, 2 and 1 rows\) must have one length above 0"),
        (([0.1, 0.2], [1, 1], None), r"labels \(2, all the same\) must hold both 0 and 1 for an AUC"),
    ],
    ids=["nan", "label", "weight", "nan weight", "length", "one class"],
)
def test_what_would_corrupt_a_score_is_refused(arrays, message):
    score, label, weight = (None if a is None else np.array(a) for a in arrays)
    with pytest.raises(DataError, match=message):
        auc(score, label, weight)


def test_logits_are_not_probabilities():
    with pytest.raises(DataError, match=r"prob \(from -1 to 3\) must lie between 0 and 1; give probabilities"):
        log_loss(np.array([-1.0, 3.0]), np.array([0, 1]))
    with pytest.raises(DataError, match=r"groups \(2\) must include one with both labels"):
        grouped_auc(np.array([0.1, 0.2]), np.array([0, 1]), np.array([0, 1])).mean()
    with pytest.raises(DataError, match="for a normalised entropy"):
        normalised_entropy(np.array([0.1, 0.2]), np.array([1, 1]))
