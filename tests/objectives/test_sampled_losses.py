"""Losses over given negatives: numbers worked out by hand and the identities of their papers."""

import math

import pytest
import torch
import torch.nn.functional as F

from hpgr.objectives.losses.binary import generalised_binary_costs
from hpgr.objectives.losses.ranking import (
    bpr_costs,
    bpr_max_costs,
    negative_shares,
    top1_costs,
    top1_max_costs,
)
from hpgr.objectives.losses.sampled_softmax import sampled_softmax_costs

LOG3 = math.log(3)
LOSSES = [bpr_costs, bpr_max_costs, top1_costs, top1_max_costs, sampled_softmax_costs]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def of(loss, positive, negatives, counts=None, **options) -> float:
    counts = [True] * len(negatives) if counts is None else counts
    got = loss(
        torch.tensor([positive], dtype=torch.float64),
        torch.tensor([negatives], dtype=torch.float64),
        torch.tensor([counts]),
        **options,
    )
    assert got.shape == (1,)
    return got.item()


def test_sampled_softmax_by_hand():
    # exp: 3 against 1 and 1; the third negative is the target itself.
    assert of(sampled_softmax_costs, LOG3, [0.0, 0.0, 50.0], [True, True, False]) == pytest.approx(math.log(5 / 3))


def test_every_other_item_as_a_negative_is_the_full_softmax():
    torch.manual_seed(0)
    logits = torch.randn(6, 9, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 3, 8, 3, 1, 5])
    counts = torch.arange(9) != target[:, None]
    got = sampled_softmax_costs(logits.gather(1, target[:, None]).squeeze(1), logits, counts)
    want = F.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(torch.autograd.grad(got.sum(), logits)[0], torch.autograd.grad(want.sum(), logits)[0])


def test_ranking_losses_by_hand():
    # Positive 0, negatives ln 3 and 0: σ(0 - ln 3) = 1/4, σ(0) = 1/2; shares 3/4 and 1/4.
    s = sigmoid(LOG3**2)
    assert of(bpr_costs, 0.0, [LOG3, 0.0]) == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert of(top1_costs, 0.0, [LOG3, 0.0]) == pytest.approx((3 / 4 + s + 1 / 2 + 1 / 2) / 2)
    assert of(bpr_max_costs, 0.0, [LOG3, 0.0]) == pytest.approx(-math.log(3 / 16 + 1 / 8))
    penalised = -math.log(3 / 16 + 1 / 8) + 2 * 3 / 4 * LOG3**2
    assert of(bpr_max_costs, 0.0, [LOG3, 0.0], penalty=2.0) == pytest.approx(penalised)
    assert of(top1_max_costs, 0.0, [LOG3, 0.0]) == pytest.approx(3 / 4 * (3 / 4 + s) + 1 / 4)


def test_top1_of_one_negative_by_hand():
    # r = 1, r_j = 2: σ(1) + σ(4).
    assert of(top1_costs, 1.0, [2.0]) == pytest.approx(0.7310585786 + 0.9820137900, abs=1e-9)
    assert of(top1_max_costs, 1.0, [2.0]) == pytest.approx(0.7310585786 + 0.9820137900, abs=1e-9)


def test_elu_acts_on_every_score():
    # ELU of size 2: -1 becomes 2 (e⁻¹ - 1); positive scores stay.
    low = 2 * (math.exp(-1) - 1)
    assert of(bpr_max_costs, -1.0, [3.0], elu=2.0) == pytest.approx(-math.log(sigmoid(low - 3)))
    assert of(bpr_max_costs, 1.0, [-1.0], elu=2.0, penalty=1.0) == pytest.approx(-math.log(sigmoid(1 - low)) + low**2)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_what_does_not_count_changes_nothing(loss):
    alone = of(loss, 0.3, [0.9, -0.5])
    assert of(loss, 0.3, [0.9, 70.0, -0.5], [True, False, True]) == pytest.approx(alone)
    positive = torch.tensor([0.3, 0.3], requires_grad=True)
    negative = torch.tensor([[0.9, 70.0], [2.0, 3.0]], requires_grad=True)
    cost = loss(positive, negative, torch.tensor([[True, False], [False, False]]))
    assert cost[1].item() == 0, "no negative, no cost"
    cost.sum().backward()
    assert negative.grad.isfinite().all()
    assert positive.grad.isfinite().all()
    assert negative.grad[0, 0] != 0
    assert positive.grad[0] != 0
    assert negative.grad.flatten()[1:].tolist() == [0, 0, 0]
    assert positive.grad[1] == 0


def test_shares_of_negatives_sum_to_one_without_the_target():
    torch.manual_seed(0)
    negative, target = torch.randn(5, 7), torch.tensor([0, 6, 2, 2, 4])
    shares = negative_shares(negative, torch.arange(7) != target[:, None])
    assert shares[torch.arange(5), target].tolist() == [0] * 5
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    # exp(ln 3) to exp(0).
    assert negative_shares(torch.tensor([[LOG3, 9.0, 0.0]]), torch.tensor([[True, False, True]])).tolist() == [
        pytest.approx([0.75, 0.0, 0.25])
    ]


def test_where_one_negative_dominates_the_max_forms_are_the_pair_forms_on_it():
    negatives = [2.0, -40.0, -45.0]
    assert of(bpr_max_costs, 1.0, negatives) == pytest.approx(of(bpr_costs, 1.0, [2.0]), rel=1e-9)
    assert of(top1_max_costs, 1.0, negatives) == pytest.approx(of(top1_costs, 1.0, [2.0]), rel=1e-9)
    assert of(bpr_costs, 1.0, negatives) < 0.5 * of(bpr_costs, 1.0, [2.0]), "the mean forgets it"


def gradient_of_the_positive(loss, num_easy: int) -> float:
    positive = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    negative = torch.full((1, num_easy + 1), -20.0, dtype=torch.float64)
    negative[0, 0] = 1.0
    loss(positive, negative, torch.ones_like(negative, dtype=torch.bool)).backward()
    return -positive.grad.item()


def test_easy_negatives_drown_the_gradient_of_the_mean_and_not_of_the_max():
    few, many = (gradient_of_the_positive(bpr_costs, count) for count in (99, 999))
    assert few == pytest.approx(sigmoid(1.0) / 100, rel=1e-4), "1 / S of the hard one's"
    assert few / many == pytest.approx(10, rel=1e-4)
    few, many = (gradient_of_the_positive(bpr_max_costs, count) for count in (99, 999))
    assert few == pytest.approx(sigmoid(1.0), rel=1e-3)
    assert many == pytest.approx(few, rel=1e-3)


def test_generalised_binary_by_hand():
    # (β ln 2 + ln 4) / 3 with β = 1/2; the second negative does not count and is still one of the two.
    got = of(generalised_binary_costs, 0.0, [LOG3, 5.0], [True, False], beta=0.5)
    assert got == pytest.approx((0.5 * math.log(2) + math.log(4)) / 3)


def test_generalised_binary_is_plain_at_beta_one():
    torch.manual_seed(0)
    scores = torch.randn(4, 6)
    got = generalised_binary_costs(scores[:, 0], scores[:, 1:], torch.ones(4, 5, dtype=torch.bool), beta=1.0)
    label = F.one_hot(torch.zeros(4, dtype=torch.int64), 6).float()
    torch.testing.assert_close(got, F.binary_cross_entropy_with_logits(scores, label, reduction="none").mean(1))


@pytest.mark.parametrize("beta", [0.05, 0.5, 1.0])
def test_generalised_binary_is_that_of_the_transformed_logit(beta):
    score = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    gamma = -(torch.sigmoid(score) ** -beta - 1).log()
    torch.testing.assert_close(torch.sigmoid(gamma), torch.sigmoid(score) ** beta, rtol=0, atol=1e-6)
    want = F.binary_cross_entropy_with_logits(gamma, torch.ones_like(gamma), reduction="none")
    none = torch.zeros(25, 0)
    got = generalised_binary_costs(score, none, none.bool(), beta=beta)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
    torch.testing.assert_close(*(torch.autograd.grad(x.sum(), score)[0] for x in (got, want)), rtol=0, atol=1e-6)
    sure = torch.tensor([40.0, -200.0], requires_grad=True)
    generalised_binary_costs(sure, torch.zeros(2, 0), torch.zeros(2, 0).bool(), beta=beta).sum().backward()
    assert sure.grad.tolist() == pytest.approx([0, -beta]), "in float32, where the power itself would overflow"
