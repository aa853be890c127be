"""What was known of an item at a moment."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import DataError
from hpgr.data.item_clock import ItemClock

START = 1_700_000_000_000


@pytest.fixture
def clock(make_store) -> ItemClock:
    rows = [
        (1, "a", 0, None),
        (1, "a", 10, None),
        (2, "a", 20, None),
        (2, "b", 20, 0.0),
        (2, "a", 20, 1.0),
        (3, "b", 30, 1.0),
    ]
    log = pl.DataFrame(
        [(u, i, START + t, label) for u, i, t, label in rows],
        schema={"user_id": pl.Int64, "item_id": pl.String, "timestamp": pl.Int64, "label": pl.Float32},
        orient="row",
    )
    items = pl.DataFrame({"item_id": ["b", "a", "c"], "categories": [["x", "y"], ["y"], ["z"]]})
    return ItemClock.build(make_store(log, items=items))


def test_counts_are_strictly_before_now_and_inside_the_window(clock):
    rows, now = np.array([0, 0, 0, 0, 1, -1]), START + np.array([0, 10, 11, 21, 31, 99])
    # a is chosen at 0, 10 and twice at 20 (once from a list), b at 30 from a list.
    assert clock.count(clock.events, rows, now).tolist() == [0, 1, 2, 4, 1, 0]
    assert clock.count(clock.events, rows, now, 11).tolist() == [0, 1, 1, 2, 1, 0]
    assert clock.count(clock.shown, rows, now).tolist() == [0, 0, 0, 1, 2, 0]
    assert clock.count(clock.clicked, rows, now, 5).tolist() == [0, 0, 0, 1, 1, 0]


def test_a_list_with_an_id_is_known_row_by_row(make_store):
    # One list, read from the top: c is chosen four seconds after a was seen.
    log = pl.DataFrame(
        [(1, "a", 0, 0.0, 7), (1, "b", 2000, 0.0, 7), (1, "c", 4000, 1.0, 7)],
        schema={
            "user_id": pl.Int64,
            "item_id": pl.String,
            "timestamp": pl.Int64,
            "label": pl.Float32,
            "request_id": pl.Int64,
        },
        orient="row",
    ).with_columns(pl.col("timestamp") + START)
    store = make_store(log)
    clock, rows = ItemClock.build(store), np.array([2, 2, 2])
    assert store.exposures.request_time_ms.tolist() == [START]
    for kind in (clock.shown, clock.clicked, clock.events):
        assert clock.count(kind, rows, START + np.array([1, 4000, 4001])).tolist() == [0, 0, 1]


def test_first_sighting_counts_what_was_only_shown(clock):
    now = START + np.array([0, 1, 20, 21, 50])
    first = clock.first_ms(np.array([0, 0, 1, 1, -1]), now)
    assert (first - START).tolist() == [0, 0, 20, 20, 50]


def test_categories_are_numbered_within_the_store(clock):
    start, stop = clock.categories.bounds(np.array([0, 1, -1]))
    found = [clock.categories.values[a:b].tolist() for a, b in zip(start, stop)]
    assert found == [[1], [0, 1], []]


def test_saved_is_loaded(clock, tmp_path):
    clock.save(tmp_path / "clock")
    loaded = ItemClock.load(tmp_path / "clock")
    assert loaded.items == clock.items
    for name in ("events", "shown", "clicked", "categories"):
        for part in ("values", "offsets"):
            assert getattr(getattr(loaded, name), part).tolist() == getattr(getattr(clock, name), part).tolist()
    (tmp_path / "clock" / "shown.npy").unlink()
    (tmp_path / "clock" / "clicked.npy").unlink()
    assert ItemClock.load(tmp_path / "clock").shown is None


def test_a_damaged_clock_is_refused(clock, tmp_path):
    folder = tmp_path / "clock"
    clock.save(folder)
    np.save(folder / "events.npy", np.arange(2))
    with pytest.raises(
        DataError, match=r"item clock \(.*clock\) must hold what hpgr wrote; events does not fit the items"
    ):
        ItemClock.load(folder)
    (folder / "events.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"item clock \(.*clock\) must hold what hpgr wrote"):
        ItemClock.load(folder)
    (folder / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"item clock \(.*clock\) must hold what hpgr wrote"):
        ItemClock.load(folder)


def test_a_log_without_lists_has_a_clock_of_events(make_store, random_log):
    clock = ItemClock.build(make_store(random_log))
    assert (clock.shown, clock.clicked, clock.categories) == (None, None, None)
    rows = np.arange(len(clock.items))
    counts = clock.count(clock.events, rows, np.full(len(rows), np.iinfo(np.int64).max))
    want = dict(random_log["item_id"].value_counts().iter_rows())
    assert counts.tolist() == [want[i] for i in clock.items.ids]
