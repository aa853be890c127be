from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.nn.feed_forward import FeedForward
from hpgr.nn.mtgr_layer import MtgrLayer
from hpgr.ops.attention import MaskRule, attention

MLP = FeedForward.Config(hidden_dim=5)


def drawn(config: MtgrLayer.Config) -> MtgrLayer:
    layer = config.build(dim=4, num_domains=3).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def run(layer: MtgrLayer, x, domain):
    u, q, k, v = layer.project(x, domain)
    read = attention(
        q, k, v, offsets_of(torch.tensor([len(x)])), weights="silu", rule=MaskRule(), normaliser=layer.normaliser
    )
    return layer.finish(read, u, x, domain)


def affine(norm, x, group):
    spread = (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    return (x - x.mean(1, keepdim=True)) / spread * norm.gain_GD[group] + norm.shift_GD[group]


@pytest.mark.parametrize("grouped", [True, False])
def test_the_norm_follows_the_gate_and_knows_the_domain(grouped, close):
    layer = drawn(MtgrLayer.Config(mlp=MLP, num_heads=2, normaliser=7.0, grouped=grouped))
    x, domain = torch.randn(3, 4).double(), torch.tensor([2, 0, 1])
    group = domain if grouped else torch.zeros(3, dtype=torch.int64)
    u, q, k, v = F.silu(affine(layer.in_norm, x, group) @ layer.in_proj.weight.T).chunk(4, 1)
    read = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = F.silu(q[:, head] @ k[:, head].T) / 7.0 * torch.ones(3, 3).double().tril()
        read.append(weights @ v[:, head])
    gated = affine(layer.read_norm, torch.cat(read, 1) * u, group)
    wide = F.gelu(gated @ layer.mlp.inner.weight.T + layer.mlp.inner.bias)
    close(run(layer, x, domain), x + wide @ layer.mlp.outer.weight.T + layer.mlp.outer.bias)


def test_one_affine_for_all_is_the_ungrouped_layer(close):
    plain = drawn(MtgrLayer.Config(mlp=MLP, grouped=False))
    grouped = MtgrLayer.Config(mlp=MLP).build(dim=4, num_domains=3).double()
    grouped.load_state_dict(
        {name: value.expand_as(grouped.state_dict()[name]) for name, value in plain.state_dict().items()}
    )
    x = torch.randn(6, 4).double()
    close(run(grouped, x, torch.arange(6) % 3), run(plain, x, torch.arange(6) % 3))


def test_bad_options_are_named():
    for wrong, rule in (({"num_heads": 0}, "at least 1"), ({"normaliser": 0.0}, "positive"), ({"dropout": 1.0}, "lie")):
        (name, value) = next(iter(wrong.items()))
        with pytest.raises(ConfigError, match=rf"{name} \({value}\) must (be )?{rule}"):
            MtgrLayer.Config(mlp=MLP, **wrong)
    with pytest.raises(ConfigError, match=r"dim \(5\) must be a multiple of num_heads \(2\)"):
        MtgrLayer.Config(mlp=MLP).build(dim=5, num_domains=4)
