from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.nn.feed_forward import FeedForward


def test_one_number_by_hand():
    layer = FeedForward.Config(hidden_dim=2, act="relu").build(dim=1)
    with torch.no_grad():
        layer.inner.weight.copy_(torch.tensor([[2.0], [-1.0]]))
        layer.inner.bias.copy_(torch.tensor([1.0, 0.5]))
        layer.outer.weight.copy_(torch.tensor([[3.0, 10.0]]))
        layer.outer.bias.fill_(0.25)
    # x = 2: relu(5) = 5, relu(-1.5) = 0. x = -1: relu(-1) = 0, relu(1.5) = 1.5.
    assert layer(torch.tensor([[2.0], [-1.0]])).flatten().tolist() == [15.25, 15.25]


def test_swiglu_by_hand(close):
    layer = FeedForward.Config(hidden_dim=2, act="swiglu").build(dim=1)
    with torch.no_grad():
        layer.gate.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        layer.inner.weight.copy_(torch.tensor([[2.0], [3.0]]))
        layer.outer.weight.copy_(torch.tensor([[1.0, 10.0]]))
    # x = 2: silu(2) = 2 σ(2) = 1.761594, times 4; silu(-2) = -2 σ(-2) = -0.238406, times 6 and 10.
    close(layer(torch.tensor([[2.0]])), torch.tensor([[4 * 1.761594 - 60 * 0.238406]]))
    assert [name for name, _ in layer.named_parameters()] == ["inner.weight", "outer.weight", "gate.weight"]


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"hidden_dim \(0\) must be at least 1"):
        FeedForward.Config(hidden_dim=0)
    with pytest.raises(ConfigError, match=r"dropout \(1.0\) must lie in \[0, 1\)"):
        FeedForward.Config(hidden_dim=4, dropout=1.0)
    with pytest.raises(UnknownNameError, match=r"no activation is named 'gel'; did you mean gelu"):
        FeedForward.Config(hidden_dim=4, act="gel")
