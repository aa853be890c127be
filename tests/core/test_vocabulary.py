"""Ids of any type go in and come back unchanged."""

import polars as pl
import pytest

from hpgr.core.errors import DataError
from hpgr.core.vocabulary import Vocabulary


@pytest.mark.parametrize("ids", [["b", "a", "c"], [30, -1, 2**62], pl.Series([3, 1], dtype=pl.UInt64)], ids=str)
def test_there_and_back(ids):
    vocabulary = Vocabulary.of(ids)
    rows = vocabulary.rows(ids)
    assert vocabulary.at(rows).to_list() == list(ids)
    assert sorted(rows) == list(range(len(ids)))


def test_unknown_ids_and_other_types():
    vocabulary = Vocabulary.of(["1", "2"])
    assert vocabulary.rows([2, 9]).tolist() == [1, -1]
    assert vocabulary.rows(["x"], unknown=7).tolist() == [7]


def test_saved_is_loaded(tmp_path):
    vocabulary = Vocabulary.of(pl.Series([5, 3], dtype=pl.UInt16))
    vocabulary.save(tmp_path / "v.parquet")
    assert Vocabulary.load(tmp_path / "v.parquet") == vocabulary


def test_repeated_or_missing_ids_are_refused():
    with pytest.raises(DataError, match=r"ids \(3\) must not repeat; 1 do"):
        Vocabulary(pl.Series([1, 1, 2]))
    with pytest.raises(DataError, match=r"1 of 2 null"):
        Vocabulary(pl.Series([1, None]))


def test_a_part_of_a_number_and_truth_are_nobodys_ids():
    assert Vocabulary.of([1, 2, 3]).rows([1.7, 2.0, None]).tolist() == [-1, 1, -1]
    assert Vocabulary.of([0, 1]).rows([True, False]).tolist() == [-1, -1]
    assert Vocabulary.of(["1.7", "2"]).rows([1.7]).tolist() == [0]
