from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.nn.group_norm import GroupLayerNorm


def normed(num_groups: int, dim: int, **options) -> GroupLayerNorm:
    norm = GroupLayerNorm(num_groups, dim, **options)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_()
    return norm


def test_each_row_has_its_own_spread_and_its_groups_affine(close):
    norm = GroupLayerNorm(2, 2, eps=0.0)
    with torch.no_grad():
        norm.gain_GD.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        norm.shift_GD.copy_(torch.tensor([[0.0, 0.5], [10.0, 20.0]]))
    # Means 4 and 0, spreads 3 and 5: both rows are (-1, 1) before their affines.
    x = torch.tensor([[1.0, 7.0], [-5.0, 5.0], [1.0, 7.0]])
    close(norm(x, torch.tensor([0, 0, 1])), torch.tensor([[-1.0, 2.5], [-1.0, 2.5], [7.0, 24.0]]))


def test_equal_affines_are_a_layer_norm(close):
    norm, plain = normed(3, 6), torch.nn.LayerNorm(6, eps=1e-6)
    with torch.no_grad():
        norm.gain_GD.copy_(norm.gain_GD[:1].expand(3, 6))
        norm.shift_GD.copy_(norm.shift_GD[:1].expand(3, 6))
        plain.weight.copy_(norm.gain_GD[0])
        plain.bias.copy_(norm.shift_GD[0])
    x = torch.randn(9, 6)
    close(norm(x, torch.arange(9) % 3), plain(x))


def test_gradients_reach_only_the_groups_that_are_there():
    norm = normed(4, 5)
    before = {name: parameter.detach().clone() for name, parameter in norm.named_parameters()}
    norm(torch.randn(7, 5), torch.tensor([0, 2, 2, 0, 0, 2, 0])).square().sum().backward()
    for parameter in norm.parameters():
        assert (parameter.grad[[0, 2]] != 0).all()
        assert (parameter.grad[[1, 3]] == 0).all()
    torch.optim.Adam(norm.parameters(), lr=0.1).step()
    for name, parameter in norm.named_parameters():
        assert torch.equal(parameter[[1, 3]], before[name][[1, 3]])
        assert (parameter[[0, 2]] != before[name][[0, 2]]).all()


def test_no_rows_are_no_rows():
    assert normed(2, 3)(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0, 3)


def test_there_must_be_a_group():
    with pytest.raises(ConfigError, match=r"num_groups \(0\) must be at least 1"):
        GroupLayerNorm(0, 2)
