from __future__ import annotations

import math

import pytest
import torch
from torch import autograd

from hpgr.core.errors import UnknownNameError
from hpgr.ops.contextual_bias import IMPLEMENTATIONS, contextual_bias

# Scores whose gates 1 - sigmoid are 0.5, 0.25 and 0.75.
SCORES = torch.tensor([[0.0, math.log(3.0), -math.log(3.0)]])
PLACES = torch.tensor([[0.0, 10.0, 40.0, 90.0]])
ALL = torch.ones(1, 3, dtype=torch.bool)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_three_keys_by_hand(impl, close):
    def bias(places=PLACES, visible=ALL, **options):
        return contextual_bias(places, SCORES, visible, impl=impl, **options)

    # p = 1.5, 1 and 0.75: between 10 and 40, at 10, between 0 and 10.
    close(bias(), torch.tensor([[25.0, 10.0, 7.5]]))
    # The key in the middle is hidden: 0.5 + 0.75 = 1.25.
    close(bias(visible=torch.tensor([[True, False, True]]))[:, [0, 2]], torch.tensor([[17.5, 7.5]]))
    # Two places: from p = 1 on it is the last.
    close(bias(PLACES[:, :2]), torch.tensor([[10.0, 10.0, 7.5]]))
    # Gates 0.5, 0.75 and 0.25.
    close(bias(counts="similar"), torch.tensor([[25.0, 10.0, 2.5]]))


@pytest.mark.parametrize("shape", [(2, 3, 4, 7), (5, 9), (1, 0), (0, 3)], ids=str)
@pytest.mark.parametrize("counts", ["dissimilar", "similar"])
def test_vectorised_matches_the_reference_forward_and_backward(shape, counts, close):
    scores = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    place = torch.randn(*shape[:-1], 3, dtype=torch.float64, requires_grad=True)
    visible = torch.rand(shape[-2:]) < 0.7
    got, want = (contextual_bias(place, scores, visible, counts=counts, impl=i) for i in ("vectorised", "reference"))
    close(got, want)
    if not want.numel():
        return
    up = torch.randn_like(want)
    for mine, theirs in zip(*(autograd.grad(out, (place, scores), up) for out in (got, want))):
        close(mine, theirs)


def test_the_slope_through_the_scores_is_that_of_finite_differences():
    scores = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    place = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    assert autograd.gradcheck(lambda p, s: contextual_bias(p, s, torch.ones(2, 6).bool()), (place, scores))


def test_places_fall_towards_the_newest_key_and_stay_on_the_table(close):
    scores, row = torch.randn(4, 30) * 3, torch.arange(6.0).expand(4, 6)
    far = contextual_bias(row, scores, torch.ones(30).bool())
    assert (far.diff() <= 0).all()
    assert far.min() >= 0
    assert far.max() == 5
    close(far[:, -1], torch.sigmoid(-scores[:, -1]))


def test_wholly_unlike_keys_are_at_whole_distances_and_like_ones_all_at_the_first_place(close):
    place = torch.randn(1, 8)
    for score, want in ((-1000.0, place[:, [5, 4, 3, 2, 1]]), (1000.0, place[:, [0] * 5])):
        assert torch.equal(contextual_bias(place, torch.full((1, 5), score), torch.ones(5).bool()), want)
    # Continuous there: a little less than a whole number is a little less than its place.
    close(contextual_bias(place, torch.full((1, 5), -20.0), torch.ones(5).bool()), place[:, [5, 4, 3, 2, 1]])


def test_hidden_keys_at_either_end_and_between_change_nothing(close):
    scores, place = torch.randn(3, 6), torch.randn(3, 5)
    want = contextual_bias(place, scores, torch.ones(6).bool())
    at = torch.tensor([2, 3, 5, 6, 7, 9])
    more, visible = torch.randn(3, 12) * 5, torch.zeros(12).bool()
    more[:, at], visible[at] = scores, True
    close(contextual_bias(place, more, visible)[:, at], want)


def test_sums_of_many_gates_keep_their_fraction_in_16_bits():
    scores, row = torch.zeros(1, 400, dtype=torch.bfloat16), torch.arange(512.0)[None]
    scores[:, 0] = -math.log(3.0)
    far = contextual_bias(row, scores, torch.ones(400).bool())
    assert far.dtype == torch.bfloat16
    assert far[0, 0] == torch.tensor(399 / 2 + 0.75).bfloat16()


def test_bad_input_is_named():
    with pytest.raises(
        ValueError, match=r"place \(2, 4\) must have the queries of scores \(1, 3\) and a place or more"
    ):
        contextual_bias(PLACES.expand(2, 4), SCORES, ALL)
    with pytest.raises(UnknownNameError, match="no way to count is named 'alike'"):
        contextual_bias(PLACES, SCORES, ALL, counts="alike")
