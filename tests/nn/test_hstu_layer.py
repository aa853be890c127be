from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.ops.attention import MaskRule, attention
from hpgr.ops.candidate_attention import candidate_attention


def _how(layer):
    return {"weights": "silu", "normaliser": layer.normaliser, "scale": layer.scale}


def _run(layer, x, lengths):
    u, q, k, v = layer.project(x)
    return layer.finish(attention(q, k, v, offsets_of(torch.tensor(lengths)), rule=MaskRule(), **_how(layer)), u, x)


def test_the_research_layer_is_equations_1_to_3(close):
    layer = HstuLayer.Config.research(num_heads=2, normaliser=7.0, dropout=0.0).build(dim=6).double()
    x = torch.randn(4, 6).double()
    normed = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    u, q, k, v = F.silu(normed @ layer.in_proj.weight.T).chunk(4, 1)
    read = []
    for head in (slice(0, 3), slice(3, 6)):
        weights = F.silu(q[:, head] @ k[:, head].T) / 7.0 * torch.ones(4, 4).double().tril()
        read.append(weights @ v[:, head])
    read = torch.cat(read, 1)
    scaled = (read - read.mean(1, keepdim=True)) / (read.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    close(_run(layer, x, [4]), x + (scaled * u) @ layer.out_proj.weight.T + layer.out_proj.bias)


def test_the_library_layer_activates_the_gate_only_scales_and_concatenates(close):
    layer = HstuLayer.Config.library(num_heads=1, normaliser=7.0, dropout=0.0).build(dim=4).double()
    x = torch.randn(3, 4).double()
    u, q, k, v = layer.in_proj(layer.in_norm(x)).chunk(4, 1)
    read = F.silu(q @ k.T / 2.0) / 7.0 * torch.ones(3, 3).double().tril() @ v
    gate = F.silu(u)
    close(_run(layer, x, [3]), x + layer.out_proj(torch.cat([gate, read, gate * layer.read_norm(read)], 1)))
    assert layer.in_norm.weight is not None
    assert layer.in_proj.bias is not None


def test_presets_begin_as_published():
    research = HstuLayer.Config.research(num_heads=1, normaliser=211.0).build(dim=64)
    assert research.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert research.in_norm.weight is None
    assert (research.scale, research.normaliser, research.dropout.p) == (1.0, 211.0, 0.2)
    library = HstuLayer.Config.library(num_heads=2, normaliser=100.0).build(dim=32)
    assert (library.scale, library.dropout.p) == (0.25, 0.3)


def test_head_widths_may_differ_from_the_layer_s(close):
    layer = HstuLayer.Config(num_heads=3, head_dim=2, value_dim=5).build(dim=7)
    u, q, k, v = layer.project(torch.randn(4, 7))
    assert [tuple(x.shape) for x in (u, q, k, v)] == [(4, 15), (4, 3, 2), (4, 3, 2), (4, 3, 5)]
    assert layer.finish(v, u, torch.randn(4, 7)).shape == (4, 7)


@pytest.mark.parametrize("preset", [HstuLayer.Config.research, HstuLayer.Config.library])
def test_scores_do_not_depend_on_the_longest_row_of_the_batch(preset, close):
    layer = preset(num_heads=2, normaliser=50.0).build(dim=8).double().eval()
    x = torch.randn(45, 8).double()
    close(_run(layer, x, [5, 40])[:5], _run(layer, x[:5], [5]))


@pytest.mark.parametrize("preset", [HstuLayer.Config.research, HstuLayer.Config.library])
def test_the_future_has_no_gradient(preset):
    layer = preset(num_heads=2, normaliser=50.0).build(dim=8).double().eval()
    x = torch.randn(9, 8).double().requires_grad_()
    (grad,) = torch.autograd.grad(_run(layer, x, [6, 3])[2].square().sum(), x)
    assert (grad[3:] == 0).all()
    assert (grad[:3] != 0).any(1).all()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_two_layers_score_candidates_together_as_one_by_one_from_kept_keys_and_values(batch, close):
    layers = [HstuLayer.Config(num_heads=2, normaliser=50.0).build(dim=8).double().eval() for _ in range(2)]
    x, asked = torch.randn(7, 8).double(), torch.randn(5, 8).double()
    kept, history = [], x
    for layer in layers:
        kept.append(layer.project(history)[2:])
        history = _run(layer, history, [7])

    def score(rows):
        for layer, (k, v) in zip(layers, kept):
            u, q, own_k, own_v = layer.project(rows)
            offsets = torch.tensor([0, 7]), torch.tensor([0, len(rows)])
            rows = layer.finish(candidate_attention(q, k, v, own_k, own_v, *offsets, **_how(layer)), u, rows)
        return rows

    one_by_one = torch.cat(
        [_run(layers[1], _run(layers[0], torch.cat([x, row[None]]), [8]), [8])[-1:] for row in asked]
    )
    close(torch.cat([score(rows) for rows in asked.split(batch)]), one_by_one)


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"normaliser \(0.0\) must be positive"):
        HstuLayer.Config(normaliser=0.0)
    with pytest.raises(ConfigError, match=r"num_heads \(0\) must be at least 1"):
        HstuLayer.Config(num_heads=0)
    with pytest.raises(ConfigError, match=r"dropout \(-0.1\) must lie in \[0, 1\)"):
        HstuLayer.Config(dropout=-0.1)
    with pytest.raises(ConfigError, match=r"silu \(none\) must be all or gate"):
        HstuLayer.Config(silu="none")
    with pytest.raises(ConfigError, match=r"gate \(sum\) must be norm_then_gate or concat"):
        HstuLayer.Config(gate="sum")
    with pytest.raises(ConfigError, match=r"dim \(8\) must be a multiple of num_heads \(3\)"):
        HstuLayer.Config(num_heads=3).build(dim=8)
