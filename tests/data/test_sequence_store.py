"""The store against a naive grouping of the same rows, and what damages it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from hpgr.core.errors import ConfigError, DataError, UnknownNameError
from hpgr.data.columns import Columns
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import CalendarDay, GivenSessions, IdleGap
from hpgr.data.store import SequenceStore

NOON_S = 1_700_000_000
COLUMNS = Columns(tie="line", features=("price", "pages"))


def random_log(size: int, seed: int) -> pl.DataFrame:
    """Events of few users and items in few seconds, so that ties, repeats and long sessions all occur."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user_id": rng.integers(0, 7, size) * 10,
            "item_id": [f"i{i}" for i in rng.integers(0, 12, size)],
            "timestamp": NOON_S + rng.integers(0, 60, size) * 60,
            "event": rng.choice(["view", "buy"], size),
            "line": rng.integers(0, 3, size),
            "weight": rng.integers(1, 4, size).astype(np.float32),
            "price": rng.integers(0, 3, size).astype(np.float64),
            "pages": rng.integers(0, 3, size),
            "session_id": rng.integers(0, 3, size),
        }
    )


def built(log: pl.DataFrame, path: Path, **options: object) -> SequenceStore:
    return SequenceStore.build(EventLog.read(log, columns=COLUMNS), path, overwrite=True, **options)  # type: ignore[arg-type]


def rows_of(store: SequenceStore) -> list[tuple]:
    """Every event in store order, in the log's own words."""
    users = np.repeat(store.users.ids.to_numpy(), np.diff(store.user_offsets))
    items = store.items.at(store.item_idx).to_list()
    actions = [[None, *store.actions][i] for i in store.action]
    weight = store.weight if store.weight is not None else [None] * store.num_events
    columns = (users.tolist(), items, (store.time_ms // 1000).tolist(), actions, np.asarray(weight).tolist())
    return list(zip(*columns, store.features["price"].tolist(), store.features["pages"].tolist()))


def naive_rows(log: pl.DataFrame, by: tuple[str, ...]) -> list[tuple]:
    names = ("user_id", "item_id", "timestamp", "event", "weight", "price", "pages")
    rows = sorted(log.rows(named=True), key=lambda row: tuple(row[name] for name in by))
    return [tuple(row[name] for name in names) for row in rows]


def naive_sessions(rows: list[tuple], gap_s: int) -> list[int]:
    starts = [i for i, row in enumerate(rows) if i == 0 or row[0] != rows[i - 1][0] or row[2] - rows[i - 1][2] > gap_s]
    return [*starts, len(rows)]


def hashes(store: SequenceStore) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in store.manifest["files"].items()}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 120), seed=st.integers(0, 1000), memory_mb=st.sampled_from([1, 64]))
def test_a_store_equals_a_naive_grouping(tmp_path: Path, size: int, seed: int, memory_mb: int) -> None:
    log = random_log(size, seed)
    store = built(log, tmp_path / "file", sessions=IdleGap(gap_s=180), memory_mb=memory_mb)
    want = naive_rows(log, ("user_id", "timestamp"))
    assert rows_of(store) == want
    assert store.session_offsets.tolist() == naive_sessions(want, 180)
    assert store.user_offsets.tolist() == [0, *np.cumsum([n for _, n in sorted(Counter(log["user_id"]).items())])]
    by_set = built(log, tmp_path / "set", ties="set")
    assert Counter(rows_of(by_set)) == Counter(want)
    assert [row[::2][:2] for row in rows_of(by_set)] == [row[::2][:2] for row in want]
    log = log.unique(["user_id", "timestamp", "line"], maintain_order=True)
    by_column = built(log, tmp_path / "column", ties="column:line")
    assert rows_of(by_column) == naive_rows(log, ("user_id", "timestamp", "line"))


@pytest.mark.parametrize("ties", ["set", "column:line"])
def test_the_order_of_rows_in_the_file_is_without_effect(tmp_path: Path, ties: str) -> None:
    log = random_log(400, seed=1)
    shuffled = log.sample(fraction=1.0, shuffle=True, seed=2)
    stores = [built(rows, tmp_path / str(i), ties=ties) for i, rows in enumerate((log, shuffled))]
    assert hashes(stores[0]) == hashes(stores[1])
    assert hashes(built(log, tmp_path / "f", ties="file")) != hashes(built(shuffled, tmp_path / "g", ties="file"))


def test_the_canonical_order_does_not_follow_the_ids(tmp_path: Path) -> None:
    items = [f"i{i:02}" for i in range(20)]
    log = pl.DataFrame({"user_id": [1] * 20, "item_id": items, "timestamp": [NOON_S] * 20})
    order = SequenceStore.build(EventLog.read(log), tmp_path / "store", ties="set").item_idx.tolist()
    assert sorted(order) == list(range(20))
    assert order not in (list(range(20)), list(range(19, -1, -1)))


@pytest.mark.parametrize("ties", ["file", "set", "column:line"])
def test_many_parts_and_batches_give_the_same_store_as_one(tmp_path: Path, ties: str, monkeypatch) -> None:
    log = random_log(3000, seed=3)
    options = {"ties": ties, "sessions": GivenSessions(), "history": HistoryRule(duplicates="drop")}
    whole = built(log, tmp_path / "whole", **options)
    monkeypatch.setattr("hpgr.data.event_files.rows_within", lambda memory_mb, dtype: 100)
    monkeypatch.setattr("hpgr.data.census._BATCH_ROWS", 250)
    parts = built(log, tmp_path / "parts", **options)
    assert hashes(parts) == hashes(whole)
    assert parts.manifest["counts"] == whole.manifest["counts"]
    assert whole.manifest["counts"]["duplicates"] > 100


@pytest.mark.parametrize(
    "ids",
    [
        pl.Series([3, -1, 3], dtype=pl.Int64),
        pl.Series([200, 1, 200], dtype=pl.UInt8),
        pl.Series([2**64 - 1, 0, 2**64 - 1], dtype=pl.UInt64),
        pl.Series(["b", "ä", "b"]),
        pl.Series(["b", "a", "b"], dtype=pl.Categorical),
        pl.Series(["b", "a", "b"], dtype=pl.Enum(["c", "b", "a"])),
    ],
    ids=lambda ids: str(ids.dtype).partition("(")[0],
)
def test_ids_come_back_with_their_type(tmp_path: Path, ids: pl.Series) -> None:
    log = pl.DataFrame({"user_id": ids, "item_id": ids, "timestamp": [NOON_S, NOON_S + 1, NOON_S + 2]})
    store = SequenceStore.build(EventLog.read(log), tmp_path / "store")
    assert store.users.ids.dtype == store.items.ids.dtype == ids.dtype
    back = store.items.at(store.item_idx)
    order = [1, 0, 2] if back[0] == ids[1] else [0, 2, 1]
    assert_series_equal(back, ids.gather(order), check_names=False)
    assert store.users.rows(ids).tolist() == store.items.rows(ids).tolist()


def test_milliseconds_survive(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "timestamp": [1_700_000_000_123, 1_700_000_000_122]})
    store = SequenceStore.build(EventLog.read(log), tmp_path / "store")
    assert store.time_ms.tolist() == [1_700_000_000_122, 1_700_000_000_123]
    assert store.time_ms.dtype == np.int64


def test_every_kind_of_source_gives_the_same_store(tmp_path: Path) -> None:
    log = random_log(200, seed=5)
    log.write_csv(tmp_path / "log.csv")
    log.write_parquet(tmp_path / "log.parquet")
    sources = [log, log.to_pandas(), log.to_arrow(), tmp_path / "log.csv", tmp_path / "log.parquet"]
    found = [
        hashes(SequenceStore.build(EventLog.read(source, columns=COLUMNS), tmp_path / str(i)))
        for i, source in enumerate(sources)
    ]
    assert found[1:] == found[:1] * 4


def test_given_sessions_and_days_are_cut_as_the_rule_says(tmp_path: Path) -> None:
    log = pl.DataFrame(
        {
            "user_id": [1] * 4,
            "item_id": [1] * 4,
            "timestamp": [NOON_S + i for i in range(4)],
            "session_id": list("aaba"),
        }
    )
    given = SequenceStore.build(EventLog.read(log), tmp_path / "given", sessions=GivenSessions())
    assert given.session_offsets.tolist() == [0, 2, 3, 4]
    assert given.session_rule == GivenSessions()
    days = SequenceStore.build(EventLog.read(log), tmp_path / "days", sessions=CalendarDay(utc_offset_s=6398))
    assert days.session_offsets.tolist() == [0, 2, 4]


def test_a_kind_that_the_log_never_has_is_named() -> None:
    log = pl.DataFrame(
        {"user_id": [1, 1], "item_id": [1, 2], "timestamp": [NOON_S, NOON_S + 1], "event": ["view", "buy"]}
    )
    with pytest.raises(UnknownNameError, match=r"no kind of events in the frame is named 'veiw'; did you mean view"):
        HistoryRule(events=("buy", "veiw")).check_kinds(EventLog.read(log))
    HistoryRule(events=("buy", "view")).check_kinds(EventLog.read(log))


def test_simultaneous_sessions_stay_whole_where_ties_are_a_set(tmp_path: Path) -> None:
    # Ten days of two baskets of five each, told by the day alone.
    log = pl.DataFrame(
        {
            "user_id": [1] * 100,
            "item_id": range(100),
            "timestamp": [NOON_S + 86_400 * (i // 10) for i in range(100)],
            "session_id": [f"basket {i // 5}" for i in range(100)],
        }
    ).sample(fraction=1.0, shuffle=True, seed=3)
    store = SequenceStore.build(EventLog.read(log), tmp_path / "set", ties="set", sessions=GivenSessions())
    assert store.num_sessions == 20


def shown_log(**changes: object) -> pl.DataFrame:
    """Two lists shown to user 1, one to user 2 at the same time, and two plain events."""
    values = {
        "user_id": [1, 1, 2, 1, 1, 2, 1],
        "item_id": ["c", "a", "b", "a", "b", "a", "d"],
        "timestamp": [NOON_S + s for s in (60, 60, 60, 60, 60, 10, 90)],
        "request_id": ["x", "x", "z", "y", "y", None, None],
        "label": [0, 1, 0, 0, 1, None, None],
    }
    return pl.DataFrame(values | changes)


def lists_of(store: SequenceStore) -> list[tuple]:
    shown = store.exposures
    assert shown is not None
    found = []
    for r, (start, stop) in enumerate(zip(shown.offsets[:-1], shown.offsets[1:])):
        items = store.items.at(shown.item_idx[start:stop]).to_list()
        labels = shown.label[start:stop].astype(int).tolist()
        found.append((int(store.users.ids[int(shown.request_user[r])]), int(shown.request_time_ms[r]), items, labels))
    return found


def test_exposures_become_requests_and_clicks_history(tmp_path: Path) -> None:
    store = SequenceStore.build(EventLog.read(shown_log()), tmp_path / "store")
    lists = lists_of(store)
    assert sorted(lists[:2]) == [
        (1, (NOON_S + 60) * 1000, ["a", "b"], [0, 1]),
        (1, (NOON_S + 60) * 1000, ["c", "a"], [0, 1]),
    ]
    assert lists[2:] == [(2, (NOON_S + 60) * 1000, ["b"], [0])]
    assert store.items.at(store.item_idx).to_list() == ["a", "b", "d", "a"]
    assert store.user_offsets.tolist() == [0, 3, 4]
    assert store.items.ids.to_list() == ["a", "b", "c", "d"]
    assert store.manifest["counts"]["requests"] == 3
    assert store.manifest["counts"]["exposures"] == 5


def test_without_request_ids_a_moment_of_a_user_is_a_request(tmp_path: Path) -> None:
    store = SequenceStore.build(EventLog.read(shown_log().drop("request_id")), tmp_path / "store")
    moment = (NOON_S + 60) * 1000
    assert lists_of(store) == [(1, moment, ["c", "a", "a", "b"], [0, 1, 0, 1]), (2, moment, ["b"], [0])]


def test_a_request_has_the_time_of_its_first_row(tmp_path: Path, monkeypatch) -> None:
    times = [NOON_S + s for s in (70, 60, 50, 40, 60, 10, 90)]
    monkeypatch.setattr("hpgr.data.exposure_files.rows_within", lambda memory_mb, dtype: 2)
    monkeypatch.setattr("hpgr.data.building.rows_within", lambda memory_mb, dtype: 2)
    store = SequenceStore.build(EventLog.read(shown_log(timestamp=times)), tmp_path / "store")
    assert lists_of(store) == [
        (1, (NOON_S + 40) * 1000, ["a", "b"], [0, 1]),
        (2, (NOON_S + 50) * 1000, ["b"], [0]),
        (1, (NOON_S + 60) * 1000, ["c", "a"], [0, 1]),
    ]


def test_which_rows_are_history(tmp_path: Path) -> None:
    every = SequenceStore.build(EventLog.read(shown_log()), tmp_path / "all", history=HistoryRule(labels="all"))
    assert every.num_events == 7
    assert every.actions == ["label=0", "label=1"]
    assert every.action.tolist() == [1, 2, 1, 2, 0, 0, 1]
    log = shown_log(event=["show"] * 5 + ["read", "skip"])
    reads = SequenceStore.build(EventLog.read(log), tmp_path / "reads", history=HistoryRule(events=("read",)))
    assert reads.items.at(reads.item_idx).to_list() == ["a"]
    assert reads.items.ids.to_list() == ["a", "b", "c"]
    assert reads.manifest["counts"]["rows_left_out"] == 1
    with pytest.raises(
        DataError, match=r"\(0 of 7 rows in the history\) must have history events; choose other events"
    ):
        SequenceStore.build(EventLog.read(log), tmp_path / "none", history=HistoryRule(events=("buy",)))
    assert not (tmp_path / "none").exists()


def test_the_item_table_is_aligned_with_the_items(tmp_path: Path) -> None:
    table = pl.DataFrame({"item_id": ["d", "b", "zzz", "a"], "title": ["D", "B", "Z", "A"]})
    store = SequenceStore.build(EventLog.read(shown_log()), tmp_path / "store", items=table)
    assert store.item_table is not None
    assert store.item_table["item_id"].to_list() == store.items.ids.to_list()
    assert store.item_table["title"].to_list() == ["A", "B", None, "D"]
    twice = pl.concat([table, table[:1]])
    with pytest.raises(DataError, match=r"item_id of items table the frame \(d\) must not repeat"):
        SequenceStore.build(EventLog.read(shown_log()), tmp_path / "twice", items=twice)
    with pytest.raises(
        DataError, match=r"column item_id of items table the frame \(absent\) must be present; .*itemid"
    ):
        SequenceStore.build(EventLog.read(shown_log()), tmp_path / "no", items=table.rename({"item_id": "itemid"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ties": "random"}, r"ties \(random\) must be file, set or column:NAME"),
        ({"memory_mb": 0}, r"memory_mb \(0\) must be at least 1"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(random_log(5, 0), tmp_path / "store", **options)
    with pytest.raises(ConfigError, match=r"duplicates \(forget\) must be keep or drop"):
        HistoryRule(duplicates="forget")  # type: ignore[arg-type]


def test_what_the_log_lacks_for_the_plan_is_said(tmp_path: Path) -> None:
    log = random_log(5, 0).with_columns(session_id=pl.lit(None, dtype=pl.Int64))
    with pytest.raises(
        DataError, match=r"session_id of the frame \(5 of 5 history rows null\) must be given for every"
    ):
        built(log, tmp_path / "store", sessions=GivenSessions())
    with pytest.raises(
        DataError, match=r"column session_id of the frame \(absent\) must be present for given sessions"
    ):
        built(log.drop("session_id"), tmp_path / "store", sessions=GivenSessions())
    with pytest.raises(DataError, match=r"a column of the frame \(pos\) must be present"):
        built(log, tmp_path / "store", ties="column:pos")
    half = log.with_columns(weight=pl.when(pl.col("line") > 0).then(pl.col("weight")))
    with pytest.raises(DataError, match=r"weight of the frame \(\d of 5 history rows null\) must be given for every"):
        built(half, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_not_overwritten_unasked(tmp_path: Path) -> None:
    log = EventLog.read(random_log(5, 0))
    SequenceStore.build(log, tmp_path / "store")
    with pytest.raises(DataError, match=r"store \(exists\) must be a new path; choose another one, or overwrite it"):
        SequenceStore.build(log, tmp_path / "store")


def test_every_flipped_byte_and_missing_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store"
    files = built(random_log(50, 0), path, sessions=GivenSessions(), ties="column:line").manifest["files"]
    assert len(files) == 12
    remedy = f"rebuild it with: hpgr prepare LOG --out {path}"
    for name in (*files, "manifest.json"):
        content = (path / name).read_bytes()
        for damaged in (content[:30] + bytes([content[30] ^ 1]) + content[31:], content[: len(content) // 2]):
            (path / name).write_bytes(damaged)
            with pytest.raises(DataError) as caught:
                SequenceStore.open(path)
            assert name in str(caught.value) or "format" in str(caught.value)
            assert str(caught.value).endswith(remedy)
        (path / name).unlink()
        with pytest.raises(DataError) as caught:
            SequenceStore.open(path)
        assert str(caught.value).endswith(remedy)
        (path / name).write_bytes(content)
    assert SequenceStore.open(path).num_events == 50


def test_an_older_version_and_other_folders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    built(random_log(5, 0), path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 0}))
    with pytest.raises(DataError, match=r"format 0\) must be of format 2; rebuild it with: hpgr prepare LOG --out"):
        SequenceStore.open(path)
    with pytest.raises(DataError, match=r"absent\) must be a folder that hpgr wrote; rebuild it with"):
        SequenceStore.open(tmp_path / "nothing")


def test_what_was_verified_is_said(tmp_path: Path, monkeypatch) -> None:
    built(random_log(50, 0), tmp_path / "store")
    whole = SequenceStore.open(tmp_path / "store")
    assert whole.checked.startswith("presence and size of 10 files; checksums of ")
    monkeypatch.setattr("hpgr.data.store._SMALL_FILE", 0)
    part = SequenceStore.open(tmp_path / "store", verify=False)
    assert "checksums of 0 B of" in part.checked
    assert "verify=True compares all of" in part.checked


def test_columns_are_mapped_read_only(tmp_path: Path) -> None:
    store = built(random_log(5, 0), tmp_path / "store")
    assert isinstance(store.item_idx, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.item_idx[0] = 1
