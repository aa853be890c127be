"""Rounds over any scoring recommender: what they are, that they are apart, and where they win."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.core.seeds import torch_generator
from hpgr.frames.multi_round import MultiRoundRecommender, Round, _one_after_another
from hpgr.models.ada_retrieval import ada_retrieval
from hpgr.models.bert4rec import bert4rec
from hpgr.models.clusterseq import clusterseq
from hpgr.models.hstu import hstu
from hpgr.models.icsrec import icsrec
from hpgr.models.rearec import rearec
from hpgr.models.sasrec import sasrec
from hpgr.models.sigma import sigma
from hpgr.retrieval.exact import top_k

NUM_ITEMS = 40
BASES = {"sasrec": sasrec, "hstu": hstu, "sigma": sigma, "bert4rec": bert4rec, "clusterseq": clusterseq}


def asked(rows) -> History:
    return History.from_lists(rows)


HISTORY = asked([[1, 2, 3, 4], [], [5], [6, 7, 39]])


def over(base, **options):
    torch.manual_seed(0)
    config = replace(ada_retrieval(dim=16, rounds=3, per_round=5, dropout=0.0), base=base(dim=16), **options)
    frame = config.build(num_items=NUM_ITEMS)
    frame.observe(torch.arange(NUM_ITEMS))
    return frame


@pytest.mark.parametrize("name", BASES)
def test_one_round_is_the_base(name):
    frame = over(BASES[name], rounds=1).eval()
    with torch.no_grad():
        assert torch.equal(frame.scores(HISTORY), frame.base.scores(HISTORY))


def test_likeness_of_items_is_that_of_the_base_and_there_is_no_vector_of_a_user():
    frame = over(sasrec)
    assert frame.items is frame.base.items
    assert not hasattr(frame, "query_vectors")


@pytest.mark.parametrize("name", BASES)
def test_rounds_are_apart_and_the_answer_is_one_after_another(name):
    """No item twice, none that was seen; with those left out, the list is the rounds' lists in their order."""
    frame = over(BASES[name]).eval()
    seen = HISTORY.jagged(HISTORY.item_idx)
    with torch.no_grad():
        rounds = [found.rows_BK for found in frame.rounds(HISTORY, seen)]
        scores = frame.scores(HISTORY)
    rows = torch.cat(rounds, 1)
    for b, own in enumerate([{1, 2, 3, 4}, set(), {5}, {6, 7, 39}]):
        assert len(set(rows[b].tolist()) - own) == 15
    best, _ = top_k(scores, 15, excluded=seen)
    events = HISTORY.lengths > 0
    assert torch.equal(best[events], rows[events])
    assert torch.equal(scores[1], frame.base.scores(HISTORY)[1]), "popularity answers who has no history"


@pytest.mark.parametrize("name", [*BASES, "icsrec"])
def test_every_base_trains_with_its_adapters(name):
    frame = over((BASES | {"icsrec": icsrec})[name]).train()
    batch = HISTORY if name != "icsrec" else (HISTORY, HISTORY)
    optimiser = torch.optim.Adam(frame.parameters(), lr=1e-2)
    for _ in range(2):  # a map that begins at 0 lets nothing through in the first step
        optimiser.zero_grad()
        found = frame.loss(batch, torch_generator(1))
        found["loss"].backward()
        optimiser.step()
    assert {"round_1", "round_2", "found_before"} <= set(found)
    for part in ("base.items", "base.encoder", "item_adapter", "user_adapter"):
        grads = [p.grad for n, p in frame.named_parameters() if n.startswith(part) and p.grad is not None]
        assert any(grad.abs().sum() > 0 for grad in grads), part


def test_rounds_are_judged_where_they_can_differ():
    first, second = ada_retrieval(dim=8, rounds=5, per_round=20).build(num_items=NUM_ITEMS).stages()
    assert first.metrics[0] == "NDCG@10"
    assert second.metrics[0] == "HitRate@50"
    assert ada_retrieval(dim=8, rounds=2, per_round=5).build(num_items=NUM_ITEMS).stages()[1].metrics[0] == "HitRate@10"


def test_several_states_are_refused():
    with pytest.raises(ConfigError, match=r"^base.encoder \(Reasoning, which gives several states\) must give one"):
        replace(ada_retrieval(), base=rearec())


@pytest.mark.parametrize("decay", [0.0, 0.3, 1.0])
def test_the_loss_is_the_sum_of_the_rounds(decay, close):
    frame = over(sasrec, decay=decay).eval()
    found = frame.loss(HISTORY, torch_generator(1))
    first = frame.base.loss(HISTORY, torch_generator(1))["loss"]
    want = first
    told, target = asked([[1, 2, 3], [], [], [6, 7]]), torch.tensor([4, 39])
    kept_out = asked([[1, 2, 3, 4], [], [5], [6, 7, 39]])
    for number, one in enumerate(frame.rounds(told, kept_out.jagged(kept_out.item_idx))):
        if number:
            cost = torch.nn.functional.cross_entropy(one.scores_BV[[0, 3]], target)
            want = want + decay**number * cost
    close(found["loss"], want if decay else first)


@pytest.mark.parametrize("feedback", ["all", "unseen", "untold"])
def test_what_is_to_be_predicted_is_fed_back_only_where_asked_for(feedback):
    frame = over(sasrec, feedback=feedback, per_round=19, rounds=3).eval()
    found = frame.loss(asked([[n, n + 1, n + 2] for n in range(30)]), torch_generator(1))
    assert (found["found_before"] > 0) == (feedback != "untold")


def test_what_is_left_out_later_makes_room_for_no_later_round(close):
    """By hand: item 0 was seen and stands above the list of round 0, so it comes with that round; 5 and 6 with none."""
    scores = torch.tensor([[9.0, 8, 7, 1, 0, -1, -2], [0.0, 0, 0, 30, 50, 10, 20]])
    rows = [[1, 2], [4, 3]]
    rounds = [
        Round(
            query_BD=torch.zeros(1, 1),
            scores_BV=score[None],
            rows_BK=torch.tensor([row]),
            there_BK=torch.ones(1, 2, dtype=torch.bool),
        )
        for score, row in zip(scores, rows)
    ]
    close(_one_after_another(rounds), torch.tensor([[9.0, 8, 7, -14, 6, -34, -24]]))


def test_a_small_catalogue_comes_to_its_end():
    frame = over(sasrec, per_round=25, rounds=4).eval()
    with torch.no_grad():
        there = [found.there_BK.sum(1).tolist() for found in frame.rounds(HISTORY)]
        assert there == [[25] * 4, [15] * 4, [0] * 4, [0] * 4]
        assert frame.scores(HISTORY).isfinite().all()
    assert frame.train().loss(HISTORY, torch_generator(1))["loss"].isfinite()


@pytest.mark.parametrize("list_len", [4, 5])
def test_a_filter_of_ones_doubles_the_list(list_len, close):
    adapter = replace(ada_retrieval().item_adapter, dropout=0.0).build(dim=8, list_len=list_len)
    with torch.no_grad():
        adapter.filter.copy_(torch.tensor([1.0, 0.0]))
        adapter.mix.weight.copy_(torch.eye(8))
        adapter.mix.bias.zero_()
        x_BKD = torch.randn(2, list_len, 8)
        close(adapter.filtered(x_BKD), torch.nn.functional.layer_norm(2 * x_BKD, (8,), eps=1e-12))


def test_events_attend_to_the_lists_of_their_own_user(close):
    adapter = replace(ada_retrieval().item_adapter, dropout=0.0).build(dim=8, list_len=3).eval()
    x = Jagged.from_lengths(torch.randn(3, 8), [2, 0, 1])
    lists = [(torch.randn(3, 3, 8), torch.ones(3, 3, dtype=torch.bool)) for _ in range(2)]
    lists[1][1][0, 2] = False
    found = adapter(x, lists)
    for event, user in ((0, 0), (1, 0), (2, 2)):
        filtered = [adapter.filtered(one * there[:, :, None])[user][there[user]] for one, there in lists]
        context = torch.cat(filtered)
        share = (context @ x.values[event] / 8**0.5).softmax(0)
        close(found[event], adapter.norm(x.values[event] + share @ context))


def two_interests(num_users: int, seed: int) -> list[list[int]]:
    """Any two of eight sets of five items are a user's, by turns; what comes last is of the one that the newest event is not of."""
    generator, rows = torch_generator(seed), []
    for _ in range(num_users):
        first, second = torch.randperm(8, generator=generator)[:2].tolist()
        own, other = (5 * one + torch.randperm(5, generator=generator) for one in (first, second))
        last = (own, other)[int(torch.randint(2, (1,), generator=generator))][3]
        rows.append([*torch.stack([own[:3], other[:3]], 1).flatten().tolist(), int(last)])
    return rows


def test_rounds_lose_nothing_beside_one_narrow_query_of_two_interests():
    """Ten items in two rounds against the ten of one query, of one trained base; the first five are the same by construction.

    The article's gain is not shown: over seeds 1 to 5 it is .002, .078, .000, .040 and -.017, in the mean .021 with an error of
    as much. Two lists of 600 users differ by .016 by chance.
    """
    rows, gains = two_interests(600, 999), []
    history, last = asked([row[:-1] for row in rows]), torch.tensor([[row[-1]] for row in rows])
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = ada_retrieval(dim=3, num_heads=1, num_layers=1, rounds=2, per_round=5, dropout=0.0)
        frame = config.build(num_items=NUM_ITEMS)
        batches = [asked(two_interests(64, 100 * seed + number)) for number in range(6)]
        for stage, steps in zip(frame.stages(), (200, 300)):
            optimiser = torch.optim.Adam(stage.module.parameters(), lr=1e-2)
            stage.module.train()
            for step in range(steps):
                optimiser.zero_grad()
                stage.loss(batches[step % 6], torch_generator(7, step))["loss"].backward()
                optimiser.step()
        hits = []
        with torch.no_grad():
            for model in (frame.eval(), frame.base):
                best, _ = top_k(model.scores(history), 10, excluded=history.jagged(history.item_idx))
                hits.append((best == last).any(1).float().mean().item())
        gains.append(hits[0] - hits[1])
    assert sum(gains) / 2 > -0.02, gains
    assert min(gains) > -0.04, gains
    assert hits[0] > 1.5 * 10 / NUM_ITEMS, hits


def test_only_a_scoring_recommender_is_asked_in_rounds():
    with pytest.raises(ConfigError, match=r"^base \(MultiRoundRecommender\) must be a scoring recommender"):
        replace(ada_retrieval(), base=ada_retrieval())


def test_the_config_is_checked():
    for name, value in (("rounds", 0), ("per_round", 0), ("decay", 2.0)):
        with pytest.raises(ConfigError, match=rf"^{name} \({value}\) must"):
            MultiRoundRecommender.Config(
                **({"base": sasrec(), "item_adapter": None, "user_adapter": None} | {name: value})
            )
