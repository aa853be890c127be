"""Sessions as tokens: what the encoder inside is given, who sees whom, and that the short ways agree with the long one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.by_session import BySession, sessions_as_events
from hpgr.encoders.gru import GruEncoder
from hpgr.encoders.hstu_states import HstuStates
from hpgr.encoders.reasoning import Reasoning
from hpgr.encoders.sigma import SigmaEncoder
from hpgr.encoders.transformed import TransformedEncoder
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.selective_layer import SelectiveLayer
from hpgr.nn.transformer_layer import TransformerLayer

LAYER = TransformerLayer.Config(ffn_dim=16, num_heads=2)
HSTU = HstuLayer.Config.research(num_heads=2, normaliser=9.0, dropout=0.0)
INSIDE = {
    "attention": AttentionEncoder.Config(layer=LAYER, position=TimeAwarePosition.Config()),
    "hstu": HstuStates.Config(layer=HSTU, bias=RelativeBias.Config(num_positions=5)),
    "gru": GruEncoder.Config(scope="user"),
}


def history() -> History:
    return History.from_lists(
        [[1, 2, 3, 4, 5], [], [6], [7, 8, 9]],
        sessions=[[0, 0, 1, 1, 2], [], [0], [0, 0, 0]],
        times_ms=[[0, 9, 5000, 5001, 70_000], [], [5], [7, 20, 3000]],
        actions=[[1, 2, 1, 1, 2], [], [2], [1, 1, 2]],
    )


def built(name: str) -> BySession:
    torch.manual_seed(1)
    return BySession.Config(encoder=INSIDE[name]).build(dim=8).double().eval()


def test_a_session_stands_at_the_moment_it_began():
    """So what HSTU's queries know of the session that follows is when it began, as a request tells it."""
    sessions = sessions_as_events(history())
    assert sessions.time_ms.tolist() == [0, 5000, 70_000, 5, 7]
    assert sessions.user_offsets.tolist() == [0, 3, 3, 4, 5]
    assert sessions.session_offsets.tolist() == [0, 1, 2, 3, 4, 5]
    assert sessions.item_idx.tolist() == [1, 3, 5, 6, 7]
    assert sessions.next_time_ms().tolist() == [5000, 70_000, 71_000, 1005, 4000]


@pytest.mark.parametrize("name", INSIDE)
def test_states_are_those_of_the_encoder_inside_on_means(name, close):
    encoder, x_TD = built(name), torch.randn(9, 8).double()
    means = torch.stack([part.mean(0) for part in x_TD.split([2, 2, 1, 1, 3])])
    sessions = sessions_as_events(history())
    want = encoder.encoder(sessions.jagged(means), sessions).values
    got = encoder(history().jagged(x_TD), history())
    assert torch.equal(got.offsets, history().user_offsets)
    close(got.values, want[[0, 0, 1, 1, 2, 3, 4, 4, 4]])


@pytest.mark.parametrize("name", INSIDE)
def test_the_newest_states_alone_are_the_same(name, close):
    encoder, x = built(name), history().jagged(torch.randn(9, 8).double())
    close(encoder.newest(x, history()), encoder(x, history()).values[[4, 5, 8]])
    none = History.from_lists([[], []])
    assert encoder.newest(Jagged(x.values[:0], none.user_offsets), none).shape == (0, 8)


@pytest.mark.parametrize("name", INSIDE)
def test_a_later_session_changes_no_earlier_state_and_its_own_events_change_all_of_its(name, close):
    encoder, x_TD = built(name), torch.randn(9, 8).double()
    before = encoder(history().jagged(x_TD), history()).values
    other = x_TD.clone()
    other[3] = torch.randn(8)
    after = encoder(history().jagged(other), history()).values
    close(after[[0, 1, 5, 6, 7, 8]], before[[0, 1, 5, 6, 7, 8]])
    assert ((after - before)[2:5].abs().amax(1) > 1e-6).all()


def test_which_configs_say_what_of_later_events_and_sessions():
    plain = AttentionEncoder.Config(layer=LAYER)
    ahead = replace(plain, causal=False)
    over = BySession.Config(encoder=plain)
    assert (over.causal, over.causal_sessions) == (False, True)
    assert BySession.Config(encoder=ahead).causal_sessions is False
    for wrapped in (TransformedEncoder.Config(encoder=over), Reasoning.Config(encoder=over)):
        assert (wrapped.causal, wrapped.causal_sessions) == (False, True)
    assert TransformedEncoder.Config(encoder=ahead).causal_sessions is False
    assert TransformedEncoder.Config(encoder=plain).causal_sessions is True


@pytest.mark.parametrize("name", INSIDE)
def test_tokens_follow_a_session_at_the_cost_of_a_token(name, close):
    """A thought after each user's newest event, as one session more at the moment that the newest one began."""
    encoder, x_TD, thought_ND = built(name), torch.randn(9, 8).double(), torch.randn(3, 8).double()
    states, chains = encoder.begin(history().jagged(x_TD), history(), torch.tensor([4, 5, 8]))
    close(states.values, encoder(history().jagged(x_TD), history()).values)
    got, _ = encoder.follow(chains, thought_ND)
    sessions = sessions_as_events(history())
    tokens = sessions.jagged(encoder.pool(x_TD, history().session_offsets))
    _, chains = encoder.encoder.begin(tokens, sessions, torch.tensor([2, 3, 4]))
    close(got, encoder.encoder.follow(chains, thought_ND)[0])
    assert Reasoning.Config(encoder=BySession.Config(encoder=INSIDE[name])).build(dim=8)


def test_what_cannot_be_followed_says_so():
    sigma = SigmaEncoder.Config(layer=SelectiveLayer.Config(state_dim=2))
    with pytest.raises(UnsupportedError, match=r"^steps \(2\) must be 0 for this encoder: SigmaEncoder keeps nothing"):
        Reasoning.Config(encoder=BySession.Config(encoder=sigma)).build(dim=8)
