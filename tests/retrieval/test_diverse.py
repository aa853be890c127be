"""The list that trades scores for categories, against brute force."""

import numpy as np
import pytest

from hpgr.core.errors import ConfigError
from hpgr.retrieval.diverse import DiverseGreedy


def one_of(category: np.ndarray) -> np.ndarray:
    """``[n, C]``: every item has one category; -1 has none."""
    return category[:, None] == np.arange(max(1, category.max(initial=0) + 1))


def gain(score: np.ndarray, category: np.ndarray, chosen: list[int], row: int, weight: float) -> float:
    """What one item more adds to ``Σ score + weight · (pairs of unlike categories)``."""
    return score[row] + weight * sum(category[row] != category[other] for other in chosen)


@pytest.mark.parametrize("weight", [0.0, 0.05, 0.3, 1.0, 50.0])
def test_every_step_takes_the_largest_gain(weight):
    random = np.random.default_rng(0)
    for _ in range(20):
        score, category = random.normal(size=8), random.integers(0, 3, 8)
        order = DiverseGreedy(weight=weight).order(score, one_of(category), 8).tolist()
        assert sorted(order) == list(range(8))
        for place, row in enumerate(order):
            gains = {r: gain(score, category, order[:place], r, weight) for r in range(8) if r not in order[:place]}
            assert gains[row] == pytest.approx(max(gains.values()))


def test_no_weight_is_the_order_of_scores_and_a_large_one_takes_turns():
    score, category = np.array([5.0, 4.0, 4.0, 1.0, 0.5]), np.array([0, 0, 0, 1, 2])
    assert DiverseGreedy().order(score, one_of(category), 5).tolist() == [0, 1, 2, 3, 4]
    assert DiverseGreedy(weight=100.0).order(score, one_of(category), 5).tolist() == [0, 3, 4, 1, 2]
    assert DiverseGreedy(weight=1.0).order(score, one_of(category), 3).tolist() == [0, 1, 2]
    assert DiverseGreedy(weight=1.0).order(score, one_of(category), 4).tolist()[3] == 3


def test_diversity_never_falls_as_the_weight_grows_and_no_category_is_no_likeness():
    random = np.random.default_rng(1)
    score, category = random.normal(size=60), random.integers(0, 5, 60)
    kinds = []
    for weight in (0.0, 0.1, 0.5, 2.0, 50.0):
        top = category[DiverseGreedy(weight=weight).order(score, one_of(category), 10)]
        kinds.append(sum(a != b for i, a in enumerate(top) for b in top[:i]))
    assert kinds == sorted(kinds)
    assert kinds[0] < kinds[-1]
    nowhere = np.full(60, -1)
    by_score = np.argsort(-score)[:10].tolist()
    assert DiverseGreedy(weight=9.0).order(score, one_of(nowhere), 10).tolist() == by_score


def test_nothing_to_order_and_a_weight_below_zero():
    assert DiverseGreedy(weight=1.0).order(np.zeros(0), np.zeros((0, 0), dtype=bool), 3).tolist() == []
    with pytest.raises(ConfigError, match=r"weight \(-1\) must be finite and not negative"):
        DiverseGreedy(weight=-1)


def test_several_categories_count_by_what_is_shared():
    """Jaccard with the first: 1 of 3 for the second, none for the third: 2 - weight / 3 against 1.5."""
    marks = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0]], dtype=bool)
    score = np.array([3.0, 2.0, 1.5])
    assert DiverseGreedy(weight=1.4).order(score, marks, 3).tolist() == [0, 1, 2]
    assert DiverseGreedy(weight=1.6).order(score, marks, 3).tolist() == [0, 2, 1]


def test_what_has_no_score_comes_last():
    marks = np.ones((3, 1), dtype=bool)
    assert DiverseGreedy(weight=2.0).order(np.array([-np.inf, 1.0, 0.0]), marks, 3).tolist() == [1, 2, 0]
