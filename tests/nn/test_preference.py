from __future__ import annotations

import math

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.nn.preference import PreferenceSelector

OFFSETS, ASKED = torch.tensor([0, 6, 6, 8]), torch.tensor([0, 2, 3, 4])
SESSION = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])


def _select(cold=(False,) * 4, history=None, candidates=None, **options):
    """Three users of 6, 0 and 2 events; events 0…7 point along axes 0…7, candidates along axes 1, 4, 0 and 7."""
    axes = torch.eye(8)
    history = axes if history is None else history
    candidates = axes[[1, 4, 0, 7]] if candidates is None else candidates
    selector = PreferenceSelector.Config(**options).build(dim=8)
    return selector(candidates, history, OFFSETS, ASKED, cold_C=torch.tensor(cold), session_T=SESSION)


def _lists(rows):
    return [[row for row in listed if row >= 0] for listed in rows.tolist()]


def test_similar_events_and_their_neighbours_are_chosen():
    rows, gate = _select(k=1, floor=0.2)
    assert _lists(rows) == [[0, 1, 2], [3, 4, 5], [], [6, 7]]
    assert gate[0].tolist() == pytest.approx([math.exp(-0.5), 1.0, math.exp(-0.5)])
    assert gate[2].tolist() == [0.0, 0.0, 0.0]


def test_a_width_of_zero_chooses_exactly_k():
    rows, gate = _select(k=2, sigma=0.0)
    # Ties of similarity 0 go to the later event.
    assert _lists(rows) == [[1, 5], [4, 5], [], [6, 7]]
    assert gate[(rows >= 0)].eq(1).all()


@pytest.mark.parametrize("options", [{"k": 8}, {"k": 1, "sigma": math.inf}])
def test_dense_limits(options):
    rows, gate = _select(**options)
    assert _lists(rows) == [list(range(6)), list(range(6)), [], [6, 7]]
    assert gate[rows >= 0].eq(1).all()


def test_cold_candidates_and_the_last_control_prefer_the_newest_events():
    rows, _ = _select(cold=(True, False, True, False), k=2, sigma=0.0)
    assert _lists(rows) == [[4, 5], [4, 5], [], [6, 7]]
    rows, _ = _select(k=3, sigma=0.0, by="last")
    assert _lists(rows) == [[3, 4, 5], [3, 4, 5], [], [6, 7]]


def test_the_random_control_ignores_the_vectors_and_the_batch():
    rows, _ = _select(k=3, sigma=0.0, by="random")
    others, _ = _select(k=3, sigma=0.0, by="random", history=torch.randn(8, 8), candidates=torch.randn(4, 8))
    assert rows.tolist() == others.tolist()
    assert [len(listed) for listed in _lists(rows)] == [3, 3, 0, 2]
    assert set(_lists(rows)[0]) != {3, 4, 5}


def test_hashed_similarity_finds_equal_vectors_and_leaves_cold_candidates_the_newest():
    rows, _ = _select(cold=(False, False, True, True), k=1, sigma=0.0, by="hashed")
    assert _lists(rows) == [[1], [4], [], [7]]


def test_raw_dot_products_prefer_long_vectors():
    history = torch.eye(8)
    history[3] = 5 * torch.ones(8)
    assert _lists(_select(k=1, sigma=0.0, history=history)[0])[:2] == [[1], [4]]
    assert _lists(_select(k=1, sigma=0.0, history=history, cosine=False)[0])[:2] == [[3], [3]]


def test_age_takes_from_similarity_by_doublings():
    # Event 1 stands fifth from the newest, log2(5) = 2.32; event 4 second.
    rows, _ = _select(k=1, sigma=0.0, recency=0.3)
    assert _lists(rows) == [[1], [4], [], [7]]
    rows, _ = _select(k=1, sigma=0.0, recency=0.5)
    assert _lists(rows) == [[5], [4], [], [7]]


def test_scores_weigh_the_chosen_events_with_the_best_at_one():
    rows, gate = _select(k=2, sigma=0.0, weighting="score")
    # Similarities 1 and 0: weights e^0 and e^-1.
    assert rows[0].tolist() == [1, 5]
    assert gate[0].tolist() == pytest.approx([1.0, math.exp(-1)])
    assert gate[2].tolist() == [0.0, 0.0]


def test_a_gaussian_may_end_at_its_session():
    assert _lists(_select(k=1, floor=0.1, same_session=True)[0]) == [[0, 1, 2], [3, 4, 5], [], [6, 7]]
    assert _lists(_select(k=1, floor=0.1)[0]) == [[0, 1, 2, 3], [2, 3, 4, 5], [], [6, 7]]


def test_a_learned_width_gets_a_gradient_and_the_vectors_none():
    vectors = torch.eye(8).requires_grad_()
    selector = PreferenceSelector.Config(k=1, learn_sigma=True).build(dim=8)
    _, gate = selector(vectors[:4], vectors, OFFSETS, ASKED, cold_C=torch.zeros(4).bool(), session_T=SESSION)
    gate.sum().backward()
    assert selector.log_sigma.grad > 0
    assert vectors.grad is None
    assert selector.sigma.item() == 1.0


def test_a_learned_query_begins_as_no_query_and_learns_through_the_weights():
    history, candidates = torch.randn(8, 8), torch.randn(4, 8)
    plain, learned = (
        _select(k=2, history=history, candidates=candidates, weighting="score", learn_query=learn)
        for learn in (False, True)
    )
    assert plain[0].tolist() == learned[0].tolist()
    torch.testing.assert_close(plain[1], learned[1])
    # A matrix that turns axis 1 into axis 3 and is twice as long: similarities 2 and 0.
    selector = PreferenceSelector.Config(k=2, sigma=0.0, weighting="score", learn_query=True).build(dim=8)
    with torch.no_grad():
        selector.query_DD[:] = 2 * torch.eye(8)[:, [0, 3, 2, 1, 4, 5, 6, 7]]
    vectors = torch.eye(8).requires_grad_()
    rows, gate = selector(
        vectors[[1, 4, 0, 7]], vectors, OFFSETS, ASKED, cold_C=torch.zeros(4).bool(), session_T=SESSION
    )
    assert rows[0].tolist() == [3, 5]
    assert gate[0].tolist() == pytest.approx([1.0, math.exp(-2)])
    gate.sum().backward()
    assert selector.query_DD.grad.abs().sum() > 0
    assert vectors.grad is None


def test_a_candidate_alone_chooses_what_it_chooses_in_company():
    history, candidates = torch.randn(8, 4), torch.randn(4, 4)
    selector = PreferenceSelector.Config(k=2, weighting="score").build(dim=4)
    together = selector(candidates, history, OFFSETS, ASKED, cold_C=torch.zeros(4).bool(), session_T=SESSION)
    alone = selector(
        candidates[1:2],
        history[:6],
        torch.tensor([0, 6]),
        torch.tensor([0, 1]),
        cold_C=torch.zeros(1).bool(),
        session_T=SESSION[:6],
    )
    assert _lists(alone[0])[0] == _lists(together[0])[1]
    assert alone[1][alone[0] >= 0].tolist() == together[1][1][together[0][1] >= 0].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"k \(0\) must be at least 1"),
        ({"sigma": -1.0}, r"sigma \(-1.0\) must not be negative"),
        ({"floor": 0.0}, r"floor \(0.0\) must lie above 0 and not above 1"),
        ({"sigma": 0.0, "learn_sigma": True}, r"sigma \(0.0\) must be positive and finite where it is learned"),
        ({"by": "hashed", "cosine": False}, r"cosine \(False\) must be True where by is hashed; signs know no length"),
        ({"bits": 100}, r"bits \(100\) must be a positive multiple of 64"),
        ({"by": "first"}, r"by \(first\) must be one of similar, hashed, last, random"),
        ({"aggregate": "mean"}, r"aggregate \(mean\) must be one of sum, max"),
        ({"recency": -0.1}, r"recency \(-0.1\) must not be negative"),
        ({"recency": 0.1, "by": "last"}, r"recency \(0.1\) must be 0 unless by is similar and cosine True"),
        ({"learn_query": True}, r"learn_query \(True\) must be False unless by is similar and weighting score"),
        ({"weighting": "two"}, r"weighting \(two\) must be one of one, score"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        PreferenceSelector.Config(**options)
