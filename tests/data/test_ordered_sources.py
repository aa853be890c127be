"""Sets that tell an order and no times, and what ties do to those with coarse times: files written by hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from hpgr.core.errors import ConfigError
from hpgr.data.sources import Source, sources
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime, LeaveOneOut
from hpgr.data.store import SequenceStore

DAY_S = 86_400


def built(source: Source, path: Path) -> SequenceStore:
    return SequenceStore.build(source.log, path, items=source.items, **source.build)


def sequences(store: SequenceStore) -> dict[object, list[object]]:
    ids, offsets = store.items.at(store.item_idx).to_list(), store.user_offsets.tolist()
    return {user: ids[offsets[u] : offsets[u + 1]] for u, user in enumerate(store.users.ids.to_list())}


class TestPublishedSequences:
    def test_a_line_a_user(self, tmp_path):
        (tmp_path / "s3rec").mkdir()
        (tmp_path / "s3rec/Toys_and_Games.txt").write_text("1 5 3 9 \n7 3 3\n")
        store = built(sources()["published_sequences"](tmp_path, file="s3rec-toys"), tmp_path / "store")
        assert sequences(store) == {1: [5, 3, 9], 7: [3, 3]}

    def test_a_line_an_event_packed(self, tmp_path):
        (tmp_path / "bert4rec").mkdir()
        with gzip.open(tmp_path / "bert4rec/beauty.txt.gz", "wt") as file:
            file.write("2 9\n1 4\n2 3\n1 1\n2 8\n")
        store = built(sources()["published_sequences"](tmp_path), tmp_path / "store")
        assert sequences(store) == {1: [4, 1], 2: [9, 3, 8]}
        assert store.time_ms.tolist() == [0, 1000, 0, 1000, 2000]

    def test_another_file_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match=r"file \(s3rec-sports\) must be one of bert4rec-beauty, s3rec-beauty"):
            sources()["published_sequences"](tmp_path, file="s3rec-sports")


class TestMl1m:
    def test_the_store_says_that_there_are_no_times(self, tmp_path):
        (tmp_path / "ml-1m.txt").write_text("1 10\n1 12\n1 11\n")
        store = built(sources()["ml_1m_ordered"](tmp_path), tmp_path / "store")
        assert not store.timed
        assert store.manifest["time_unit_note"] == "position read as order, a second a step: the log has no times"
        with pytest.raises(ConfigError, match=r"split \(GlobalTime.*must not go by time: .*store tells an order only"):
            split(store, GlobalTime())
        assert split(store, LeaveOneOut()).test.now_ms.tolist() == [2000]

    def test_the_normalised_layout_goes_by_position(self, tmp_path):
        events = {"user_id": [1, 1, 1], "item_id": [8, 7, 9], "timestamp": [None] * 3, "position": [2, 0, 1]}
        pl.DataFrame(events).write_parquet(tmp_path / "interactions.parquet")
        films = {"item_id": [7, 8, 9], "title": ["a", "b", "c"], "categories": [["x"], [], ["y"]]}
        pl.DataFrame(films).write_parquet(tmp_path / "items.parquet")
        store = built(sources()["ml_1m_ordered"](tmp_path), tmp_path / "store")
        assert sequences(store) == {1: [7, 9, 8]}
        assert store.item_table is not None


class TestTies:
    @pytest.fixture
    def folder(self, tmp_path):
        days = [0] + [5] * 8
        items = [f"B{i}" for i in (4, 8, 2, 6, 1, 7, 3, 5, 9)]
        events = {"user_id": ["u"] * 9, "item_id": items, "timestamp": [d * DAY_S for d in days]}
        # Rows are not in the published order; the positions are.
        pl.DataFrame(events | {"position": list(range(9))}).reverse().write_parquet(tmp_path / "interactions.parquet")
        known = {"item_id": sorted(items), "title": ["t"] * 9, "categories": [["c"]] * 9}
        pl.DataFrame(known, schema_overrides={"title": pl.String}).write_parquet(tmp_path / "items.parquet")
        return tmp_path

    def test_the_file_order_is_the_published_one(self, folder):
        store = built(sources()["amazon_beauty"](folder), folder / "store")
        assert sequences(store) == {"u": [f"B{i}" for i in (4, 8, 2, 6, 1, 7, 3, 5, 9)]}
        assert store.timed
        assert store.num_sessions == 2

    def test_a_permutation_stays_inside_a_day_and_goes_by_its_draw(self, folder):
        def order(draw: int, name: str) -> list[object]:
            return sequences(built(sources()["amazon_beauty"](folder, "permuted", draw), folder / name))["u"]

        first, again, other = order(1, "a"), order(1, "b"), order(2, "c")
        assert first == again
        assert first != other
        assert first[0] == other[0] == "B4"
        assert sorted(map(str, first)) == [f"B{i}" for i in range(1, 10)]

    @pytest.mark.parametrize("name", ["amazon_beauty", "movielens_100k", "movielens_latest"])
    def test_another_word_is_refused(self, name, folder):
        with pytest.raises(ConfigError, match=r"ties \(random\) must be one of file, set, permuted"):
            sources()[name](folder, ties="random")
