from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.items.id_embedding import IdEmbedding
from hpgr.objectives.losses.margin import distances, distances_to, margin_costs
from hpgr.objectives.margin_ranking import MarginRanking


def test_by_hand():
    state, near, far = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 5.5], [0.0, 9.0]])
    assert distances(state, near).item() == pytest.approx(5)
    assert distances_to(state, far).tolist() == [pytest.approx([5.5, 9.0])]
    assert margin_costs(distances(state, near)[:, None], distances_to(state, far), 1.0).tolist() == [[0.5, 0.0]]


def test_items_by_distance_score_as_distances_do(close):
    items = IdEmbedding.Config(dim=6, std=0.5, distance=True, output_bias=False).build(num_items=9)
    state = torch.randn(4, 6)
    with torch.no_grad():
        scores = MarginRanking().logits(state, items)
        close(scores - 0.5 * state.square().sum(1, keepdim=True), -0.5 * torch.cdist(state, items.table()) ** 2)
        assert torch.equal(scores.argsort(1, descending=True), torch.cdist(state, items.table()).argsort(1))
        _, bias = items.rows(torch.tensor([3, 5]))
        close(bias, items.bias()[[3, 5]])


def test_the_mean_is_over_predictions_and_negatives_are_other_items(close):
    items = IdEmbedding.Config(dim=6, std=0.5, distance=True).build(num_items=9)
    cost, states, target = MarginRanking(num_negatives=200, margin=0.7), torch.randn(3, 6), torch.tensor([2, 2, 8])
    costs = cost.costs(states, target, items, torch_generator(1))
    close(cost.loss(states, target, items, torch_generator(1)), costs.mean())
    between = torch.cdist(states, items.table())
    every = (0.7 + between.gather(1, target[:, None]) - between).clamp(min=0)
    every.scatter_(1, target[:, None], 0.0)
    assert torch.allclose(costs, every.sum(1) / 8, atol=0.15)
    assert cost.loss(states[:0], target[:0], items, torch_generator(1)).item() == 0
    with pytest.raises(ConfigError, match=r"margin \(0\) must be greater than 0"):
        MarginRanking(margin=0)
