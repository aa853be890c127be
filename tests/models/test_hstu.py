"""Facts of HSTU: the four bias terms of its ablation, the time that a query asks at, candidates scored together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.encoders import Signal
from hpgr.models.hstu import hstu, hstu_large, hstu_ranker

NUM_ITEMS, HOUR_MS = 40, 3_600_000
EXACT = 1e-12


def drawn(config):
    """A model with weights large enough that no branch hides behind eps, in float64."""
    torch.manual_seed(1)
    frame = config.build(num_items=NUM_ITEMS).double().eval()
    with torch.no_grad():
        for parameter in frame.parameters():
            parameter.normal_(std=0.3)
    return frame


def asked(lengths=(12, 0, 1, 7), now=1000, gap=5):
    generator = torch_generator(0, "hstu")
    items = [torch.randint(NUM_ITEMS, (n,), generator=generator).tolist() for n in lengths]
    times = [[HOUR_MS * gap * i for i in range(n)] for n in lengths]
    return History.from_lists(items, times_ms=times, now_ms=[HOUR_MS * now] * len(lengths))


@pytest.mark.parametrize(
    ("bias", "timed", "num_values"),
    [("both", True, 397 + 129), ("time", True, 129), ("position", False, 397), (None, False, 0)],
)
def test_four_models_differ_in_their_bias_terms_only(bias, timed, num_values):
    frame = drawn(hstu(dim=16, bias=bias))
    tables = [p.numel() for name, p in frame.named_parameters() if ".biases." in name]
    assert sum(tables) == 2 * num_values
    rest = sum(p.numel() for p in frame.parameters()) - sum(tables)
    assert rest == sum(p.numel() for p in drawn(hstu(dim=16, bias=None)).parameters())
    moved = (frame.states(asked()).values != frame.states(asked(gap=9)).values).any(1)
    assert moved.any().item() == timed


def test_without_a_bias_of_place_only_the_place_of_the_event_itself_tells_order():
    frame = drawn(hstu(dim=16, bias=None))
    with torch.no_grad():
        frame.encoder.position.rank.weight.zero_()
    one, two = ([3, 5, 8, 1], [8, 5, 3, 1])
    first, second = (frame.states(History.from_lists([row])).values[-1] for row in (one, two))
    # Two layers of causal rows tell order by themselves; the first layer does not.
    assert (first - second).abs().max() > 1e-6
    alone = drawn(hstu(dim=16, bias=None, num_layers=1))
    with torch.no_grad():
        alone.encoder.position.rank.weight.zero_()
    first, second = (alone.states(History.from_lists([row])).values[-1] for row in (one, two))
    assert (first - second).abs().max() <= EXACT


def test_scores_follow_the_moment_of_the_request_unless_a_query_has_its_own_time():
    for query_time, follows in (("next", True), ("own", False)):
        config = hstu(dim=16)
        frame = drawn(replace(config, encoder=replace(config.encoder, query_time=query_time)))
        frame.observe(torch.ones(NUM_ITEMS, dtype=torch.int64))
        differs = (frame.scores(asked()) != frame.scores(asked(now=3000))).any(1)
        assert differs.tolist() == [follows, False, follows, follows]


def test_it_begins_as_the_public_experiments_do():
    config = hstu(dim=50)
    frame = config.build(num_items=NUM_ITEMS)
    assert [(layer.normaliser, layer.scale) for layer in frame.encoder.layers] == [(211.0, 1.0)] * 2
    assert config.objective.cost.temperature == 0.05
    assert (config.objective.cost.num_negatives, config.objective.cost.shared) == (128, "prediction")
    rows = torch.arange(5)
    assert torch.equal(frame.items.eval()(rows), frame.items.table()[:5] * 50**0.5)
    place = frame.encoder.position.rank.weight
    assert place.std().item() == pytest.approx(50**-0.5, rel=0.05)
    large = hstu_large(dim=50).build(num_items=NUM_ITEMS)
    assert [layer.project(torch.randn(3, 50))[1].shape for layer in large.encoder.layers] == [(3, 2, 25)] * 8


def test_a_full_window_asks_at_a_place_that_training_has_seen():
    frame = hstu(dim=8, max_len=6).build(num_items=NUM_ITEMS)
    told, window = History.from_lists([[1, 2, 3, 4, 5]]), History.from_lists([[1, 2, 3, 4, 5, 6]])
    trained, request = (frame.encoder.position.for_history(h.user_offsets, h.time_ms, h.now_ms) for h in (told, window))
    assert torch.equal(request[-1], trained[-1])
    assert not torch.equal(trained[-1], trained[-2])


def test_an_unknown_bias_is_refused():
    with pytest.raises(ConfigError, match=r"bias \(all\) must be both, time, position or None"):
        hstu(bias="all")


RANKER = hstu_ranker(dim=16, num_heads=2, features=())
OFFERED = [[4, 9, 9, 30, 2], [7, 1, 0, 3, 12], [5, 6, 7, 8, 9], [39, 40, 11, 2, 20]]


def scored(frame, history, columns, batch):
    """``[B, 5]``: log-odds of five candidates a user, ``batch`` columns at a time against one remembered history."""
    x_TD = frame.items(history.item_idx)
    signal = Signal(history_TD=x_TD, candidates_CD=x_TD[:0], cold_C=torch.zeros(0, dtype=torch.bool))
    memory = frame.encoder.remember(frame.trunk(history.jagged(x_TD), history), history, signal)
    parts = []
    for start in range(0, 5, batch):
        some = Candidates.from_lists([row[start : start + batch] for row in columns], now_ms=history.now_ms)
        x_CD = frame.items(some.item_idx)
        tokens = history.jagged(frame.trunk.for_candidates(x_CD, torch.zeros(len(x_CD)).long()))
        state_CD = frame.encoder.read(memory, replace(tokens, offsets=some.offsets), history, some, signal)
        parts.append(frame.head(state_CD, x_CD).view(len(columns), -1))
    return torch.cat(parts, 1)


def together(frame, history, rows):
    return frame.logits(history, Candidates.from_lists(rows, now_ms=history.now_ms)).view(len(rows), -1)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_candidates_together_are_candidates_one_by_one_from_one_memory(batch):
    frame, history = drawn(RANKER), asked()
    want = together(frame, history, OFFERED)
    one_by_one = torch.cat([together(frame, history, [row[i : i + 1] for row in OFFERED]) for i in range(5)], 1)
    assert (one_by_one - want).abs().max() <= EXACT
    assert (scored(frame, history, OFFERED, batch) - want).abs().max() <= EXACT
    assert want.std() > 0.01


def test_candidates_at_places_of_their_own_are_not_scored_as_alone():
    frame, history = drawn(RANKER), asked()
    position = frame.trunk.position

    def counted(waited_ms_C):
        return position.rank(torch.arange(len(waited_ms_C)) % 5)

    position.for_candidates = counted
    want = together(frame, history, OFFERED)
    one_by_one = torch.cat([together(frame, history, [row[i : i + 1] for row in OFFERED]) for i in range(5)], 1)
    assert (one_by_one - want).abs().max() > 0.01


def test_a_ranker_s_times_go_by_the_root_of_minutes():
    frame = drawn(RANKER)
    assert frame.trunk.position.age.num_embeddings == 2048
    assert frame.trunk.position.rank.num_embeddings == 8193
    # The roots of minutes round down to 1, 2 and 2.
    near, far, farther = (
        frame.trunk.places(History.from_lists([[1]], times_ms=[[0]], now_ms=[s * 1000])) for s in (239, 240, 539)
    )
    assert not torch.equal(near, far)
    assert torch.equal(far, farther)


def daily(num_users, seed):
    """Each user has one item for the mornings and one for the evenings, and skips some: ``(items, times) [B, 12]``."""
    generator = torch_generator(seed, "daily")
    own = torch.stack([torch.randperm(20, generator=generator)[:2] for _ in range(num_users)])
    half_days = torch.randint(1, 4, (num_users, 12), generator=generator).cumsum(1)
    half_days = half_days + torch.randint(2, (num_users, 1), generator=generator)
    return own.gather(1, half_days % 2), half_days * 12 * HOUR_MS


def windows(items, times, now):
    return History.from_lists(items.tolist(), times_ms=times.tolist(), now_ms=now.tolist())


def test_what_returns_daily_is_foreseen_by_the_bias_of_time():
    batches = [windows(items, times, times[:, -1]) for items, times in (daily(32, seed) for seed in range(8))]
    items, times = daily(200, 99)
    hits = {}
    for bias in ("time", None):
        torch.manual_seed(0)
        config = hstu(dim=32, bias=bias, max_len=16, num_layers=1, dropout=0.0, negatives=None)
        frame = config.build(num_items=20)
        optimiser = torch.optim.Adam(frame.parameters(), lr=5e-3)
        for step in range(130):
            optimiser.zero_grad()
            frame.loss(batches[step % 8], torch_generator(7, step))["loss"].backward()
            optimiser.step()
        with torch.no_grad():
            best = frame.eval().scores(windows(items[:, :-1], times[:, :-1], times[:, -1])).argmax(1)
        hits[bias] = (best == items[:, -1]).float().mean().item()
    # Without the time of the request one of two items must be guessed.
    assert hits["time"] > 0.8
    assert hits[None] < 0.7
