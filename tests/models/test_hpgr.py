"""The exact identities of HPGR (its card, 1–5) on whole models, in float64 where sums are compared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.config import override
from hpgr.core.errors import ConfigError, DataError, UnknownNameError, UnsupportedError
from hpgr.core.seeds import torch_generator
from hpgr.encoders import Signal
from hpgr.frames.ranking_state import Event, RankingState
from hpgr.frames.registry import MODELS
from hpgr.models.hpgr import hpgr, hpgr_paper

NUM_ITEMS = 40


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batch(lengths=(12, 0, 1, 7), num_candidates=5) -> tuple[History, Candidates]:
    generator = torch_generator(0, "hpgr")
    items = [torch.randperm(NUM_ITEMS, generator=generator)[:n].tolist() for n in lengths]
    history = History.from_lists(
        items,
        sessions=[[i // 3 for i in range(n)] for n in lengths],
        times_ms=[[86_400_000 * (i // 3) + 60_000 * i for i in range(n)] for n in lengths],
        now_ms=[86_400_000 * 30] * len(lengths),
    )
    asked = [torch.randint(NUM_ITEMS, (num_candidates,), generator=generator).tolist() for _ in lengths]
    return history, Candidates.from_lists(
        asked, now_ms=history.now_ms, labels=[[1.0, 0.0, 0.0, 1.0, 0.0]] * len(lengths)
    )


def ranker(config, weights=None):
    torch.manual_seed(1)
    module = config.build(num_items=NUM_ITEMS).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    if weights is not None:
        module.load_state_dict(weights, strict=False)
    return module


def with_selection(config, **changes):
    selection = replace(config.encoder.selection, **changes)
    return replace(config, encoder=replace(config.encoder, selection=selection))


def dense(config):
    return replace(config, encoder=replace(config.encoder, selection=None))


PAPER = hpgr_paper().ranker


def test_selecting_everything_is_dense_hstu(close):
    history, candidates = batch()
    want = ranker(dense(PAPER))
    whole = ranker(with_selection(PAPER, k=12, sigma=1e-3), want.state_dict())
    close(whole.logits(history, candidates), want.logits(history, candidates))
    few = ranker(with_selection(PAPER, k=2, sigma=1e-3), want.state_dict())
    assert (few.logits(history, candidates) - want.logits(history, candidates)).abs().max() > 1e-6


def test_a_wide_gaussian_is_dense_hstu(close):
    history, candidates = batch()
    want = ranker(dense(PAPER))
    wide = ranker(with_selection(PAPER, k=2, sigma=1e6), want.state_dict())
    close(wide.logits(history, candidates), want.logits(history, candidates))


def test_a_boost_of_zero_is_dense_hstu(close):
    history, candidates = batch()
    additive = replace(PAPER, encoder=replace(PAPER.encoder, gate="additive", beta_start=0.0))
    want = ranker(dense(PAPER))
    boosted = ranker(additive, want.state_dict())
    with torch.no_grad():
        boosted.encoder.beta_LH.zero_()
    close(boosted.logits(history, candidates), want.logits(history, candidates))
    with torch.no_grad():
        boosted.encoder.beta_LH.fill_(1.0)
    assert (boosted.logits(history, candidates) - want.logits(history, candidates)).abs().max() > 1e-6


def test_a_narrow_gaussian_reads_exactly_the_top_k():
    history, candidates = batch()
    module = ranker(with_selection(PAPER, k=3, sigma=1e-3))
    x_TD, x_CD = module.items(history.item_idx), module.items(candidates.item_idx)
    signal = Signal(history_TD=x_TD, candidates_CD=x_CD, cold_C=candidates.item_idx >= NUM_ITEMS)
    rows, gate = module.encoder.selected(history, candidates, signal)
    read = rows[gate > 0]
    assert torch.equal(gate[gate > 0], torch.ones_like(gate[gate > 0]))
    cosine = torch.nn.functional.normalize(x_CD, dim=-1) @ torch.nn.functional.normalize(x_TD, dim=-1).T
    best = cosine[:5, :12].topk(3, dim=1).indices.sort(1).values
    assert torch.equal(read[: 5 * 3].view(5, 3).sort(1).values, best)


@pytest.mark.parametrize("name", ["hpgr", "hpgr-paper"])
@pytest.mark.parametrize("sparse_rows", [False, True], ids=["dense rows", "session-sparse rows"])
def test_candidates_are_isolated_with_and_without_a_cache(name, sparse_rows, close):
    config = replace(MODELS[name]().ranker, features=())
    if sparse_rows:
        from hpgr.nn.session_rows import SessionRows

        rows = SessionRows(own=4, recent=2, sessions=2, per_session=2)
        config = replace(config, encoder=replace(config.encoder, rows=rows))
    module = ranker(config)
    history, candidates = batch()
    together = module.logits(history, candidates)
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = torch.cat([order + 5 * user for user in range(4)])
    moved = replace(candidates, item_idx=candidates.item_idx[shuffled])
    close(module.logits(history, moved), together[shuffled])
    for part in order.split(2):  # micro-batches of two candidates a user
        asked = candidates.item_idx.view(4, 5)[:, part]
        few = Candidates.from_lists(asked.tolist(), now_ms=history.now_ms)
        close(module.logits(history, few).view(4, -1), together.view(4, 5)[:, part])
    close(cached_logits(module, history, candidates), together)


def cached_logits(module, history, candidates):
    """Score one candidate of every user at a time against one remembered history."""
    x_TD = module.items(history.item_idx)
    none = Signal(history_TD=x_TD, candidates_CD=x_TD[:0], cold_C=torch.zeros(0, dtype=torch.bool))
    memory = module.encoder.remember(module.trunk(history.jagged(x_TD), history), history, none)
    columns = []
    for place in range(5):
        one = Candidates.from_lists(
            candidates.item_idx.view(4, 5)[:, place : place + 1].tolist(), now_ms=history.now_ms
        )
        x_CD = module.items(one.item_idx)
        signal = replace(none, candidates_CD=x_CD, cold_C=one.item_idx >= NUM_ITEMS)
        tokens = one_row_each(module.trunk.for_candidates(x_CD, one.time_ms), one)
        columns.append(module.head(module.encoder.read(memory, tokens, history, one, signal), x_CD, None))
    return torch.cat(columns, 1).view(-1, 1)


def one_row_each(values, candidates):
    from hpgr.core.jagged import Jagged

    return Jagged(values, candidates.offsets)


def masked_states(mask_at: str, items: list[int]):
    torch.manual_seed(2)
    config = replace(hpgr_paper().retriever, mask_at=mask_at)
    module = config.build(num_items=NUM_ITEMS).eval()
    history = History.from_lists([items], sessions=[[0, 0, 0, 1, 1, 1]])
    hidden = torch.tensor([False, True, False, False, False, True])
    return module.states(history, hidden).values[hidden]


def test_hidden_items_do_not_change_the_prediction_at_their_place():
    before, after = masked_states("input", [1, 2, 3, 4, 5, 6]), masked_states("input", [1, 30, 3, 4, 5, 31])
    assert torch.equal(before, after)


def test_masking_after_fusion_leaks_and_is_there_to_show_it():
    before, after = masked_states("fusion", [1, 2, 3, 4, 5, 6]), masked_states("fusion", [1, 30, 3, 4, 5, 31])
    assert not torch.equal(before, after)
    with pytest.raises(ConfigError, match=r"mask_at \(fusion\) must have a trunk"):
        replace(hpgr_paper().retriever, mask_at="fusion", trunk=None)


def test_sessions_do_not_see_each_other_inside(close):
    sem = ranker(PAPER).trunk.sem
    history, _ = batch((9,))
    x_TD = torch.randn(9, 64)
    changed = x_TD.clone()
    changed[4] += 1.0
    before, after = sem.members(x_TD, history), sem.members(changed, history)
    assert torch.equal(before[:3], after[:3])
    assert torch.equal(before[6:], after[6:])
    assert not torch.equal(before[3:6], after[3:6])


def test_later_sessions_do_not_reach_earlier_ones_in_the_second_stage():
    causal, both_ways = ranker(PAPER).trunk.sem, hpgr_paper().retriever.trunk.build(dim=64).sem.eval()
    history, _ = batch((9,))
    x_TD = torch.randn(9, 64)
    changed = x_TD.clone()
    changed[7] += 1.0
    assert torch.equal(causal(x_TD, history)[:6], causal(changed, history)[:6])
    assert not torch.equal(both_ways(x_TD, history)[:6], both_ways(changed, history)[:6])


def test_sessions_of_many_users_equal_sessions_of_each(close):
    sem = ranker(PAPER).trunk.sem
    together, _ = batch((7, 0, 1, 12))
    x_TD = torch.randn(together.num_events, 64)
    whole = sem(x_TD, together)
    for user in range(4):
        start, stop = together.user_offsets[user : user + 2].tolist()
        if start == stop:
            continue
        alone = History.from_lists(
            [together.item_idx[start:stop].tolist()],
            sessions=[[i // 3 for i in range(stop - start)]],
            times_ms=[together.time_ms[start:stop].tolist()],
            now_ms=[86_400_000 * 30],
        )
        close(sem(x_TD[start:stop], alone), whole[start:stop])


@pytest.mark.parametrize("config", [hpgr_paper(), hpgr()], ids=["paper", "hpgr"])
def test_the_second_stage_inherits_exactly_the_named_parts(config):
    torch.manual_seed(3)
    frame = config.build(num_items=NUM_ITEMS)
    stage = frame.stages()[1]
    fresh = {name: tensor.clone() for name, tensor in stage.module.state_dict().items()}
    stage.before()
    # A stage that is told things holds the ranker; another is the ranker.
    learnt = {("ranker." if config.told else "") + n: t for n, t in frame.retriever.state_dict().items()}
    now = stage.module.state_dict()
    inherited = {name for name in now if name.startswith(stage.inherited)}
    assert inherited
    for name, tensor in now.items():
        want = learnt[name] if name in inherited else fresh[name]
        assert torch.equal(tensor, want), name
    sem_inherited = any("trunk.sem." in name for name in inherited)
    assert sem_inherited == (config.ranker.trunk.sem is not None)


def test_inherited_parts_move_at_the_set_ratio_of_one_step():
    torch.manual_seed(4)
    frame = hpgr_paper(dropout=0.0).build(num_items=NUM_ITEMS)
    stage = frame.stages()[1]
    named = dict(frame.ranker.named_parameters())
    groups = [
        {"params": [p for n, p in named.items() if n.startswith(stage.inherited)], "lr": 0.1},
        {"params": [p for n, p in named.items() if not n.startswith(stage.inherited)], "lr": 1.0},
    ]
    before = {name: p.detach().clone() for name, p in named.items()}
    stage.loss(batch(), torch_generator(0))["loss"].backward()
    torch.optim.SGD(groups).step()
    moved = 0
    for name, parameter in named.items():
        ratio = 0.1 if name.startswith(stage.inherited) else 1.0
        if parameter.grad is not None:
            torch.testing.assert_close(before[name] - parameter.detach(), ratio * parameter.grad)
            moved += 1
    assert moved > 20


def test_a_part_that_does_not_fit_is_not_inherited():
    with pytest.raises(ConfigError, match="must name parts of both stages"):
        replace(hpgr(), inherit=("items=nothing",)).build(num_items=NUM_ITEMS)
    with pytest.raises(ConfigError, match="must name parts of one shape"):
        override(hpgr(), {"retriever.items.dim": "32"}).build(num_items=NUM_ITEMS)


def test_an_outside_candidate_is_scored_and_reads_the_newest_events():
    module = ranker(with_selection(PAPER, k=2, sigma=1e-3))
    history, _ = batch((6,))
    candidates = Candidates.from_lists([[NUM_ITEMS]], now_ms=history.now_ms)
    x_TD, x_CD = module.items(history.item_idx), module.items(candidates.item_idx)
    signal = Signal(history_TD=x_TD, candidates_CD=x_CD, cold_C=torch.tensor([True]))
    rows, gate = module.encoder.selected(history, candidates, signal)
    assert sorted(rows[gate > 0].tolist()) == [4, 5]


@pytest.mark.parametrize("options", [{"told": ("score",)}, {"told": (), "compares": "states"}], ids=str)
def test_the_second_stage_asks_the_first_and_leaves_it_as_it_is(options, close):
    torch.manual_seed(5)
    frame = replace(hpgr(), **options).build(num_items=NUM_ITEMS)
    history, candidates = with_features(frame)
    second = frame.stages()[1]
    learnt = {name: tensor.clone() for name, tensor in frame.retriever.state_dict().items()}
    second.before()
    second.module.train()
    second.loss((history, candidates), torch_generator(0))["loss"].backward()
    assert all(p.grad is None for p in frame.retriever.parameters())
    assert any(name.startswith(second.inherited) for name, _ in second.module.named_parameters())
    assert not any("retriever" in name for name in second.module.state_dict())
    # Without dropout, although a stage is being trained.
    one, two = frame.opinion(history, candidates), frame.opinion(history, candidates)
    for name in ("told_CP", "signal"):
        if getattr(one, name) is not None:
            a, b = (getattr(x, name) for x in (one, two))
            close(getattr(a, "history_TD", a), getattr(b, "history_TD", b))
    for name, tensor in frame.retriever.state_dict().items():
        assert torch.equal(tensor, learnt[name]), name
    close(second.module.eval().logits(history, candidates), frame.eval().logits(history, candidates))


def test_what_is_told_is_the_score_of_retrieval(close):
    frame = ranker(replace(hpgr(), told=("score",)))
    history, candidates = with_features(frame, lengths=(12, 3, 1, 7))
    at = candidates.user_of_candidate(), candidates.item_idx
    close(frame.opinion(history, candidates).told_CP[:, 0], frame.scores(history)[at])
    outside = replace(candidates, item_idx=torch.full_like(candidates.item_idx, NUM_ITEMS))
    assert not frame.opinion(history, outside).told_CP.any()
    assert ranker(replace(hpgr(), told=())).opinion(history, candidates).told_CP is None


@pytest.mark.parametrize("options", [{}, {"told": (), "compares": "states"}], ids=str)
def test_a_kept_history_is_scored_with_what_the_first_stage_says(options, close):
    frame = ranker(replace(hpgr(), **options))
    history, candidates = with_features(frame, lengths=(12,))
    want, state = frame.logits(history, candidates), frame.begin(history)
    close(frame.score(state, candidates, at_once=2), want)
    close(frame.score(RankingState.from_tensors(state.tensors()), candidates), want)
    refusal = r"\(0 numbers a candidate\) must have the 1" if frame.config.told else r"\(no vectors to compare\) must"
    with pytest.raises(DataError, match="opinion of an earlier stage " + refusal):
        frame.ranker.score(state, candidates)
    with pytest.raises(DataError, match=r"candidates' time_ms must be the state's now_ms \(2592000000\)"):
        frame.score(state, replace(candidates, time_ms=candidates.time_ms + 1))
    with pytest.raises(UnsupportedError, match="what the first stage says belongs to the moment"):
        frame.append(state, Event(item_idx=1, time_ms=10**12))


def test_what_is_told_moves_the_ranker():
    frame = ranker(replace(hpgr(), told=("score",)))
    history, candidates = with_features(frame)
    before = frame.logits(history, candidates)
    with torch.no_grad():
        frame.retriever.items.weight.normal_(std=0.5)
    assert not torch.allclose(before, frame.logits(history, candidates))


def test_an_unknown_opinion_is_refused():
    with pytest.raises(UnknownNameError, match="no told is named 'rank'"):
        replace(hpgr(), told=("rank",))
    with pytest.raises(ConfigError, match=r"compares \(places\) must be items or states"):
        replace(hpgr(), compares="places")


def with_features(frame, lengths=(12, 0, 1, 7)) -> tuple[History, Candidates]:
    history, candidates = batch(lengths)
    width = len(frame.config.ranker.features)
    features = torch.rand(candidates.num_candidates, width, generator=torch_generator(2, "features"))
    return history, replace(candidates, features=features)
