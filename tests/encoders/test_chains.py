"""Tokens that follow events: what is kept gives what running the longer row again gives, for unlike encoders."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.encoders import why_not_followed
from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.gru import GruEncoder
from hpgr.encoders.hstu_states import HstuStates
from hpgr.encoders.session import SessionTrunk
from hpgr.encoders.transformed import TransformedEncoder
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.rotary import Rotary
from hpgr.nn.transformer_layer import TransformerLayer

LAYER = TransformerLayer.Config(ffn_dim=16, num_heads=2)
HSTU = HstuLayer.Config.research(num_heads=2, normaliser=9.0, dropout=0.0)
POST = TransformerLayer.Config(ffn_dim=16, norm="post", rotary=Rotary())
ENCODERS = {
    "attention": AttentionEncoder.Config(layer=LAYER, bias=RelativeBias.Config(num_positions=5), input_norm=True),
    "rotary": AttentionEncoder.Config(layer=POST, final_norm=False),
    "released": AttentionEncoder.Config(layer=TransformerLayer.Config(ffn_dim=8, norm="released", out_proj=False)),
    "hstu": HstuStates.Config(layer=HSTU, bias=RelativeBias.Config(num_positions=5)),
    "hstu softmax": HstuStates.Config(layer=HSTU, weights="softmax", query_time="own"),
    "gru": GruEncoder.Config(num_layers=2, scope="user"),
    "transformed": TransformedEncoder.Config(encoder=AttentionEncoder.Config(layer=LAYER)),
}
TIMES = [[0, 9, 60, 61], [], [5], [7, 20, 3000]]


def built(name):
    torch.manual_seed(1)
    return ENCODERS[name].build(dim=8).double().eval()


def history(times):
    seconds = [[1000 * t for t in row] for row in times]
    now = [row[-1] if row else 0 for row in seconds]
    return History.from_lists([[1] * len(row) for row in times], times_ms=seconds, now_ms=now)


@pytest.mark.parametrize("name", ENCODERS)
def test_kept_and_run_again_agree_for_rows_of_unlike_length(name, close):
    """Three tokens after the newest event of each user, each at the moment of that event."""
    encoder, short = built(name), history(TIMES)
    x_TD, tokens_JND = torch.randn(8, 8).double(), torch.randn(3, 3, 8).double()
    after_N = torch.tensor([3, 4, 7])
    states, chains = encoder.begin(short.jagged(x_TD), short, after_N)
    close(states.values, encoder(short.jagged(x_TD), short).values)
    rows = list(x_TD.split([4, 0, 1, 3]))
    for step in range(3):
        got, chains = encoder.follow(chains, tokens_JND[step])
        for n, user in enumerate((0, 2, 3)):
            rows[user] = torch.cat([rows[user], tokens_JND[step, n : n + 1]])
        long = history([row + row[-1:] * (step + 1) for row in TIMES])
        again = encoder(long.jagged(torch.cat(rows)), long).values
        close(got, again[long.user_offsets[1:][[0, 2, 3]] - 1])


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "hstu"])
def test_a_chain_in_the_middle_is_a_chain_after_the_events_before_it(name, close):
    """Later events, other chains and a second chain at the same event change nothing."""
    encoder, whole, part = built(name), history(TIMES), history([[0, 9]])
    x_TD, token = torch.randn(8, 8).double(), torch.randn(1, 8).double()
    _, chains = encoder.begin(whole.jagged(x_TD), whole, torch.tensor([0, 1, 1, 6]))
    others = torch.randn(4, 8).double()
    others[1] = token
    states, chains = encoder.follow(chains, others)
    _, alone = encoder.begin(part.jagged(x_TD[:2]), part, torch.tensor([1]))
    first, alone = encoder.follow(alone, token)
    close(states[1:2], first)
    close(encoder.follow(chains, others)[0][1:2], encoder.follow(alone, token)[0])
    assert not torch.equal(states[1], states[2])


def test_tokens_of_an_encoder_that_looks_ahead_read_all_events_and_are_read_by_none(close):
    encoder = AttentionEncoder.Config(layer=LAYER, causal=False).build(dim=8).double().eval()
    short, x_TD = history(TIMES), torch.randn(8, 8).double()
    states, chains = encoder.begin(short.jagged(x_TD), short, torch.tensor([1, 3]))
    close(states.values, encoder(short.jagged(x_TD), short).values)
    token = torch.randn(1, 8).double()
    early, late = encoder.follow(chains, token.expand(2, -1))[0]
    close(early, late)


def test_gradients_reach_events_through_what_is_kept():
    encoder, short = built("attention"), history(TIMES)
    x_TD = torch.randn(8, 8).double().requires_grad_()
    _, chains = encoder.begin(short.jagged(x_TD), short, torch.tensor([1]))
    (grad,) = torch.autograd.grad(encoder.follow(chains, torch.randn(1, 8).double())[0].square().sum(), x_TD)
    assert (grad[:2] != 0).any(1).all()
    assert not grad[2:].any()


def test_what_keeps_nothing_says_so():
    assert all(why_not_followed(built(name)) is None for name in ENCODERS)
    assert why_not_followed(SessionTrunk.Config().build(dim=8)) == (
        "SessionTrunk keeps nothing of the events that it has run"
    )


def test_a_bias_of_what_stands_behind(close):
    table = RelativeBias.Config(num_positions=3).build().double()
    with torch.no_grad():
        table.place.copy_(torch.tensor([9.0, 5.0, 1.0, 7.0, 7.0]))
        table.time.zero_()
        table.time[0] = 0.5
    # Four places: those three and two away share the outermost row, then one away, then itself.
    close(table.behind(4), torch.tensor([9.0, 9.0, 5.0, 1.0]).double() + table.time[0])


def test_places_that_come_from_scores_are_refused_with_the_reason():
    by_scores = ContextualPosition.Config()
    for encoder in (
        AttentionEncoder.Config(layer=replace(LAYER, context=by_scores)),
        HstuStates.Config(layer=replace(HSTU, context=by_scores)),
    ):
        assert why_not_followed(encoder.build(dim=8)) == "context of its layer is given; set it to None"
