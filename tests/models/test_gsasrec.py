"""What gSASRec adds to SASRec, and the losses that SASRec may be trained with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import UnknownNameError
from hpgr.core.seeds import torch_generator
from hpgr.models.gsasrec import gsasrec
from hpgr.models.sasrec import sasrec
from hpgr.objectives.ranking_costs import BprMax
from hpgr.objectives.sampled_costs import GeneralisedBinary, SampledSoftmax

NUM_ITEMS = 40


def num_parameters(config) -> int:
    return sum(p.numel() for p in config.build(num_items=NUM_ITEMS).parameters())


def test_gsasrec_is_a_causal_encoder_with_its_own_output_table_and_gbce():
    config = gsasrec()
    assert config.encoder.causal
    assert config.encoder.layer.norm == "pre"
    assert config.objective.cost == GeneralisedBinary(num_negatives=256, calibration=0.75)
    tied = replace(config, items=replace(config.items, output="tied"))
    assert num_parameters(config) - num_parameters(tied) == NUM_ITEMS * 128


def test_scores_are_made_with_the_output_table():
    torch.manual_seed(0)
    model = gsasrec(dim=8).build(num_items=NUM_ITEMS).eval()
    history = History.from_lists([[1, 2, 3], [4]])
    want = model.query(history) @ model.items.output_weight.T
    torch.testing.assert_close(model.scores(history), want)
    assert not torch.allclose(want, model.query(history) @ model.items.weight[:NUM_ITEMS].T)


def test_both_tables_learn():
    torch.manual_seed(0)
    model = gsasrec(dim=8).build(num_items=NUM_ITEMS)
    model.loss(History.from_lists([[1, 2, 3], [4, 5]]), torch_generator(1))["loss"].backward()
    assert model.items.weight.grad[[1, 2, 4]].abs().sum(1).gt(0).all()
    assert model.items.weight.grad[30:40].abs().sum() == 0, "scores do not reach what is read"
    assert model.items.output_weight.grad[30:40].abs().sum() > 0, "negatives do"


def test_sampled_loss_is_shared_by_the_batch():
    cost = sasrec(loss="sampled").objective.cost
    assert isinstance(cost, SampledSoftmax)
    assert cost.shared == "batch"
    with pytest.raises(UnknownNameError, match="no loss is named 'bpr'"):
        sasrec(loss="bpr")


@pytest.mark.parametrize(
    "cost",
    [SampledSoftmax(num_negatives=32, alpha=0.5, in_batch=True, log_q=True), BprMax(num_negatives=32)],
    ids=["log_q", "bpr_max"],
)
def test_costs_that_know_popularity_get_it_from_the_frame(cost):
    torch.manual_seed(0)
    config = sasrec(dim=16, dropout=0.0)
    model = replace(config, objective=replace(config.objective, cost=cost)).build(num_items=NUM_ITEMS).eval()
    assert model.targets.log_share_V is model.prior.log_share_V
    history = History.from_lists([[1, 2, 3, 4], [5, 6, 7]])
    even = model.loss(history, torch_generator(1))["loss"]
    assert model.loss(history, torch_generator(1))["loss"].item() == even.item()
    model.observe(torch.arange(NUM_ITEMS) ** 3)
    assert abs(model.loss(history, torch_generator(1))["loss"].item() - even.item()) > 1e-4
