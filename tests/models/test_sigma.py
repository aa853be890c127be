"""Facts of SIGMA: what it reduces to, which way it looks, and where the flip and the short branch must win."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.encoders.session import SessionEnhancement, SessionTrunk
from hpgr.models.sigma import sigma, sigma_forward
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.last_item import LastItem
from hpgr.objectives.next_item import NextItem

NUM_ITEMS = 40


def with_parts(config, **options):
    """The config with parts of its encoder replaced; None leaves a part out."""
    return replace(config, encoder=replace(config.encoder, **options))


def histories() -> History:
    rows = torch.randint(NUM_ITEMS, (3, 12), generator=torch_generator(0, "rows")).tolist()
    return History.from_lists([rows[0], [], rows[1][:3], rows[2][:7]])


@pytest.mark.parametrize("num_layers", [1, 2])
def test_forward_alone_with_closed_gates_is_the_plain_layer(num_layers, close):
    torch.manual_seed(1)
    whole = sigma(dim=8, num_layers=num_layers, state_dim=4).build(num_items=NUM_ITEMS).eval()
    plain = sigma_forward(dim=8, num_layers=num_layers, state_dim=4).build(num_items=NUM_ITEMS).eval()
    assert plain.load_state_dict(whole.state_dict(), strict=False).missing_keys == []
    assert (whole.states(histories()).values - plain.states(histories()).values).abs().max() > 1e-4
    with torch.no_grad():
        for layer in whole.encoder.layers:
            layer.shares.copy_(torch.tensor([1.0, 0.0, 0.0]))
            layer.mix.weight.copy_(torch.eye(8))
            layer.mix.bias.zero_()
            for part in (layer.gate.silu, layer.gate.sigmoid):
                part.weight.zero_()
                part.bias.zero_()
    close(whole.states(histories()).values, plain.states(histories()).values)


def test_it_begins_as_published():
    (layer,) = sigma().build(num_items=NUM_ITEMS).encoder.layers
    assert layer.shares.tolist() == pytest.approx([0.8, 0.1, 0.1])
    assert (layer.residual, layer.flip.keep, layer.feed_forward.inner.out_features) == (False, 5, 256)
    assert layer.mix.weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert sigma(num_layers=2).build(num_items=NUM_ITEMS).encoder.layers[0].residual


def changed_states(config) -> list[int]:
    """Which of the first nine states know the item of the tenth event."""
    torch.manual_seed(1)
    frame = config.build(num_items=NUM_ITEMS).eval()
    with torch.no_grad():
        for parameter in frame.parameters():
            parameter.normal_(std=0.3)
    row = list(range(12))
    before = frame.states(History.from_lists([row])).values
    after = frame.states(History.from_lists([[*row[:9], 30, *row[10:]]])).values
    return [t for t in range(9) if (before[t] - after[t]).abs().max() > 1e-6]


def test_all_but_the_forward_stream_know_later_events():
    config = with_parts(sigma(dim=8, keep=2), short=None)
    # The tenth event is the first of the flipped stream, and every later state has read it.
    assert changed_states(config) == list(range(9))
    assert changed_states(with_parts(config, flip=None)) == []
    assert changed_states(with_parts(sigma(dim=8), flip=None)) == [8]
    assert changed_states(sigma_forward(dim=8)) == []


@pytest.mark.parametrize("parts", [{}, {"short": None}, {"flip": None}], ids=str)
def test_an_objective_that_asks_at_every_event_is_refused(parts):
    config = with_parts(sigma(dim=8), **parts)
    with pytest.raises(
        ConfigError, match=r"encoder \(SigmaEncoder, which reads later events\) must be causal under NextItem"
    ):
        replace(config, objective=NextItem.Config())


def test_asked_at_every_event_all_the_same_its_states_have_read_their_answers():
    """What the refusal keeps out: the leak is real, and seen by another answer in the same place."""
    torch.manual_seed(1)
    frame = sigma(dim=8).build(num_items=NUM_ITEMS).eval()
    row, other = list(range(9)), [*range(5), 30, *range(6, 9)]
    for objective, leaks in ((NextItem.Config().build(), True), (LastItem.Config(num_prefixes=None).build(), False)):
        tasks = [objective.training_task(History.from_lists([one]), torch_generator(1)) for one in (row, other)]
        (asked,) = (tasks[0].target_N != tasks[1].target_N).nonzero(as_tuple=True)
        states = [frame.states(task.history).values[task.read_N[asked]] for task in tasks]
        assert asked.tolist() == [4]
        assert torch.equal(*states) != leaks


def test_a_trunk_that_looks_ahead_is_refused_too():
    trunk = SessionTrunk.Config(sem=SessionEnhancement.Config(layer=TransformerLayer.Config(ffn_dim=8), causal=True))
    with pytest.raises(
        ConfigError, match=r"trunk \(SessionTrunk, which reads later events\) must be causal under NextItem"
    ):
        replace(sigma_forward(dim=8), trunk=trunk)
    place = TimeAwarePosition.Config(clock="previous")
    assert replace(sigma_forward(dim=8), trunk=SessionTrunk.Config(position=place)).build(num_items=NUM_ITEMS)


def test_what_is_causal_may_be_asked_at_every_event_or_at_the_last():
    config = with_parts(sigma(dim=8), flip=None, short=None)
    for objective in (NextItem.Config(), LastItem.Config()):
        frame = replace(config, objective=objective).build(num_items=NUM_ITEMS)
        assert frame.loss(histories(), torch_generator(0))["loss"].isfinite()


def test_no_beginning_that_is_trained_on_tells_its_own_answer():
    """Each is a row of its own: what follows it is nowhere in what is read."""
    torch.manual_seed(1)
    frame = sigma(dim=8, num_prefixes=None).build(num_items=NUM_ITEMS).eval()
    row = list(range(12))
    tasks = [
        frame.objective.training_task(History.from_lists([one]), torch_generator(0)) for one in (row, [*row[:-1], 30])
    ]
    first, second = (frame.states(task.history).values[task.read_N] for task in tasks)
    assert torch.equal(first, second)
    assert [task.target_N[-1].item() for task in tasks] == [11, 30]


def test_a_history_no_longer_than_what_is_kept_is_not_flipped(close):
    torch.manual_seed(1)
    config = with_parts(sigma(dim=8, keep=5), gate=None, short=None)
    frame = config.build(num_items=NUM_ITEMS).eval()
    flipped_never = with_parts(config, flip=replace(config.encoder.flip, keep=100)).build(num_items=NUM_ITEMS).eval()
    flipped_never.load_state_dict(frame.state_dict())
    short, long = History.from_lists([[1, 2, 3, 4, 5]]), History.from_lists([[1, 2, 3, 4, 5, 6, 7]])
    close(frame.states(short).values, flipped_never.states(short).values)
    assert (frame.states(long).values - flipped_never.states(long).values).abs().max() > 1e-4


def test_the_published_gates_differ_in_the_second_stream_only():
    config = with_parts(sigma(dim=8), short=None)
    released = with_parts(config, gate=replace(config.encoder.gate, form="released"))
    torch.manual_seed(1)
    clean = config.build(num_items=NUM_ITEMS).eval()
    other = released.build(num_items=NUM_ITEMS).eval()
    other.load_state_dict(clean.state_dict())
    for frame in (clean, other):
        torch.nn.init.normal_(frame.encoder.layers[0].gate.sigmoid.weight)
    assert not torch.equal(clean.states(histories()).values, other.states(histories()).values)
    for frame in (clean, other):
        frame.encoder.layers[0].shares.data[1] = 0.0
        frame.encoder.layers[0].gate.sigmoid.weight.data.fill_(0.1)
    assert torch.equal(clean.states(histories()).values, other.states(histories()).values)


def early(num_users: int, seed: int) -> tuple[History, torch.Tensor]:
    """What follows is told by the first event and the last; twenty-two others lie between."""
    generator = torch_generator(seed, "early")
    first = torch.randint(4, (num_users, 1), generator=generator)
    between = torch.randint(8, 30, (num_users, 22), generator=generator)
    last = torch.randint(2, (num_users, 1), generator=generator)
    history = History.from_lists(torch.cat([first, between, 30 + last], 1).tolist())
    return history, (32 + first + 4 * last).squeeze(1)


def odd(num_users: int, seed: int) -> tuple[History, torch.Tensor]:
    """Two to five events; what follows is told by whether the sum of their items is odd."""
    generator = torch_generator(seed, "odd")
    lengths = torch.randint(2, 6, (num_users,), generator=generator).tolist()
    rows = [torch.randint(2, (length,), generator=generator) for length in lengths]
    return History.from_lists([row.tolist() for row in rows]), torch.stack([8 + row.sum() % 2 for row in rows])


def by_chance(num_users: int, seed: int) -> tuple[History, torch.Tensor]:
    history, _ = early(num_users, seed)
    return history, torch.randint(32, 40, (num_users,), generator=torch_generator(seed, "chance"))


def hits(config, planted, *, steps: int, lr: float) -> float:
    torch.manual_seed(0)
    frame = config.build(num_items=NUM_ITEMS)
    optimiser = torch.optim.Adam(frame.parameters(), lr=lr)
    batches = [planted(64, seed) for seed in range(16)]
    for step in range(steps):
        history, target = batches[step % 16]
        optimiser.zero_grad()
        F.cross_entropy(frame.scores(history), target).backward()
        optimiser.step()
    history, target = planted(500, 99)
    with torch.no_grad():
        return (frame.eval().scores(history).argmax(1) == target).float().mean().item()


SMALL = with_parts(sigma(dim=16, state_dim=2, dropout=0.0, keep=3), gate=None)


def test_a_flip_finds_an_early_event_that_a_short_state_forgets():
    flipped, forward = (with_parts(SMALL, short=None, **parts) for parts in ({}, {"flip": None}))
    assert hits(flipped, early, steps=150, lr=3e-2) > 0.9
    assert hits(forward, early, steps=150, lr=3e-2) < 0.4


def test_the_short_branch_tells_odd_from_even_in_short_histories():
    """A state that only fades cannot change its sign; a recurrent layer can."""
    items = replace(SMALL.items, std=0.25, unknown_prob=0.0)
    forward = with_parts(replace(SMALL, items=items), flip=None, init_std=None)
    assert hits(forward, odd, steps=250, lr=5e-3) > 0.9
    assert hits(with_parts(forward, short=None), odd, steps=250, lr=5e-3) < 0.85


def test_neither_finds_anything_in_chance():
    for parts in ({"short": None}, {"flip": None}):
        assert hits(with_parts(SMALL, **parts), by_chance, steps=60, lr=1e-2) == pytest.approx(1 / 8, abs=0.05)


def test_it_trains_in_bfloat16():
    torch.manual_seed(1)
    frame = sigma(dim=16).build(num_items=NUM_ITEMS).eval()
    want = frame.scores(histories())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = frame.scores(histories())
        frame.loss(histories(), torch_generator(0))["loss"].backward()
    torch.testing.assert_close(got.float(), want, rtol=0.1, atol=0.05)
    assert all(p.grad.isfinite().all() for p in frame.encoder.parameters() if p.grad is not None)
