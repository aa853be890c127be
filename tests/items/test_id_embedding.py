"""The item table and its outside row."""

import torch

from hpgr.items.id_embedding import IdEmbedding


def test_the_last_row_is_outside_the_catalogue():
    items = IdEmbedding.Config(dim=4).build(num_items=6).eval()
    assert items.table().shape == (6, 4)
    assert torch.equal(items(torch.tensor([[6, 2]])), items.weight[[6, 2]][None])


def test_training_also_trains_the_outside_row():
    items = IdEmbedding.Config(dim=4, unknown_prob=0.2).build(num_items=6)
    read = items(torch.zeros(5000, dtype=torch.int64))
    outside = (read == items.weight[6]).all(1).float().mean().item()
    assert abs(outside - 0.2) < 0.03
    assert torch.equal(items.eval()(torch.zeros(3, dtype=torch.int64)), items.weight[[0, 0, 0]])
