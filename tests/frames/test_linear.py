"""The linear frame by hand."""

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import UnsupportedError
from hpgr.frames.linear import LinearRecommender
from hpgr.objectives.ease import Ease


def trained(**options):
    frame = LinearRecommender.Config(rule=Ease(l2=1.0, **options)).build(num_items=3)
    frame.observe(torch.tensor([3, 2, 0]))
    # Gram [[3, 1], [1, 2]] of items 0 and 1: B[0, 1] = 1 / 4, B[1, 0] = 1 / 3; nobody has item 2.
    frame.fit([History.from_lists([[0, 1, 1], [0]]), History.from_lists([[0], [1, 3], []])])
    return frame


def test_scores_by_hand():
    scores = trained().scores(History.from_lists([[0], [], [1, 3, 0, 1], [3], [1]]))
    assert scores[0].tolist() == pytest.approx([0, 1 / 4, 0], abs=1e-5)
    assert scores[1].exp().tolist() == pytest.approx([4 / 8, 3 / 8, 1 / 8])
    assert scores[2].tolist() == pytest.approx([1 / 3, 1 / 4, 0], abs=1e-5)
    assert scores[3].argsort(descending=True).tolist() == [0, 1, 2], "an unknown item is answered by popularity"
    assert scores[4].tolist() == pytest.approx([1 / 3, 0, 0], abs=1e-5)


def test_older_events_fade():
    scores = trained(decay=0.5).scores(History.from_lists([[1, 0, 0]]))
    assert scores[0].tolist() == pytest.approx([1 / 12, 1 / 4, 0], abs=1e-5)


def test_saved_weights_are_loaded():
    frame, other = trained(), LinearRecommender.Config(rule=Ease(l2=1.0)).build(num_items=3)
    other.load_state_dict(frame.state_dict())
    history = History.from_lists([[0, 1], []])
    assert torch.equal(frame.scores(history), other.scores(history))
    assert frame.weights_VV.dtype == torch.float32


def test_a_large_catalogue_is_refused_with_what_it_would_need():
    config = LinearRecommender.Config(rule=Ease(), max_items=20_000)
    with pytest.raises(
        UnsupportedError, match=r"num_items \(30000\) must be at most max_items \(20000\).* 20.1 GiB .*item_knn"
    ):
        config.build(num_items=30_000)
