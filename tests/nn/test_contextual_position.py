from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.jagged import Jagged
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.ops.attention import MaskRule

CONTEXT = ContextualPosition.Config(num_positions=3, dim=5)


def test_it_is_steps_1_to_4_for_one_query(close):
    module = CONTEXT.build(head_dim=4).double()
    torch.nn.init.normal_(module.place_PD)
    q, scores = torch.randn(1, 4).double(), torch.randn(1, 2).double()
    near = (1 - scores[0, 1].sigmoid()).item()
    far = (1 - scores[0, 0].sigmoid()).item() + near
    places = (F.silu(q @ module.query.weight.T + module.query.bias) @ module.place_PD.T)[0]
    low = int(far)
    want = [(1 - far + low) * places[low] + (far - low) * places[low + 1], (1 - near) * places[0] + near * places[1]]
    close(module.added(q, scores, torch.ones(2).bool())[0], torch.stack(want))


def test_a_bilinear_one_begins_as_the_dot_product_and_learns_its_matrix(close):
    plain, mixed = (config.build(head_dim=4) for config in (CONTEXT, replace(CONTEXT, bilinear=True)))
    mixed.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.normal_(plain.place_PD)
    mixed.place_PD.data.copy_(plain.place_PD)
    given = torch.randn(2, 4), torch.randn(2, 7), torch.ones(7).bool()
    close(mixed.added(*given), plain.added(*given))
    mixed.added(*given).sum().backward()
    assert (mixed.mix_DD.grad != 0).any()


def test_heads_share_the_table_and_differ_in_query_and_scores():
    layer = TransformerLayer.Config(ffn_dim=8, num_heads=3, context=CONTEXT).build(dim=12)
    assert layer.context.place_PD.shape == (3, 5)
    assert layer.context.query.weight.shape == (5, 4)


def test_a_layer_begins_as_without_and_then_tells_what_lies_between(close):
    config = TransformerLayer.Config(ffn_dim=8, num_heads=2)
    plain, layer = (c.build(dim=8).eval() for c in (config, replace(config, context=CONTEXT)))
    layer.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(12, 8)
    # The same event far back, with others and with its like in between.
    alike, unlike = x.clone(), x.clone()
    alike[1:11] = x[0]
    rows = [Jagged(v, torch.tensor([0, 12])) for v in (alike, unlike)]
    for row in rows:
        close(layer(row, MaskRule()).values, plain(row, MaskRule()).values)
    torch.nn.init.normal_(layer.context.place_PD)
    assert (layer(rows[1], MaskRule()).values[-1] - plain(rows[1], MaskRule()).values[-1]).abs().max() > 1e-3


def test_it_works_in_bfloat16():
    layer = TransformerLayer.Config(ffn_dim=8, num_heads=2, context=CONTEXT).build(dim=8).eval()
    torch.nn.init.normal_(layer.context.place_PD)
    x = Jagged(torch.randn(40, 8), torch.tensor([0, 1, 30, 40]))
    want = layer(x, MaskRule()).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = layer(x, MaskRule()).values
        got.square().sum().backward()
    assert layer.context.place_PD.grad.isfinite().all()
    torch.testing.assert_close(got.float(), want, rtol=0.1, atol=0.1)


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"num_positions \(0\) must be at least 1"):
        ContextualPosition.Config(num_positions=0)
    with pytest.raises(UnknownNameError, match="no way to count is named 'all'"):
        ContextualPosition.Config(counts="all")
