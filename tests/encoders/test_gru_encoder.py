"""A GRU over sessions: its equations, where states begin, streaming, and lanes that go on in the next batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.encoders.gru import GruEncoder

SESSIONS = [[0, 0, 1, 1, 1, 1], [], [0], [0, 1, 2]]
HISTORY = History.from_lists([[0] * len(row) for row in SESSIONS], sessions=SESSIONS)
BORDERS = {"session": [0, 2, 6, 7, 8, 9, 10], "user": [0, 6, 7, 10]}


def encoder(dim=5, **options) -> GruEncoder:
    torch.manual_seed(1)
    return GruEncoder.Config(**options).build(dim=dim).eval()


def vectors(dim=5, seed=2) -> torch.Tensor:
    return torch.randn(10, dim, generator=torch.Generator().manual_seed(seed))


def by_hand(layer, x_TD, h_D):
    """Equations of one layer, event by event: z keeps the old state, r acts on what it gives to the new one."""
    found = []
    for x_D in x_TD:
        ir, iz, i_new = (layer.weight_ih_l0 @ x_D + layer.bias_ih_l0).chunk(3)
        hr, hz, h_new = (layer.weight_hh_l0 @ h_D + layer.bias_hh_l0).chunk(3)
        r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
        h_D = (1 - z) * (i_new + r * h_new).tanh() + z * h_D
        found.append(h_D)
    return torch.stack(found)


@pytest.mark.parametrize("scope", ["session", "user"])
def test_states_follow_the_equations_and_begin_at_zero_with_each_scope(scope, close):
    gru, x_TD = encoder(scope=scope, num_layers=2), vectors()
    with torch.no_grad():
        for layer in gru.layers:
            layer.bias_ih_l0.normal_()
            layer.bias_hh_l0.normal_()
    want = []
    for start, stop in zip(BORDERS[scope], BORDERS[scope][1:]):
        first = by_hand(gru.layers[0], x_TD[start:stop], torch.zeros(5))
        want.append(by_hand(gru.layers[1], first, torch.zeros(5)))
    close(gru(HISTORY.jagged(x_TD), HISTORY).values, torch.cat(want))


@pytest.mark.parametrize("num_layers", [1, 3])
def test_streaming_gives_the_states_of_the_whole_session(num_layers, close):
    gru, x_TD = encoder(num_layers=num_layers), vectors()
    # The first two events of the two sessions of the first user.
    whole_TD = gru(HISTORY.jagged(x_TD), HISTORY).values
    state = gru.initial(2)
    for step in range(2):
        state = gru.step(state, x_TD[[step, 2 + step]])
        close(state[-1], whole_TD[[step, 2 + step]])


def test_each_gate_is_drawn_evenly_from_its_own_bound_and_shifts_are_zero():
    gru = encoder(dim=40)
    bound = (6 / 80) ** 0.5
    for weight in (gru.layers[0].weight_ih_l0, gru.layers[0].weight_hh_l0):
        for gate in weight.chunk(3):
            assert gate.abs().max() <= bound
            assert gate.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not gru.layers[0].bias_ih_l0.any()
    assert not gru.layers[0].bias_hh_l0.any()
    assert sum(p.numel() for p in gru.parameters()) == 6 * 40**2 + 6 * 40


def piece(lanes: list[int], continues: list[bool], lengths: list[int]) -> History:
    history = History.from_lists([[0] * length for length in lengths])
    rows = history.user_of_event()
    features = {"lane": torch.tensor(lanes)[rows], "continues": torch.tensor(continues)[rows]}
    return replace(history, features=features)


def test_a_lane_goes_on_where_its_last_batch_ended(close):
    gru, x_TD = encoder(num_layers=2).train(), vectors()
    long = History.from_lists([[0] * 7, [0] * 3])
    whole_TD = gru(long.jagged(x_TD), long).values
    first, second = piece([0, 2], [False, False], [4, 2]), piece([2, 0], [False, True], [1, 3])
    gru(first.jagged(x_TD[[0, 1, 2, 3, 7, 8]]), first)
    found = gru(second.jagged(x_TD[[7, 4, 5, 6]]), second).values
    close(found, whole_TD[[7, 4, 5, 6]])
    assert gru.get_extra_state().shape == (3, 2, 5)
    assert not gru.get_extra_state()[1].any()
    found.sum().backward()
    assert not gru.get_extra_state().requires_grad, "no gradient runs into an earlier batch"


def test_the_state_that_is_carried_is_the_dropped_one():
    gru = encoder(dim=400, dropout=0.5).train()
    one = piece([0], [False], [1])
    states = gru(one.jagged(vectors(400)[:1]), one).values
    assert 0.4 < (states == 0).float().mean() < 0.6
    assert torch.equal(gru.get_extra_state()[0], states)


def test_lanes_are_saved_and_loaded_and_dropped_in_evaluation():
    gru, one, next_one = encoder().train(), piece([0], [False], [1]), piece([0], [True], [1])
    gru(one.jagged(vectors()[:1]), one)
    other = encoder().train()
    other.load_state_dict(gru.state_dict())
    x = next_one.jagged(vectors()[1:2])
    want = gru(x, next_one).values
    assert torch.equal(other(x, next_one).values, want)
    gru.eval()
    assert gru.state_dict()["_extra_state"].shape == (0, 1, 5)
    assert not torch.equal(gru(x, next_one).values, want), "a request begins at zero"


def test_autocast_leaves_the_recurrence_alone():
    gru, x_TD = encoder(), vectors()
    want = gru(HISTORY.jagged(x_TD), HISTORY).values
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gru(HISTORY.jagged(x_TD), HISTORY).values, want)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "num_layers (0) must be at least 1"),
        ({"scope": "day"}, "scope (day) must be session or user"),
        ({"dropout": 1.0}, "dropout (1.0) must lie in [0, 1)"),
        ({"input_dropout": -0.1}, "input_dropout (-0.1) must lie in [0, 1)"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ConfigError) as caught:
        GruEncoder.Config(**options)
    assert str(caught.value) == message
