"""Facts of CAPE: places found from scores, in every backbone by one slot; won where order counts, not in noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.encoders.session import SessionTrunk
from hpgr.evaluation.classification import auc
from hpgr.frames.registry import MODELS
from hpgr.models.cape import cape, cape_din, cape_hstu
from hpgr.models.din import din
from hpgr.models.hpgr import hpgr, hpgr_live, hpgr_paper
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.session_rows import SessionRows

NUM_ITEMS, NUM_KINDS = 20, 5
CONTEXT = ContextualPosition.Config(num_positions=8)
SMALL = {"dim": 16, "dropout": 0.0, "features": ()}


def with_layer(config, **options):
    """The config with options of its encoder's layer replaced."""
    encoder = config.encoder
    return replace(config, encoder=replace(encoder, layer=replace(encoder.layer, **options)))


def histories() -> History:
    return History.from_lists([[1, 5, 1, 7, 3, 3, 2], [], [4], [9, 8, 9, 9]])


def offered(history: History, features: int = 0) -> Candidates:
    rows = [[1, 2, NUM_ITEMS], [3], [4, 5], [9]]
    return Candidates.from_lists(rows, now_ms=history.now_ms, features=torch.zeros(7, features))


@pytest.mark.parametrize("make", [cape, cape_hstu], ids=["cape", "cape-hstu"])
def test_a_retriever_begins_as_its_backbone_without_places(make, close):
    config = make(dim=16)
    torch.manual_seed(1)
    frame = config.build(num_items=NUM_ITEMS).eval()
    bare = with_layer(config, context=None).build(num_items=NUM_ITEMS).eval()
    missing = bare.load_state_dict(frame.state_dict(), strict=False)
    assert missing.missing_keys == []
    assert sorted({name.split("context.")[1] for name in missing.unexpected_keys}) == [
        "place_PD",
        "query.bias",
        "query.weight",
    ]
    close(frame.scores(histories()), bare.scores(histories()))
    frame.loss(histories(), torch_generator(0))["loss"].backward()
    assert all((layer.context.place_PD.grad != 0).any() for layer in frame.encoder.layers)


def test_a_ranker_begins_as_its_backbone_bit_by_bit():
    torch.manual_seed(1)
    frame, bare = (config.build(num_items=NUM_ITEMS).eval() for config in (cape_din(**SMALL), din(**SMALL)))
    missing = bare.load_state_dict(frame.state_dict(), strict=False)
    assert missing.missing_keys == []
    assert len(missing.unexpected_keys) == 3
    history = histories()
    candidates = offered(history)
    logits = frame.logits(history, candidates)
    assert torch.equal(logits, bare.logits(history, candidates))
    assert logits.std() > 0
    labelled = replace(candidates, label=torch.eye(7)[:, :1], weight=torch.ones(7))
    frame.loss((history, labelled), torch_generator(0))["loss"].backward()
    assert (frame.encoder.attention.context.place_PD.grad != 0).any()


@pytest.mark.parametrize("make", [hpgr, hpgr_paper, hpgr_live], ids=["hpgr", "hpgr-paper", "hpgr-live"])
def test_it_composes_in_hpgr(make, close):
    config = make(dim=16)
    torch.manual_seed(1)
    bare = config.build(num_items=NUM_ITEMS).eval()
    frame = replace(config, ranker=with_layer(config.ranker, context=CONTEXT)).build(num_items=NUM_ITEMS).eval()
    frame.load_state_dict(bare.state_dict(), strict=False)
    history = histories()
    candidates = offered(history, len(config.ranker.features))
    close(frame.logits(history, candidates), bare.logits(history, candidates))
    labelled = replace(candidates, label=torch.ones(7, 1), weight=torch.ones(7))
    retrieve, rank = frame.stages()
    retrieve.loss(history, torch_generator(0))["loss"].backward()
    rank.loss((history, labelled), torch_generator(0))["loss"].backward()
    assert all((layer.context.place_PD.grad != 0).any() for layer in frame.ranker.encoder.layers)


def test_session_sparse_rows_refuse_it():
    encoder = hpgr(dim=16).ranker.encoder
    with pytest.raises(ConfigError, match=r"context of the layer \(given\) must be None with session-sparse rows"):
        replace(encoder, layer=replace(encoder.layer, context=CONTEXT), rows=SessionRows())


@pytest.mark.parametrize("name", ["cape", "cape-hstu"])
def test_scores_follow_order_though_there_is_no_table_of_places(name):
    torch.manual_seed(0)
    frame = MODELS[name](num_layers=1).build(num_items=NUM_ITEMS).eval()
    one, two = (History.from_lists([row]) for row in ([1, 2, 3, 4, 9], [4, 3, 2, 1, 9]))
    assert (frame.scores(one) - frame.scores(two)).abs().max() < 1e-5
    with torch.no_grad():
        for parameter in frame.parameters():
            parameter.normal_(std=0.2)
    assert (frame.scores(one) - frame.scores(two)).abs().max() > 1e-3


def lately(num_users: int, seed: int, lengths: tuple[int, int]) -> tuple[History, Candidates]:
    """An item is wanted if fewer than three others came since it was last taken."""
    generator = torch_generator(seed, "lately")
    counts = torch.randint(lengths[0], lengths[1] + 1, (num_users,), generator=generator).tolist()
    taken = [torch.randint(NUM_KINDS, (count,), generator=generator) for count in counts]
    labels = [[float((row[-3:] == kind).any()) for kind in range(NUM_KINDS)] for row in taken]
    history = History.from_lists([row.tolist() for row in taken])
    return history, Candidates.from_lists([list(range(NUM_KINDS))] * num_users, now_ms=history.now_ms, labels=labels)


def guessed(seed: int, lengths: tuple[int, int]) -> tuple[History, Candidates]:
    """The same with labels of chance."""
    history, candidates = lately(64, seed, lengths)
    label = torch.randint(2, candidates.label.shape, generator=torch_generator(seed, "guessed")).float()
    return history, replace(candidates, label=label)


def held_out_auc(config, batches, held_out) -> float:
    torch.manual_seed(0)
    frame = config.build(num_items=NUM_KINDS)
    optimiser = torch.optim.Adam(frame.parameters(), lr=1e-2)
    for step in range(80):
        optimiser.zero_grad()
        frame.loss(batches[step % len(batches)], torch_generator(0))["loss"].backward()
        optimiser.step()
    history, candidates = held_out
    with torch.no_grad():
        return auc(frame.eval().logits(history, candidates)[:, 0].double().numpy(), candidates.label[:, 0].numpy())


def from_the_start() -> object:
    place = TimeAwarePosition.Config(num_positions=40, num_time_buckets=None, order="from_start")
    return replace(din(**SMALL), trunk=SessionTrunk.Config(position=place))


def test_what_came_between_is_told_at_lengths_that_training_has_not_seen():
    batches, longer = [lately(64, seed, (4, 12)) for seed in range(12)], lately(300, 99, (13, 30))
    none, indexed, contextual = (
        held_out_auc(config, batches, longer)
        for config in (din(**SMALL), from_the_start(), cape_din(**SMALL, max_len=16))
    )
    assert contextual > 0.95
    assert none < 0.75
    assert indexed < 0.75


def test_it_ties_with_a_table_of_places_where_lengths_are_equal():
    batches, held_out = [lately(64, seed, (16, 16)) for seed in range(12)], lately(300, 99, (16, 16))
    indexed, contextual = (
        held_out_auc(config, batches, held_out) for config in (from_the_start(), cape_din(**SMALL, max_len=16))
    )
    assert min(indexed, contextual) > 0.97


def test_it_finds_nothing_in_noise():
    batches, held_out = [guessed(seed, (4, 12)) for seed in range(12)], guessed(99, (4, 12))
    for config in (din(**SMALL), cape_din(**SMALL, max_len=16)):
        assert held_out_auc(config, batches, held_out) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("name", ["cape", "cape-hstu", "cape-din", "hpgr", "hpgr-paper"])
def test_it_trains_in_bfloat16(name):
    torch.manual_seed(1)
    config = MODELS[name](dim=16)
    if hasattr(config, "ranker"):
        config = replace(config, ranker=with_layer(config.ranker, context=CONTEXT))
    frame = config.build(num_items=NUM_ITEMS).eval()
    history = histories()
    candidates = offered(history, len(getattr(getattr(config, "ranker", config), "features", ())))
    labelled = replace(candidates, label=torch.ones(7, 1), weight=torch.ones(7))
    (stage,) = frame.stages()[-1:]
    batch = history if stage.batches == "history" else (history, labelled)
    want = stage.loss(batch, torch_generator(0))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = stage.loss(batch, torch_generator(0))["loss"]
        got.backward()
    torch.testing.assert_close(got.float(), want, rtol=0.02, atol=0.02)
    tables = [p.grad for n, p in frame.named_parameters() if n.endswith("context.place_PD")]
    assert tables
    assert all(grad.isfinite().all() and (grad != 0).any() for grad in tables)
