"""A query of several vectors through everything that one vector goes through."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.jagged import Jagged
from hpgr.core.seeds import torch_generator
from hpgr.models.hpgr import hpgr, hpgr_paper
from hpgr.models.sasrec import sasrec
from hpgr.nn.attended_interests import AttendedInterests
from hpgr.nn.routed_interests import RoutedInterests
from hpgr.retrieval.exact import ExactIndex, top_k

NUM_ITEMS = 30
HEADS = {"attended": AttendedInterests.Config(add_state=True), "routed": RoutedInterests.Config()}
BACKBONES = {"sasrec": sasrec(dim=16), "hpgr stage 1": hpgr(dim=16).retriever}


def several(backbone: str = "sasrec", head: str = "attended"):
    torch.manual_seed(0)
    frame = replace(BACKBONES[backbone], interests=HEADS[head]).build(num_items=NUM_ITEMS)
    frame.observe(torch.arange(NUM_ITEMS, 0, -1))
    return frame.eval()


def asked(seed: int = 0) -> History:
    generator = torch_generator(seed, "asked")
    rows = [torch.randint(NUM_ITEMS, (n,), generator=generator).tolist() for n in (5, 0, 9, 1)]
    return History.from_lists(rows, sessions=[[i // 3 for i in range(len(row))] for row in rows], now_ms=[99_000] * 4)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("head", HEADS)
def test_scores_are_the_best_of_the_vectors_by_every_way(backbone, head, close):
    frame, history = several(backbone, head), asked()
    with torch.no_grad():
        query, scores = frame.query_vectors(history), frame.scores(history)
        table, bias = frame.catalogue_vectors()
        assert query.shape == (4, 4, 16)
        assert bias is None
        filled = history.lengths > 0
        close(scores[filled], (query @ table.T).amax(1)[filled])
        rows, best = frame.found(
            history, ExactIndex(table), 7, excluded=Jagged.from_lengths(torch.tensor([3]), [1, 0, 0, 0])
        )
        want = top_k(scores, 7, excluded=Jagged.from_lengths(torch.tensor([3]), [1, 0, 0, 0]))
        assert torch.equal(rows, want[0])
        close(best, want[1])
        some = Candidates.from_lists([[1, 2, NUM_ITEMS], [4], [5, 6], []], now_ms=history.now_ms)
        told = frame.candidate_scores(history, some)
        at = some.user_of_candidate()
        known = (some.item_idx < NUM_ITEMS) & filled[at]
        close(told[known], scores[at[known], some.item_idx[known]])
        assert not told[some.item_idx == NUM_ITEMS].any()


def test_a_prediction_moves_exactly_one_vector_the_one_closest_to_its_target():
    frame, history = several(), asked()
    task = frame.objective.training_task(history, torch_generator(0))
    vectors = frame.interests(frame.states(task.history), task.read_N)
    moved = frame._closest(vectors, task)
    (to_vectors,) = torch.autograd.grad(moved.sum(), vectors)
    assert (to_vectors.abs().sum(-1) > 0).sum(1).tolist() == [1] * len(task.read_N)
    best = torch.einsum("nqd,nd->nq", vectors, frame.items.table()[task.target_N]).argmax(1)
    assert torch.equal(to_vectors.abs().sum(-1).argmax(1), best)
    used = torch.bincount(best, minlength=4).max() / len(best)
    assert frame.monitors["most_used_interest"] == used


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("head", HEADS)
def test_heads_over_any_encoder_train(backbone, head):
    frame = several(backbone, head).train()
    found = frame.loss(asked(), torch_generator(0))
    found["loss"].backward()
    assert found["loss"].isfinite()
    assert 0.25 <= found["most_used_interest"] <= 1
    assert all(p.grad.abs().sum() > 0 for name, p in frame.interests.named_parameters() if "weight" in name)
    with torch.autocast("cpu", torch.bfloat16):
        frame.loss(asked(), torch_generator(0))["loss"].backward()


def test_a_causal_head_tells_no_earlier_reading_of_later_events(close):
    frame = several()
    before, after = asked(), asked()
    after.item_idx[3:5] = (after.item_idx[3:5] + 1) % NUM_ITEMS
    read = torch.arange(5)
    got = [frame.interests(frame.states(h), read) for h in (before, after)]
    close(got[0][:3], got[1][:3])
    assert not torch.allclose(got[0][3:], got[1][3:])


def test_a_ranker_is_told_the_best_of_the_vectors(close):
    config = hpgr_paper(dim=16)
    config = replace(config, retriever=replace(config.retriever, interests=HEADS["attended"]), told=("score",))
    frame = config.build(num_items=NUM_ITEMS).eval()
    history = History.from_lists([[1, 2, 3]], now_ms=[9000])
    some = Candidates.from_lists([[4, 5]], now_ms=history.now_ms)
    with torch.no_grad():
        close(frame.opinion(history, some).told_CP[:, 0], frame.scores(history)[0, [4, 5]])
        state = frame.begin(history)
        close(type(state).from_tensors(state.tensors()).query, frame.retriever.query(history))
        close(frame.score(state, some), frame.logits(history, some))
