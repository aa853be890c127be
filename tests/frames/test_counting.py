"""Counting models by hand."""

import pytest
import torch

from hpgr.core.batch import History
from hpgr.frames.counting import CountingRecommender
from hpgr.objectives.links import SkipLinks


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
