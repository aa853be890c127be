"""What training saw, and everything else as one row."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.catalogue import Catalogue
from hpgr.data.ranges import Ranges


def test_counts_rows_and_the_row_outside(make_store):
    log = pl.DataFrame({"user_id": [1] * 5, "item_id": list("cabca"), "timestamp": [10**12 + i for i in range(5)]})
    store = make_store(log)
    found = Catalogue.from_ranges(store, Ranges(user_idx=np.array([0]), start=np.array([0]), stop=np.array([4])))
    assert found.items.ids.to_list() == ["a", "b", "c"]
    assert found.train_count.tolist() == [1, 1, 2]
    less = Catalogue.from_ranges(store, Ranges(user_idx=np.array([0]), start=np.array([3]), stop=np.array([5])))
    assert less.items.ids.to_list() == ["a", "c"]
    assert less.rows(np.array([0, 1, 2, -1])).tolist() == [0, 2, 1, 2]
    assert less.store_rows().tolist() == [0, 2]


def test_from_ids_reaches_the_same_rows_from_another_numbering():
    items = Vocabulary.of(["b", "d", "zz"])
    found = Catalogue.from_ids(items, Vocabulary.of(["a", "b", "c", "d"]), np.array([4, 5, 6]))
    assert found.rows(np.array([0, 1, 2, 3, -1])).tolist() == [3, 0, 3, 1, 3]
    assert found.store_rows().tolist() == [1, 3, -1]
    assert len(found) == 3


def test_nothing_trained_on_is_refused(make_store):
    store = make_store(pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [10**12]}))
    none = np.zeros(0, dtype=np.int64)
    with pytest.raises(DataError, match=r"training part \(0 events\) must hold at least one event; give later borders"):
        Catalogue.from_ranges(store, Ranges(user_idx=none, start=none, stop=none))
