from __future__ import annotations

from math import cos, sin

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.nn.rotary import Rotary
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.ops.attention import MaskRule


def test_pairs_of_columns_turn_by_hand(close):
    x = torch.tensor([[[1.0, 0.0, 0.0, 1.0]]]).double()
    # K = 4, base 16: the first pair turns by the place itself, the second by place / 16 ** 0.5.
    got = Rotary(base=16).turned(x, torch.tensor([2]))
    close(got, torch.tensor([[[cos(2), sin(2), -sin(0.5), cos(0.5)]]], dtype=torch.float64))


def test_scores_know_only_how_far_apart_two_events_stand(close):
    q, k = torch.randn(2, 1, 3, 8).double()

    def score(query_place, key_place):
        turned = [Rotary().turned(x, torch.tensor([p])) for x, p in ((q, query_place), (k, key_place))]
        return (turned[0] * turned[1]).sum(-1)

    close(score(9, 4), score(105, 100))
    close(score(3, 3), (q * k).sum(-1))
    assert not torch.allclose(score(9, 4), score(4, 9))


def _layer(**options):
    return TransformerLayer.Config(ffn_dim=8, num_heads=2, **options).build(dim=8).double()


def test_a_layer_with_rotary_positions_knows_the_order_of_each_row(close):
    x = torch.randn(4, 8).double()
    places, both_ways = torch.tensor([2, 0, 3, 1]), MaskRule(causal=False)
    for rotary, order_counts in ((None, False), (Rotary(), True)):
        layer = _layer(rotary=rotary)
        straight = layer(Jagged.from_lengths(x, [4]), both_ways).values
        mixed = layer(Jagged.from_lengths(x[places], [4]), both_ways).values
        assert torch.allclose(mixed, straight[places]) != order_counts
        close(layer(Jagged.from_lengths(torch.cat([x, x]), [4, 4]), both_ways).values[4:], straight)


def test_it_learns_nothing():
    assert set(_layer(rotary=Rotary()).state_dict()) == set(_layer().state_dict())


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"head width \(3\) must be even with rotary positions"):
        TransformerLayer.Config(ffn_dim=8, num_heads=2, rotary=Rotary()).build(dim=6)
    with pytest.raises(ConfigError, match=r"base \(1.0\) must be greater than 1"):
        Rotary(base=1.0)
