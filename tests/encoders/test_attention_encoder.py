from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.transformed import TransformedEncoder
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.norm import norm_layer
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.rotary import Rotary
from hpgr.nn.transformer_layer import TransformerLayer

LAYER = TransformerLayer.Config(ffn_dim=16, num_heads=2)
HISTORY = History.from_lists([[1, 2, 3], [], [4, 5]])


def _encoded(encoder, x_TD):
    return encoder(HISTORY.jagged(x_TD), HISTORY).values


def test_the_input_is_normed_and_the_end_left_alone_where_asked(close):
    x_TD = 5 + 3 * torch.randn(5, 8)
    plain = AttentionEncoder.Config(layer=LAYER, num_layers=1).build(dim=8)
    bare = AttentionEncoder.Config(layer=LAYER, num_layers=1, input_norm=True, final_norm=False).build(dim=8)
    bare.layers.load_state_dict(plain.layers.state_dict())
    close(plain.norm(_encoded(bare, x_TD)), _encoded(plain, norm_layer("layer", 8)(x_TD)))


@pytest.mark.parametrize("norm", ["pre", "post", "released"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rotary", [None, Rotary()])
@pytest.mark.parametrize("bias", [None, RelativeBias.Config(num_positions=3), RelativeBias.Config(num_positions=None)])
def test_the_newest_states_are_those_of_the_whole(norm, causal, rotary, bias, close):
    layer = replace(LAYER, norm=norm, rotary=rotary)
    encoder = AttentionEncoder.Config(layer=layer, causal=causal, bias=bias, num_layers=2).build(dim=8).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    history = History.from_lists([[1] * n for n in (0, 1, 7, 0, 3)], now_ms=[10**5] * 5)
    x = history.jagged(torch.randn(11, 8))
    close(encoder.newest(x, history), encoder(x, history).values[[0, 7, 10]])


def test_the_newest_states_are_those_of_the_whole_where_places_come_from_scores(close):
    layer = replace(LAYER, context=ContextualPosition.Config())
    encoder = AttentionEncoder.Config(layer=layer, num_layers=2).build(dim=8).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    history = History.from_lists([[1] * n for n in (0, 1, 7, 3)])
    x = history.jagged(torch.randn(11, 8))
    close(encoder.newest(x, history), encoder(x, history).values[[0, 7, 10]])


def test_weights_start_as_asked():
    encoder = AttentionEncoder.Config(layer=LAYER, init_std=0.5).build(dim=64)
    linears = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)]
    assert len(linears) == 12
    for layer in linears:
        # A normal cut at two deviations keeps 0.88 of its deviation.
        assert layer.weight.std().item() == pytest.approx(0.44, abs=0.02)
        assert layer.weight.abs().max() <= 1.0
        assert not layer.bias.any()


def test_a_transformed_encoder_is_the_prediction_head_of_bert(close):
    inner = AttentionEncoder.Config(layer=LAYER, causal=False)
    encoder = TransformedEncoder.Config(encoder=inner).build(dim=8).double()
    x_TD = torch.randn(5, 8).double()
    hidden = _encoded(encoder.encoder, x_TD) @ encoder.dense.weight.T + encoder.dense.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    mean, spread = hidden.mean(-1, keepdim=True), hidden.var(-1, correction=0, keepdim=True)
    close(_encoded(encoder, x_TD), (hidden - mean) / (spread + 1e-8).sqrt())


def test_it_is_causal_as_the_encoder_it_holds():
    for causal in (True, False):
        assert TransformedEncoder.Config(encoder=AttentionEncoder.Config(layer=LAYER, causal=causal)).causal == causal
    assert not TransformedEncoder.Config(encoder=None).causal


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"init_std \(0.0\) must be greater than 0"):
        AttentionEncoder.Config(layer=LAYER, init_std=0.0)
    with pytest.raises(UnknownNameError, match="no activation is named 'swiglu'"):
        TransformedEncoder.Config(encoder=AttentionEncoder.Config(layer=LAYER), act="swiglu")
