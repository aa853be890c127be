from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.nn.session_fusion import SessionFusion


def test_the_branch_is_gated_normed_and_gained(close):
    layer = SessionFusion.Config(gain=0.1).build(dim=4)
    x, session = torch.randn(3, 4), torch.randn(3, 4)
    gate = torch.sigmoid(torch.cat([x, session], 1) @ layer.gate.weight.T)
    branch = gate * (session @ layer.value.weight.T)
    normed = (branch - branch.mean(1, keepdim=True)) / (branch.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    close(layer(x, session), x + 0.1 * normed)


def test_the_ratio_is_what_was_added_against_what_was_there(close):
    layer = SessionFusion.Config().build(dim=64)
    x = torch.randn(100, 64)
    fused = layer(x, torch.randn(100, 64))
    close(layer.branch_ratio, (fused - x).norm(dim=1).mean() / x.norm(dim=1).mean())
    assert not layer.branch_ratio.requires_grad
    assert "branch_ratio" not in layer.state_dict()


def test_a_large_session_feature_swamps_the_token_only_in_the_raw_form():
    x, session = torch.randn(100, 16), 1000 * torch.randn(100, 16)
    ratios = []
    for config in (SessionFusion.Config(), SessionFusion.Config(norm=False, gain=None)):
        layer = config.build(dim=16)
        layer(x, session)
        ratios.append(layer.branch_ratio.item())
    assert ratios[0] == pytest.approx(0.05, rel=0.1)
    assert ratios[1] > 50


def test_the_raw_form_has_neither_norm_nor_gain():
    layer = SessionFusion.Config(norm=False, gain=None).build(dim=4)
    assert sorted(layer.state_dict()) == ["gate.weight", "value.weight"]


def test_no_rows_have_a_ratio_of_zero():
    layer = SessionFusion.Config().build(dim=4)
    assert layer(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    assert layer.branch_ratio == 0


def test_a_gain_of_zero_is_refused():
    with pytest.raises(ConfigError, match=r"gain \(0.0\) must be positive, or None for no gain"):
        SessionFusion.Config(gain=0.0)
