"""Popularity between equal sums."""

from itertools import pairwise

import pytest
import torch

from hpgr.core.batch import History
from hpgr.frames.counting import CountingRecommender
from hpgr.frames.tie_breaking import by_popularity
from hpgr.objectives.links import SkipLinks
from hpgr.objectives.neighbours import CosineNeighbours


def scored(sums, shares, *, users=None, floor=1e-8):
    users = torch.zeros(len(sums), dtype=torch.int64) if users is None else torch.tensor(users)
    sums = torch.tensor(sums, dtype=torch.float64)
    return by_popularity(users, sums, torch.tensor(shares), torch.full(users.shape, floor))


def test_equal_sums_go_by_share_and_unequal_ones_never():
    scores = scored([2.0, 1.0, 2.0, 1.0001, 1e-30], [0.1, 0.9, 0.3, 0.1, 0.5])
    assert scores.argsort(descending=True).tolist() == [2, 0, 3, 1, 4]
    torch.testing.assert_close(scores[:4], torch.tensor([2.0, 1.0, 2.0, 1.0001]), rtol=2e-6, atol=0)
    assert scores[4] > 1e-8, "a link, however light, stands above the floor"


def test_equal_sums_with_equal_shares_stay_tied():
    scores = scored([1.0, 1.0, 1.0], [0.2, 0.1, 0.2])
    assert scores[0] == scores[2] > scores[1]


def test_sums_that_differ_by_rounding_are_equal():
    third = float(torch.tensor(1 / 3))
    scores = scored([3 * third, 1.0, 1 + 3e-7, 1 + 5e-6], [0.3, 0.2, 0.1, 0.0])
    assert scores.argsort(descending=True).tolist() == [3, 0, 1, 2]


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e5], ids=str)
def test_order_is_that_of_a_sort_by_sum_then_share(scale):
    generator = torch.Generator().manual_seed(4)
    user = torch.arange(6).repeat_interleave(500)
    # Sums half a ten-thousandth apart leave less room between them than their ties take.
    total = (1 + torch.randint(4, (3000,), generator=generator).double() * 5e-5) * scale
    share = torch.randint(60, (3000,), generator=generator).float() / 60
    got = by_popularity(user, total, share, torch.full((3000,), 1e-9))
    for u in range(6):
        mine = (user == u).nonzero().squeeze(1).tolist()
        want = sorted(mine, key=lambda n: (float(total[n]), float(share[n])))
        levels = [(float(total[n]), float(share[n])) for n in want]
        ordered = got[want]
        assert [bool(d > 0) for d in ordered.diff()] == [a != b for a, b in pairwise(levels)]
        assert bool((ordered.diff() >= 0).all())
    assert len(got.unique()) > 200
    torch.testing.assert_close(got.double(), total, rtol=3e-5, atol=0)


def test_nothing_to_order():
    assert scored([], []).shape == (0,)


def test_light_links_stand_above_what_is_popular():
    rule = CosineNeighbours(shrinkage=1e9, reach=2, decay=1.0)
    frame = CountingRecommender.Config(rule=rule).build(num_items=5)
    frame.observe(torch.tensor([0, 3, 9, 0, 1000]))
    frame.fit([History.from_lists([[0, 1], [0, 2], [3, 1], [3, 1]])])
    # Cosines of a billionth: items 1 and 2 share one user each with item 0, item 4 is everybody's and linked to nothing.
    scores = frame.scores(History.from_lists([[0]]))[0]
    assert scores.argsort(descending=True)[:3].tolist() == [2, 1, 4]


def test_popularity_does_not_lift_a_lighter_link():
    frame = CountingRecommender.Config(rule=SkipLinks(reach=2)).build(num_items=4)
    frame.observe(torch.tensor([0, 0, 10_000_000, 10]))
    frame.fit([History.from_lists([[0, 1, 2], [0, 1, 3]])])
    # From 0: 1 twice, 2 and 3 half a count each.
    scores = frame.scores(History.from_lists([[0]]))[0]
    assert scores.argsort(descending=True).tolist() == [1, 2, 3, 0]
    assert scores[:4].tolist() == pytest.approx([0, 2.0, 0.5, 0.5], abs=2e-6)
