"""Several right answers of one state: numbers worked out by hand, the limits, and who pulls whom."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import hpgr.objectives.set_softmax as module
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.frames.prior import PopularityPrior
from hpgr.frames.scoring import CatalogueTargets
from hpgr.items.id_embedding import IdEmbedding
from hpgr.objectives.losses.sampled_softmax import sampled_softmax_costs
from hpgr.objectives.losses.set_softmax import log_sums, set_softmax_costs
from hpgr.objectives.set_softmax import SetSoftmax

STATE_SD = torch.randn(3, 4, generator=torch_generator(1, "states"))
SET_N, TARGET_N = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([3, 5, 0, 1, 1, 8])


def catalogue(**options) -> CatalogueTargets:
    torch.manual_seed(3)
    items = IdEmbedding.Config(dim=4, std=0.7, **options).build(num_items=9)
    if items.output_bias is not None:
        torch.nn.init.normal_(items.output_bias)
    return CatalogueTargets(items=items, prior=PopularityPrior(9))


def costs(cost: SetSoftmax, items: CatalogueTargets) -> torch.Tensor:
    return cost.set_costs(STATE_SD, SET_N, TARGET_N, items, torch_generator(2))


def test_two_positives_and_two_negatives_by_hand(close):
    """Scores of the positives ln 2 and ln 6, of the negatives 0 and ln 3; the third state has no negative."""
    others = log_sums(torch.tensor([[0.0, math.log(3), 9.0]] * 2), torch.tensor([[True, True, False], [False] * 3]))
    got = set_softmax_costs(torch.tensor([math.log(2), math.log(6), 5.0]), torch.tensor([0, 0, 1]), others)
    close(got, torch.tensor([math.log(6 / 2), math.log(10 / 6), 0.0]))


def test_of_one_positive_it_is_sampled_cross_entropy(close):
    generator = torch_generator(0, "scores")
    positive_N, negative_NM = torch.randn(5, generator=generator), torch.randn(5, 7, generator=generator)
    counts_NM = torch.rand(5, 7, generator=generator) < 0.7
    got = set_softmax_costs(positive_N, torch.arange(5), log_sums(negative_NM, counts_NM))
    close(got, sampled_softmax_costs(positive_N, negative_NM, counts_NM))


@pytest.mark.parametrize("options", [{}, {"output_bias": True}, {"distance": True}, {"sparse": True}], ids=str)
def test_over_the_whole_catalogue_by_a_loop(options, close):
    items = catalogue(**options)
    scores = STATE_SD @ items.table().T + (0 if items.bias() is None else items.bias())
    want = []
    for s, target in zip(SET_N.tolist(), TARGET_N.tolist()):
        others = [i for i in range(9) if i not in TARGET_N[s == SET_N].tolist()]
        want.append(scores[s, [target, *others]].logsumexp(0) - scores[s, target])
    close(costs(SetSoftmax(), items), torch.stack(want))


def test_alone_each_positive_is_cross_entropy_over_the_catalogue(close):
    items, target = catalogue(), torch.tensor([3, 0, 8])
    got = SetSoftmax().loss(STATE_SD, target, items, torch_generator(2))
    close(got, F.cross_entropy(STATE_SD @ items.table().T, target))


def test_a_sample_leaves_out_the_right_answers_of_its_own_state_only(monkeypatch, close):
    items = catalogue()
    drawn = torch.tensor([3, 1, 7, 7])
    monkeypatch.setattr(torch, "randint", lambda *args, **options: drawn)
    scores = STATE_SD @ items.table().T
    negatives = [[1, 7, 7], [3, 1, 7, 7], [3, 7, 7]]
    want = [
        scores[s, [t, *negatives[s]]].logsumexp(0) - scores[s, t] for s, t in zip(SET_N.tolist(), TARGET_N.tolist())
    ]
    close(costs(SetSoftmax(num_negatives=4), items), torch.stack(want))
    in_batch = [[0, 1, 1, 8], [3, 5, 1, 1, 8], [3, 5, 0]]
    monkeypatch.setattr(torch, "randint", lambda *args, **options: drawn[:0])
    want = [scores[s, [t, *in_batch[s]]].logsumexp(0) - scores[s, t] for s, t in zip(SET_N.tolist(), TARGET_N.tolist())]
    close(costs(SetSoftmax(num_negatives=0, in_batch=True), items), torch.stack(want))


def test_a_second_positive_is_pulled_up_and_never_turns_the_pull_on_the_first():
    """Alone, the first one pushes the second down as any other item."""
    scores = torch.tensor([0.3, 1.7, -0.4, 0.9])

    def pulls(positives: list[int]) -> torch.Tensor:
        leaf = scores.clone().requires_grad_()
        counts = torch.tensor([[i not in positives for i in range(4)]])
        cost_N = set_softmax_costs(
            leaf[positives], torch.zeros(len(positives), dtype=torch.int64), log_sums(leaf[None], counts)
        )
        (grad,) = torch.autograd.grad(cost_N.sum(), leaf)
        return grad

    alone, both = pulls([0]), pulls([0, 1])
    assert (alone < 0).tolist() == [True, False, False, False]
    assert (both < 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize("cost", [SetSoftmax(), SetSoftmax(num_negatives=6), SetSoftmax(temperature=0.3)], ids=str)
def test_in_pieces_it_is_the_same(cost, monkeypatch, close):
    def found() -> list[torch.Tensor]:
        items = catalogue(output_bias=True)
        cost_N = costs(cost, items)
        return [cost_N.detach(), *torch.autograd.grad(cost_N.sum(), list(items.items.parameters()))]

    whole = found()
    monkeypatch.setattr(module, "_TOGETHER", 1)
    for got, want in zip(found(), whole, strict=True):
        close(got, want)


@pytest.mark.parametrize(
    "cost", [SetSoftmax(), SetSoftmax(num_negatives=3), SetSoftmax(num_negatives=0, in_batch=True)]
)
def test_nothing_to_predict_costs_nothing(cost):
    none, items = torch.zeros(0, dtype=torch.int64), catalogue()
    loss = cost.loss(STATE_SD[:0], none, items, torch_generator(1))
    loss.backward()
    assert loss.item() == 0
    assert items.table().isfinite().all()


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match=r"^num_negatives \(0\) must be at least 1$"):
        SetSoftmax(num_negatives=0)
    with pytest.raises(ConfigError, match=r"^in_batch \(True\) must be False where num_negatives is None"):
        SetSoftmax(in_batch=True)
    with pytest.raises(ConfigError, match=r"^temperature \(0\)"):
        replace(SetSoftmax(), temperature=0)
