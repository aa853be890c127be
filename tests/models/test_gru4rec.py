"""Facts of GRU4Rec: its parameters, its first weights, the corrected softmax, and which costs learn faster."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import UnknownNameError
from hpgr.core.seeds import torch_generator
from hpgr.models.gru4rec import gru4rec, gru4rec_bprmax
from hpgr.objectives.ranking_costs import BprMax
from hpgr.training.adagrad import Adagrad

NUM_ITEMS, DIM = 60, 16


@pytest.mark.parametrize(("output", "tables"), [("tied", 1), ("separate", 2)])
def test_parameter_count(output, tables):
    """V·h + V + 6h², twelve shifts of which each gate has two; a vector for what is outside and one for what is hidden."""
    frame = gru4rec(dim=DIM, output=output).build(num_items=NUM_ITEMS)
    gates = 6 * DIM**2 + 6 * DIM
    assert sum(p.numel() for p in frame.parameters()) == tables * NUM_ITEMS * DIM + NUM_ITEMS + gates + 2 * DIM


def test_item_vectors_are_drawn_evenly_from_the_bound_of_their_table():
    frame = gru4rec(dim=40, output="separate").build(num_items=500)
    for table, rows in ((frame.items.weight, 501), (frame.items.table(), 500)):
        bound = math.sqrt(6 / (rows + 40))
        assert table.abs().max() <= bound
        assert table.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert frame.items.bias().tolist() == [0.0] * 500


def test_one_layer_is_one_gru_and_bpr_max_is_a_preset():
    assert len(gru4rec(num_layers=3).build(num_items=5).encoder.layers) == 3
    assert isinstance(gru4rec_bprmax().objective.cost, BprMax)
    with pytest.raises(UnknownNameError, match="no loss is named 'bprmax'; did you mean bpr-max"):
        gru4rec(loss="bprmax")


def test_scores_that_are_the_counts_have_nothing_left_to_tell():
    """With logQ, alpha 1 and scores log count + a constant, all M + S columns are equal: the cost is the log of their number."""
    frame = gru4rec(dim=4).build(num_items=1000)
    counts_V = torch.arange(1, 1001)
    frame.observe(counts_V - 1)
    cost = replace(frame.objective.cost, num_negatives=30, alpha=1.0)
    with torch.no_grad():
        frame.items.weight.zero_()
        frame.items.output_bias.copy_((counts_V / counts_V.sum()).log() + 3.0)
    # Targets that no one drew as a negative: each row then has all other columns.
    target_N = torch.arange(8)
    found = cost.loss(torch.zeros(8, 4), target_N, frame.targets, torch_generator(1))
    assert found.item() == pytest.approx(math.log(8 + 30), abs=1e-5)


def walks(count: int, seed: int) -> History:
    """Sessions of six events; an item's successor follows at three places of four, else any item."""
    generator = torch_generator(seed, "walks")
    follows = torch.randperm(NUM_ITEMS, generator=torch_generator(0, "follows"))
    rows = [torch.randint(NUM_ITEMS, (count,), generator=generator)]
    for _ in range(5):
        stray = torch.rand(count, generator=generator) < 0.25
        rows.append(torch.where(stray, torch.randint(NUM_ITEMS, (count,), generator=generator), follows[rows[-1]]))
    return History.from_lists(torch.stack(rows, 1).tolist())


def learnt(loss: str, num_negatives: int) -> float:
    """Share of last events that come first, after a short training by Adagrad, a session a batch."""
    torch.manual_seed(0)
    frame = gru4rec(dim=DIM, loss=loss, num_negatives=num_negatives, input_dropout=0.0).build(num_items=NUM_ITEMS)
    frame.observe(torch.ones(NUM_ITEMS))
    optimiser = Adagrad([{"params": list(frame.parameters()), "lr": 0.1}])
    frame.train()
    for step in range(120):
        optimiser.zero_grad()
        frame.loss(walks(1, step), torch_generator(1, step))["loss"].backward()
        optimiser.step()
    asked = walks(1000, 10**6)
    with torch.no_grad():
        best = frame.eval().scores(asked.without_last()).argmax(1)
    return (best == asked.item_idx[asked.user_offsets[1:] - 1]).float().mean().item()


def test_more_negatives_help_and_a_max_loss_leads_its_mean_over_many():
    alone = {loss: learnt(loss, 0) for loss in ("softmax", "bpr-max")}
    shared = {loss: learnt(loss, 32) for loss in ("softmax", "bpr-max", "bpr")}
    assert shared["softmax"] > alone["softmax"] + 0.05
    assert shared["bpr-max"] > alone["bpr-max"] + 0.05
    assert shared["bpr-max"] > shared["bpr"] + 0.05
