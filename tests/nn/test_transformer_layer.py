from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import autograd

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.jagged import Jagged
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.ops.attention import MaskRule

NORMS = ["pre", "post", "released"]


def _layer(norm="pre", dim=8, **options):
    options = {"ffn_dim": dim, "num_heads": 2, "norm": norm, "act": "relu"} | options
    return TransformerLayer.Config(**options).build(dim=dim).double()


def _dense(layer, query, key):
    """One row, by torch's own attention."""
    q, k, v = layer.query(query), layer.key(key), layer.value(key)
    q, k, v = (x.unflatten(-1, (2, -1)).transpose(0, 1)[None] for x in (q, k, v))
    read = F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1).flatten(1)
    return read if layer.out is None else layer.out(read)


def test_norm_placements_are_the_published_formulas(close):
    x = torch.randn(5, 8).double()
    rows = Jagged.from_lengths(x, [5])

    layer = _layer("pre")
    y = x + _dense(layer, layer.attention_norm(x), layer.attention_norm(x))
    close(layer(rows, MaskRule()).values, y + layer.feed_forward(layer.feed_forward_norm(y)))

    layer = _layer("post")
    y = layer.attention_norm(x + _dense(layer, x, x))
    close(layer(rows, MaskRule()).values, layer.feed_forward_norm(y + layer.feed_forward(y)))

    layer = _layer("released", out_proj=False)
    q = layer.attention_norm(x)
    z = layer.feed_forward_norm(q + _dense(layer, q, x))
    close(layer(rows, MaskRule()).values, z + layer.feed_forward(z))


def test_gates_weigh_what_a_branch_adds_by_the_row_it_is_added_to(close):
    x = torch.randn(5, 8).double()
    layer = _layer("pre", gated=True, norm_kind="rms", act="swiglu")
    normed = x / x.square().mean(-1, keepdim=True).add(1e-8).sqrt()
    y = x + layer.attention_gate(x).sigmoid() * _dense(layer, normed, normed)
    normed = y / y.square().mean(-1, keepdim=True).add(1e-8).sqrt()
    want = y + layer.feed_forward_gate(y).sigmoid() * layer.feed_forward(normed)
    close(layer(Jagged.from_lengths(x, [5]), MaskRule()).values, want)


def test_residual_dropout_takes_away_what_branches_add():
    rows = Jagged.from_lengths(torch.randn(5, 8).double(), [5])
    assert torch.equal(_layer(residual_dropout=1 - 1e-9)(rows, MaskRule()).values, rows.values)
    kept = _layer(dropout=1 - 1e-9, residual_dropout=0.0)
    x = rows.values
    y = x + _dense(kept, kept.attention_norm(x), kept.attention_norm(x))
    assert torch.allclose(kept(rows, MaskRule()).values, y + kept.feed_forward.outer.bias)
    assert _layer(dropout=0.3).dropout.p == 0.3


def test_a_plain_layer_keeps_its_parameters():
    parts = [
        "query",
        "key",
        "value",
        "out",
        "attention_norm",
        "feed_forward_norm",
        "feed_forward.inner",
        "feed_forward.outer",
    ]
    assert list(_layer().state_dict()) == [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]


def test_parameter_count_of_the_released_block():
    for dim in (8, 50):
        layer = TransformerLayer.Config(ffn_dim=dim, norm="released", out_proj=False, act="relu").build(dim=dim)
        assert sum(p.numel() for p in layer.parameters()) == 5 * (dim**2 + dim) + 4 * dim


@pytest.mark.parametrize("norm", NORMS)
def test_one_layer_serves_causal_bidirectional_and_session_rules(norm, close):
    layer = _layer(norm)
    x = torch.randn(6, 8).double().requires_grad_()
    rows = Jagged.from_lengths(x, [4, 2])
    session_T = torch.tensor([0, 0, 1, 1, 2, 2])

    def reads(rule, event):
        (grad,) = autograd.grad(layer(rows, rule).values[event].sum() * 3 + layer(rows, rule).values[event, 0], x)
        return (grad != 0).any(1).tolist()

    assert reads(MaskRule(), 1) == [True, True, False, False, False, False]
    assert reads(MaskRule(causal=False), 1) == [True, True, True, True, False, False]
    assert reads(MaskRule(causal=False, group_T=session_T), 3) == [False, False, True, True, False, False]
    by_session = layer(Jagged.from_lengths(x, [2, 2, 2]), MaskRule(causal=False))
    close(layer(rows, MaskRule(causal=False, group_T=session_T)).values, by_session.values)


def test_no_rows_at_all():
    assert _layer()(Jagged.from_lengths(torch.zeros(0, 8).double(), [0, 0]), MaskRule()).values.shape == (0, 8)


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"dim \(8\) must be a multiple of num_heads \(3\)"):
        _layer(num_heads=3)
    with pytest.raises(ConfigError, match=r"num_heads \(0\) must be at least 1"):
        TransformerLayer.Config(ffn_dim=8, num_heads=0)
    with pytest.raises(ConfigError, match=r"norm \(none\) must be pre, post or released"):
        TransformerLayer.Config(ffn_dim=8, norm="none")
    with pytest.raises(ConfigError, match=r"hidden_dim \(0\) must be at least 1"):
        TransformerLayer.Config(ffn_dim=0)
    with pytest.raises(ConfigError, match=r"gated \(True\) must be False where norm is post"):
        TransformerLayer.Config(ffn_dim=8, norm="post", gated=True)
    with pytest.raises(ConfigError, match=r"residual_dropout \(1.0\) must lie in \[0, 1\)"):
        TransformerLayer.Config(ffn_dim=8, residual_dropout=1.0)
    with pytest.raises(UnknownNameError, match="no norm_kind is named 'batch'"):
        TransformerLayer.Config(ffn_dim=8, norm_kind="batch")
