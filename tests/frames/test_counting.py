"""Counting models by hand."""

import pytest
import torch

from hpgr.core.batch import History
from hpgr.frames.counting import CountingRecommender
from hpgr.objectives.clocks import HourOfDay, Recently
from hpgr.objectives.links import SkipLinks
from hpgr.objectives.neighbours import CosineNeighbours


def trained(rule):
    frame = CountingRecommender.Config(rule=rule).build(num_items=4)
    frame.observe(torch.tensor([5, 3, 1, 0]))
    frame.fit([History.from_lists([[0, 1, 2], [0, 1]]), History.from_lists([[0, 3, 4]])])
    return frame


def test_popularity_orders_by_count_for_everybody():
    scores = trained(None).scores(History.from_lists([[], [2]]))
    assert scores.argsort(dim=1, descending=True).tolist() == [[0, 1, 2, 3]] * 2


def test_markov_counts_successors():
    scores = trained(SkipLinks(reach=1)).scores(History.from_lists([[2, 0], [4], []]))
    assert scores[0].round(decimals=3).tolist() == pytest.approx([0, 2, 0, 1], abs=1e-3)
    assert scores[1].argmax() == 0, "an unknown last item is answered by popularity"
    assert scores[2].argmax() == 0


def test_skip_counts_weigh_both_distances():
    scores = trained(SkipLinks(reach=2)).scores(History.from_lists([[0, 1]]))
    # From 1 (newest, weight 1): 2 once. From 0 (weight 1/2): 1 twice, 2 at distance 2 once, 3 once.
    assert scores[0].tolist() == pytest.approx([0, 1.0, 1.25, 0.5], abs=1e-5)


def test_saved_links_are_loaded():
    frame = trained(SkipLinks(reach=2))
    other = CountingRecommender.Config(rule=SkipLinks(reach=2)).build(num_items=4)
    other.load_state_dict(frame.state_dict())
    history = History.from_lists([[0, 1], [3]])
    assert torch.equal(frame.scores(history), other.scores(history))


def test_recent_popularity_answers_everybody():
    frame = CountingRecommender.Config(clock=Recently(window_days=1.0, smoothing=1.0)).build(num_items=3)
    frame.observe(torch.tensor([7, 1, 0]))
    day = 86_400_000
    frame.fit([History.from_lists([[0, 0, 1], [0, 4]], times_ms=[[day, day, 9 * day], [2 * day, 9 * day]])])
    scores = frame.scores(History.from_lists([[], [0]]))
    # One recent event, of item 1, and one shared out like (7 + 1, 1 + 1, 0 + 1) of 11.
    shares = torch.tensor([8 / 11, 13 / 11, 1 / 11]) / 2
    torch.testing.assert_close(scores[0], shares.log())
    torch.testing.assert_close(scores[1], shares * 1e-6)


def test_the_hour_of_the_request_chooses():
    hour = 3_600_000
    frame = CountingRecommender.Config(clock=HourOfDay(smoothing=0.5)).build(num_items=2)
    frame.observe(torch.tensor([5, 1]))
    frame.fit([History.from_lists([[0, 0, 0, 1]], times_ms=[[hour, hour, hour, 30 * hour]])])
    scores = frame.scores(History.from_lists([[0], [0], []], now_ms=[25 * hour, 6 * hour, 7 * hour]))
    assert scores.argmax(1).tolist() == [0, 1, 0]
    torch.testing.assert_close(scores[2].exp(), torch.tensor([6 / 8, 2 / 8]))


def test_popularity_breaks_ties():
    frame = CountingRecommender.Config(rule=SkipLinks(reach=1)).build(num_items=4)
    frame.observe(torch.tensor([1, 3, 2, 100]))
    frame.fit([History.from_lists([[3, 0], [3, 1], [3, 2]])])
    scores = frame.scores(History.from_lists([[3]]))[0]
    assert scores.argsort(descending=True).tolist() == [1, 2, 0, 3]
    assert len(scores.unique()) == 4


def test_neighbours_of_the_newest_events_add_up():
    rule = CosineNeighbours(shrinkage=0.0, reach=2, decay=0.5)
    frame = CountingRecommender.Config(rule=rule).build(num_items=4)
    frame.observe(torch.zeros(4))
    frame.fit([History.from_lists([[0, 1], [0, 2]]), History.from_lists([[1, 2], [3]])])
    # Each of 0, 1 and 2 has two users and shares one with each other: cosine 1 / 2.
    scores = frame.scores(History.from_lists([[3, 0, 1], [3]]))
    assert scores[0].tolist() == pytest.approx([0.5, 0.25, 0.75, 0.0], abs=1e-5)
    assert scores[1].tolist() == pytest.approx([0.0] * 4, abs=1e-5)
