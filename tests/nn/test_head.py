from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.nn.head import Head


def test_state_and_features_reach_every_task():
    head = Head.Config(hidden_dim=8).build(dim=4, num_features=2, num_tasks=3)
    state, x = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    features = torch.randn(5, 2, requires_grad=True)
    logits = head(state, x, features)
    assert logits.shape == (5, 3)
    for task in range(3):
        by_state, by_features = torch.autograd.grad(logits[:, task].sum(), [state, features], retain_graph=True)
        assert (by_state != 0).any()
        assert (by_features != 0).any()


def test_product_multiplies_the_state_by_the_candidate_s_vector():
    head = Head.Config(product=True).build(dim=4)
    plain = Head.Config().build(dim=4)
    plain.load_state_dict(head.state_dict())
    state, x = torch.randn(5, 4), torch.randn(5, 4)
    assert torch.equal(head(state, x), plain(state * x, x))


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"hidden_dim \(0\) must be at least 1"):
        Head.Config(hidden_dim=0)
    with pytest.raises(ConfigError, match=r"dropout \(1.5\) must lie in \[0, 1\)"):
        Head.Config(dropout=1.5)
