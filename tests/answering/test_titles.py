"""Titles in a bundle: kept by row, absent where there are none, refused where they are not the bundle's."""

from __future__ import annotations

import polars as pl
import pytest

from hpgr import EventLog, Recommender, SequenceStore
from hpgr.answering.opening import open_bundle
from hpgr.answering.titles import TITLES, load_titles, save_titles, titles_of
from hpgr.core.errors import DataError
from hpgr.data.simulator import Simulator


def test_a_bundle_keeps_titles_through_saving_and_saving_again(tmp_path):
    simulator = Simulator(Simulator.Config(num_users=30, num_items=20, num_categories=4, days=9, seed=3))
    items = simulator.items().with_columns(title=pl.when(pl.col("item_id") != "i00003").then(pl.col("title")))
    log = pl.concat(list(simulator.frames()))
    first = Recommender("popularity").fit(_store(log, tmp_path / "store", items)).save(tmp_path / "first")
    second = Recommender.load(first).save(tmp_path / "second")
    want = dict(items.select("item_id", "title").rows())
    assert want["i00003"] is None
    for folder in (first, second):
        opened = open_bundle(folder)
        assert opened.titles is not None
        assert dict(zip(opened.log.items.ids, opened.titles)) == {id_: want[id_] for id_ in opened.log.items.ids}
    without = Recommender("popularity").fit(_store(log, tmp_path / "bare", None)).save(tmp_path / "third")
    assert open_bundle(without).titles is None
    assert not (without / TITLES).exists()


def test_titles_are_text_and_only_where_there_is_such_a_column():
    assert titles_of(None) is titles_of(pl.DataFrame({"item_id": [1]})) is None
    assert titles_of(pl.DataFrame({"item_id": [1, 2], "title": [5, None]})).to_list() == ["5", None]


def test_titles_that_are_damaged_or_of_other_items_are_refused(tmp_path):
    save_titles(pl.Series("x", ["a", None]), tmp_path)
    assert load_titles(tmp_path, 2).to_list() == ["a", None]
    with pytest.raises(DataError, match=r"\(2 titles\) must hold one for each of 3 items"):
        load_titles(tmp_path, 3)
    (tmp_path / TITLES).write_bytes(b"x")
    with pytest.raises(DataError, match="must hold the titles of the bundle's items"):
        load_titles(tmp_path, 2)


def _store(log, path, items):
    return SequenceStore.build(EventLog.read(log), path, items=items)
