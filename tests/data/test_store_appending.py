"""A store that grew equals one built from the joined log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import DataError
from hpgr.data.appending import append
from hpgr.data.columns import Columns
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import GivenSessions, IdleGap
from hpgr.data.store import SequenceStore

NOON_S = 1_700_000_000
COLUMNS = Columns(tie="line", features=("price",))


def random_log(size: int, seed: int, *, since_s: int = 0) -> pl.DataFrame:
    """Events and exposures; later seeds bring other users, items and actions."""
    rng = np.random.default_rng(seed)
    label = pl.Series(rng.choice([0.0, 1.0, np.nan], size)).fill_nan(None)
    return pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in rng.integers(0, 9, size) * (seed + 1)],
            "item_id": rng.integers(0, 20, size) * (seed + 1),
            "timestamp": NOON_S + since_s + rng.integers(0, 30, size) * 60,
            "event": rng.choice(["view", "buy", f"kind{seed}"], size),
            "line": rng.integers(0, 3, size),
            "price": rng.integers(0, 3, size).astype(np.float64),
            "session_id": [f"s{i}" for i in rng.integers(0, 4, size)],
            "label": label,
            "request_id": rng.integers(0, 9, size),
        }
    )


def read(log: pl.DataFrame) -> EventLog:
    return EventLog.read(log, columns=COLUMNS)


def facts(store: SequenceStore) -> dict[str, object]:
    return {name: value for name, value in store.manifest.items() if name != "time_unit_note"}


@pytest.mark.parametrize("ties", ["file", "set", "column:line"])
@pytest.mark.parametrize("since_s", [0, 3600], ids=["interleaved", "later"])
def test_appending_equals_building_from_both(tmp_path: Path, monkeypatch, ties: str, since_s: int) -> None:
    old, new = random_log(500, 1), random_log(300, 2, since_s=since_s)
    options = {"ties": ties, "sessions": GivenSessions(), "history": HistoryRule(duplicates="drop")}
    SequenceStore.build(read(old), tmp_path / "store", **options)
    monkeypatch.setattr("hpgr.data.event_files.rows_within", lambda memory_mb, dtype: 90)
    monkeypatch.setattr("hpgr.data.appending._BLOCK_REQUESTS", 7)
    grown = append(tmp_path / "store", read(new))
    monkeypatch.undo()
    joined = SequenceStore.build(read(pl.concat([old, new])), tmp_path / "joined", **options)
    assert facts(grown) == facts(joined)
    assert grown.num_users > SequenceStore.build(read(old), tmp_path / "old", **options).num_users


def test_a_plain_log_grows_by_days_and_keeps_its_item_table(tmp_path: Path) -> None:
    names = ["user_id", "item_id", "timestamp"]
    days = [random_log(60, day, since_s=day * 86400).select(names) for day in range(3)]
    table = pl.DataFrame({"item_id": range(60), "title": [f"t{i}" for i in range(60)]})
    store = SequenceStore.build(EventLog.read(days[0]), tmp_path / "store", sessions=IdleGap(gap_s=60), items=table)
    assert store.exposures is None
    for day in days[1:]:
        store = append(tmp_path / "store", EventLog.read(day), items=table)
    joined = EventLog.read(pl.concat(days))
    whole = SequenceStore.build(joined, tmp_path / "whole", sessions=IdleGap(gap_s=60), items=table)
    assert facts(store) == facts(whole)
    unknown = days[0][:1].with_columns(item_id=pl.lit(999, dtype=pl.Int64))
    kept = append(tmp_path / "store", EventLog.read(pl.concat([days[0][:1], unknown])))
    assert kept.item_table is not None
    assert kept.item_table["title"].to_list() == [f"t{i}" if i < 60 else None for i in kept.items.ids]


def test_exposures_of_a_later_log_join_those_of_a_store_without(tmp_path: Path) -> None:
    old = random_log(50, 1).with_columns(label=pl.lit(None, dtype=pl.Float64))
    new = random_log(50, 2)
    assert SequenceStore.build(read(old), tmp_path / "store").exposures is None
    grown = append(tmp_path / "store", read(new))
    assert facts(grown) == facts(SequenceStore.build(read(pl.concat([old, new])), tmp_path / "joined"))
    assert grown.exposures is not None


def test_a_log_of_another_kind_is_refused_and_the_store_stays(tmp_path: Path) -> None:
    log = random_log(20, 1)
    before = SequenceStore.build(read(log), tmp_path / "store", ties="column:line").manifest
    with pytest.raises(DataError, match=r"item_id of the frame \(String\) must be ids of the store's type, Int64"):
        append(tmp_path / "store", read(log.with_columns(pl.col("item_id").cast(pl.String))))
    with pytest.raises(DataError, match=r"columns of the frame \(user, item, time, .*\) must be those of the store"):
        append(tmp_path / "store", read(log.drop("event")))
    with pytest.raises(
        DataError, match=r"line of the frame \(float64\) must be of the store's type, int64; convert it"
    ):
        append(tmp_path / "store", read(log.with_columns(pl.col("line").cast(pl.Float64))))
    with pytest.raises(
        DataError, match=r"timestamp of the frame \(an order only\) must be as in the store .*\(times\)"
    ):
        append(tmp_path / "store", EventLog.read(log, columns=COLUMNS, time_unit="order"))
    assert SequenceStore.open(tmp_path / "store").manifest == before
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_narrower_types_of_the_new_log_are_taken_up(tmp_path: Path) -> None:
    old, new = random_log(40, 1), random_log(40, 2)
    SequenceStore.build(read(old), tmp_path / "store")
    narrow = new.with_columns(
        pl.col("item_id").cast(pl.Int16), pl.col("price").cast(pl.Int8), pl.col("user_id").cast(pl.Categorical)
    )
    grown = append(tmp_path / "store", read(narrow))
    assert facts(grown) == facts(SequenceStore.build(read(pl.concat([old, new])), tmp_path / "joined"))


def test_an_enum_takes_no_ids_outside_it(tmp_path: Path) -> None:
    log = random_log(5, 1).with_columns(user_id=pl.lit("u1", dtype=pl.Enum(["u1"])))
    SequenceStore.build(read(log), tmp_path / "store")
    with pytest.raises(DataError, match=r"user_id of the frame \(String\) must be ids of the store's type, Enum"):
        append(tmp_path / "store", read(log.with_columns(user_id=pl.lit("u2"))))
