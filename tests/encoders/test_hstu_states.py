"""HSTU states: one layer by hand, no future but a time, users that do not meet."""

from __future__ import annotations

from dataclasses import replace
from math import exp, sqrt

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.encoders.hstu_states import HstuStates
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.relative_bias import RelativeBias

HOUR_MS = 3_600_000
RESEARCH = HstuLayer.Config.research(num_heads=2, normaliser=50.0, dropout=0.0)
LIBRARY = HstuLayer.Config.library(num_heads=2, normaliser=50.0, dropout=0.0)


def built(**options):
    """A stack with weights large enough that nothing hides behind eps, in float64."""
    config = HstuStates.Config(**{"layer": RESEARCH, "bias": RelativeBias.Config(num_positions=8)} | options)
    encoder = config.build(dim=8).double().eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.5)
    return encoder


def hours(*rows, now=100):
    times = [[HOUR_MS * hour for hour in row] for row in rows]
    return History.from_lists([[0] * len(row) for row in rows], times_ms=times, now_ms=[HOUR_MS * now] * len(rows))


def run(encoder, x_TD, history):
    return encoder(history.jagged(x_TD), history).values


def silu(x):
    return x / (1 + exp(-x))


def tiny(weights):
    """One head of two columns: projections read the first column of the norm, which is 1 and then -1."""
    config = HstuStates.Config(
        layer=HstuLayer.Config.research(num_heads=1, normaliser=10.0, dropout=0.0),
        num_layers=1,
        bias=RelativeBias.Config(num_positions=2),
        weights=weights,
    )
    encoder = config.build(dim=2).double().eval()
    layer, bias = encoder.layers[0], encoder.biases[0]
    with torch.no_grad():
        layer.in_proj.weight.zero_()
        layer.in_proj.weight[:, 0] = torch.tensor([1.0, 2.0, 1.0, 0.0, 1.0, 0.0, 2.0, 0.0])  # u, q, k, v
        layer.out_proj.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        layer.out_proj.bias.copy_(torch.tensor([0.5, 0.0]))
        bias.place.copy_(torch.tensor([0.5, 0.25, 99.0]))
        bias.time.fill_(99.0)
        bias.time[27], bias.time[13] = 0.1, -0.2
    return encoder


def gated(read, u):
    """``out_proj(LN(read, 0) * u)`` of the tiny layer: half the difference over its root, as two columns of unlike sign."""
    side = read / 2 / sqrt(read**2 / 4 + 1e-6)
    return side * u[0] + 0.5, -side * u[1] * 2


@pytest.mark.parametrize("weights", ["silu", "softmax"])
def test_one_layer_by_hand_with_the_time_of_the_next_event(weights, close):
    # Events at 0 and 3600 s, asked at 3660: the first asks after 3600 s of itself, the second after 3660 and 60.
    history = History.from_lists([[0, 0]], times_ms=[[0, 3_600_000]], now_ms=[3_660_000])
    x = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    one = 1 / sqrt(1 + 1e-6)
    q1, q2, v1, v2 = silu(one), silu(-one), silu(2 * one), silu(-2 * one)
    same, before = 0.25, 0.5
    if weights == "silu":
        read_1 = silu(q1 * q1 + same + 0.1) / 10 * v1
        read_2 = (silu(q2 * q1 + before + 0.1) * v1 + silu(q2 * q2 + same - 0.2) * v2) / 10
    else:
        to_1, to_2 = exp(q2 * q1 / sqrt(2) + before + 0.1), exp(q2 * q2 / sqrt(2) + same - 0.2)
        read_1, read_2 = v1, (to_1 * v1 + to_2 * v2) / (to_1 + to_2)
    want = torch.tensor([gated(read_1, (q1, v1)), gated(read_2, (q2, v2))], dtype=torch.float64) + x
    close(run(tiny(weights), x, history), want)


def test_the_time_of_the_next_event_by_hand():
    history = History.from_lists(
        [[], [1, 2, 3], [], [4], []], times_ms=[[], [0, 5, 9], [], [7], []], now_ms=[1, 20, 30, 40, 50]
    )
    assert history.next_time_ms().tolist() == [5, 9, 20, 40]
    assert History.from_lists([[], []]).next_time_ms().tolist() == []


@pytest.mark.parametrize("layer", [RESEARCH, LIBRARY], ids=["research", "library"])
@pytest.mark.parametrize("weights", ["silu", "softmax"])
def test_later_events_have_no_gradient(layer, weights):
    place = TimeAwarePosition.Config(num_time_buckets=None, order="from_start")
    encoder = built(layer=layer, weights=weights, position=place)
    x = torch.randn(7, 8).double().requires_grad_()
    (grad,) = torch.autograd.grad(run(encoder, x, hours([0, 1, 5, 30, 31], [2, 90]))[2].square().sum(), x)
    assert (grad[3:] == 0).all()
    assert (grad[:3] != 0).any(1).all()


def test_the_time_of_the_next_event_is_all_that_is_known_of_it():
    x = torch.randn(5, 8).double()
    early, late = hours([0, 1, 5, 30, 31]), hours([0, 1, 5, 12, 31])
    for query_time, seen in (("next", [False, False, True]), ("own", [False] * 3)):
        encoder = built(query_time=query_time)
        differs = (run(encoder, x, early) != run(encoder, x, late)).any(1)
        assert differs.tolist() == [*seen, True, True]


def test_now_is_what_the_newest_event_asks_at():
    x = torch.randn(5, 8).double()
    for query_time, newest in (("next", True), ("own", False)):
        encoder = built(query_time=query_time)
        differs = (run(encoder, x, hours([0, 1, 5, 30, 31])) != run(encoder, x, hours([0, 1, 5, 30, 31], now=33))).any(
            1
        )
        assert differs.tolist() == [False] * 4 + [newest]


@pytest.mark.parametrize("layer", [RESEARCH, LIBRARY], ids=["research", "library"])
def test_users_together_are_users_one_by_one_with_gradients(layer, close):
    encoder = built(layer=layer)
    rows = [[0, 1, 5], [], [7], list(range(20, 60))]
    x = torch.randn(44, 8).double()
    together = run(encoder, x, hours(*rows))
    whole = torch.autograd.grad(together.square().sum(), list(encoder.parameters()))
    alone = [run(encoder, part, hours(row)) for part, row in zip(x.split([3, 0, 1, 40]), rows)]
    close(together, torch.cat(alone))
    parts = torch.autograd.grad(sum(part.square().sum() for part in alone), list(encoder.parameters()))
    for got, want in zip(whole, parts):
        close(got, want)
    turned = run(encoder, torch.cat([x[4:], x[3:4], x[:3]]), hours(*reversed(rows)))
    close(turned, torch.cat([alone[3], alone[2], alone[0]]))


def test_every_layer_learns_a_bias_of_its_own():
    encoder = built(num_layers=3, bias=RelativeBias.Config(num_positions=None))
    assert [tuple(table.time.shape) for table in encoder.biases] == [(129,)] * 3
    x, history = torch.randn(4, 8).double(), hours([0, 1, 5, 30])
    before = run(encoder, x, history)
    for table in encoder.biases:
        changed = table.time.detach().clone()
        with torch.no_grad():
            table.time.mul_(2)
        assert (run(encoder, x, history) - before).abs().max() > 1e-6
        with torch.no_grad():
            table.time.copy_(changed)


@pytest.mark.parametrize("kind", ["research", "library"])
def test_pointwise_weights_count_and_softmax_weights_do_not(kind, close):
    """Two users with the same share of matching events, 2 and 20 of them."""
    layer = getattr(HstuLayer.Config, kind)(num_heads=1, normaliser=100.0, dropout=0.0)
    config = HstuStates.Config(layer=layer, num_layers=1)
    match, filler = torch.randn(2, 16).double()
    few, many = ([match] * n + [filler] * (2 * n) for n in (2, 20))
    history = hours([0] * 6, [0] * 60)
    for weights in ("silu", "softmax"):
        torch.manual_seed(3)
        encoder = replace(config, weights=weights).build(dim=16).double().eval()
        states = run(encoder, torch.stack(few + many), history)
        told_few, told_many = states[5] - filler, states[65] - filler
        if weights == "softmax":
            close(told_few, told_many)
        else:
            # A research layer forgets the count where what was read is large against eps; at its start it is not.
            assert (told_many - told_few).norm() > 0.1 * told_few.norm()


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"num_layers \(0\) must be at least 1"):
        HstuStates.Config(layer=RESEARCH, num_layers=0)
    with pytest.raises(ConfigError, match=r"query_time \(now\) must be next or own"):
        HstuStates.Config(layer=RESEARCH, query_time="now")
    with pytest.raises(ConfigError, match=r"weights \(relu\) must be silu or softmax"):
        HstuStates.Config(layer=RESEARCH, weights="relu")
    with pytest.raises(ConfigError, match=r"dropout \(1.0\) must lie in \[0, 1\)"):
        HstuStates.Config(layer=RESEARCH, dropout=1.0)
