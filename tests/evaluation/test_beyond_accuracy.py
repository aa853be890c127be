import numpy as np
import pytest
import torch

from hpgr.core.errors import DataError
from hpgr.core.jagged import Jagged
from hpgr.evaluation.beyond_accuracy import catalogue_facts, list_facts


def test_coverage_and_gini_by_hand():
    assert catalogue_facts(np.array([[0, 1], [2, 3]]), 4) == {"coverage@2": 1.0, "gini@2": 0.0}
    found = catalogue_facts(np.array([[0], [0], [0]]), 4)
    assert found == {"coverage@1": 0.25, "gini@1": pytest.approx(0.75)}


def test_facts_of_lists_by_hand():
    counts = np.array([3, 1, 0, 8])
    history = Jagged.from_lengths(torch.tensor([1, 1, 9, 0]), [4, 0])
    categories = Jagged.from_lengths(torch.tensor([10, 10, 20, 20, 30]), [1, 2, 2, 0])
    found = list_facts(np.array([[0, 1, 2], [3, 0, 3]]), counts, history=history, categories=categories)
    np.testing.assert_allclose(found["novelty@3"], [(2 + 3 + 4) / 3, -np.log2([9 / 16, 4 / 16, 9 / 16]).mean()])
    np.testing.assert_allclose(found["popularity@3"], [4 / 3, 19 / 3])
    np.testing.assert_allclose(found["repeats@3"], [2 / 3, 0])
    # Categories {10}, {10, 20}, {20, 30}: distances 1/2, 1 and 2/3. The second list has one item with a category.
    np.testing.assert_allclose(found["diversity@3"], [(1 / 2 + 1 + 2 / 3) / 3, np.nan])


def test_a_list_of_one_has_no_diversity():
    one = list_facts(np.array([[0]]), np.array([1]), categories=Jagged.from_lengths(torch.tensor([1]), [1]))
    assert np.isnan(one["diversity@1"]).all()


def test_rows_outside_the_catalogue_are_refused():
    with pytest.raises(DataError, match=r"lists \(rows 0 to 4\) must hold item rows from 0 to 3"):
        catalogue_facts(np.array([[0, 4]]), 4)
    with pytest.raises(DataError, match=r"lists \(shape \(0, 5\)\) must have the shape"):
        catalogue_facts(np.zeros((0, 5), dtype=int), 4)
    with pytest.raises(DataError, match=r"history \(1 rows\) must have one row for each list \(2\)"):
        list_facts(np.array([[0], [1]]), np.ones(2), history=Jagged.from_lengths(torch.tensor([0]), [1]))
