import numpy as np
import pytest
import torch

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.jagged import Jagged
from hpgr.evaluation.intervals import Bootstrap
from hpgr.evaluation.metrics import per_query
from hpgr.evaluation.ranks import rank_counts
from hpgr.evaluation.slices import by_query, by_target, history_bins, popularity_classes, repeat_classes

FEW = Bootstrap(num_samples=50)


def names(classes):
    return [classes.names[i] for i in classes.index]


def test_popularity_classes_by_hand():
    # Falling counts 30, 20, 20, 10, 9, 1 of 90 events: above them lie 0, 30, 30, 70, 80 and 89 events.
    classes = popularity_classes(np.arange(-1, 8), np.array([20, 30, 1, 20, 0, 10, 9]))
    assert names(classes) == ["cold", "mid", "head", "tail", "mid", "cold", "tail", "tail", "cold"]
    assert names(popularity_classes(np.array([0, 1]), np.zeros(2))) == ["cold", "cold"]


def test_history_bins():
    assert names(history_bins(np.array([0, 1, 5, 6, 100, 101]))) == ["0", "1-5", "1-5", "6-20", "21-100", "101+"]
    assert history_bins(np.array([0]), (2,)).names == ("0-2", "3+")
    with pytest.raises(ConfigError, match=r"edges \(5, 3\) must rise"):
        history_bins(np.array([1]), (5, 3))


def test_slices_of_queries_are_means_of_their_users():
    users = np.array(["a", "a", "b", "c"])
    slices = by_query(history_bins(np.array([200, 0, 0, 2])), users, {"x": np.array([9.0, 1.0, 2.0, np.nan])}, FEW)
    assert [(s.name, s.num_users, s.num_queries) for s in slices] == [("0", 2, 2), ("1-5", 1, 1), ("101+", 1, 1)]
    assert [s.metrics["x"].value for s in slices if s.metrics] == [1.5, 9.0]
    assert slices[1].metrics == {}


def test_slices_of_targets_keep_their_ranks_in_the_full_list():
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    counts = rank_counts(scores, Jagged.from_lengths(torch.tensor([1, 3, 1]), [2, 1]))
    history = Jagged.from_lengths(torch.tensor([3, 4, 1]), [2, 1])
    classes = repeat_classes(counts, history, 4)
    assert names(classes) == ["explore", "repeat", "repeat"]
    repeat, explore = by_target(classes, np.array([5, 6]), counts, ["MRR@4", "Recall@4"], FEW)
    assert (repeat.name, repeat.num_users, repeat.metrics["MRR@4"].value) == ("repeat", 2, (1 / 4 + 1 / 3) / 2)
    assert (explore.num_queries, explore.metrics["MRR@4"].value) == (1, 0.5)
    assert per_query(counts, ["MRR@4"])["MRR@4"].tolist() == pytest.approx([1 / 2, 1 / 3])
    with pytest.raises(DataError, match=r"history \(1 rows\) must have one row for each query \(2\)"):
        repeat_classes(counts, Jagged.from_lengths(torch.tensor([3]), [1]), 4)


def test_an_item_outside_the_catalogue_is_never_a_repeat():
    counts = rank_counts(torch.zeros(1, 3), torch.tensor([3]))
    assert names(repeat_classes(counts, Jagged.from_lengths(torch.tensor([3]), [1]), 3)) == ["explore"]
