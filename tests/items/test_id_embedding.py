"""The item table and its outside row."""

import pytest
import torch

from hpgr.core.errors import UnknownNameError
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


def parameters(**options):
    torch.manual_seed(0)
    items = IdEmbedding.Config(dim=4, **options).build(num_items=6)
    return items, sum(p.numel() for p in items.parameters())


def test_a_separate_table_and_a_bias_are_what_scores_are_made_with():
    tied, num_tied = parameters()
    separate, num_separate = parameters(output="separate")
    biased, num_biased = parameters(output_bias=True)
    assert (num_tied, num_separate, num_biased) == (7 * 4, 7 * 4 + 6 * 4, 7 * 4 + 6)
    assert torch.equal(tied.table(), tied.weight[:6])
    assert tied.bias() is None
    assert torch.equal(separate.weight, tied.weight), "reading starts alike"
    assert separate.table().shape == (6, 4)
    assert not torch.equal(separate.table(), separate.weight[:6])
    assert biased.bias().tolist() == [0.0] * 6
    separate.table().sum().backward()
    assert separate.weight.grad is None


def test_scale_acts_on_what_is_read_and_not_on_scores():
    items = parameters(scale=True)[0].eval()
    assert torch.equal(items(torch.tensor([6, 2])), items.weight[[6, 2]] * 2)
    assert torch.equal(items.table(), items.weight[:6])


def test_an_unknown_output_is_named():
    with pytest.raises(UnknownNameError, match="no output is named 'shared'"):
        IdEmbedding.Config(output="shared")
