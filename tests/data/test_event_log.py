"""What goes into an EventLog, and what bad input gets."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.columns import Columns
from hpgr.data.log import EventLog

NOON_S = 1_700_000_000
GOOD = {"user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "timestamp": [NOON_S, NOON_S + 1, NOON_S + 2]}


def frame(**changes: object) -> pl.DataFrame:
    return pl.DataFrame(GOOD | changes)


def times_ms(log: EventLog) -> list[int]:
    return log.events().collect()["time_ms"].to_list()


def refusal(source: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        EventLog.read(source, **options).validate()
    return str(caught.value)


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (1000, "ms"), (1_000_000, "us")])
def test_the_unit_of_integer_times_is_inferred_and_said(factor: int, unit: str) -> None:
    log = EventLog.read(frame(timestamp=[NOON_S * factor, (NOON_S + 1) * factor, (NOON_S + 2) * factor]))
    assert times_ms(log) == [NOON_S * 1000, NOON_S * 1000 + 1000, NOON_S * 1000 + 2000]
    floored = "; floored to ms, inside which events keep the order of their rows" if unit == "us" else ""
    assert log.facts.time_unit_note == f"timestamp read as {unit} (inferred: 2023-11-14 to 2023-11-14){floored}"


def test_a_declared_unit_allows_early_times_and_milliseconds_survive() -> None:
    log = EventLog.read(frame(timestamp=[0, 5, 1_700_000_000_123]), time_unit="ms")
    assert times_ms(log) == [0, 5, 1_700_000_000_123]
    assert log.facts.time_unit_note == "timestamp read as ms (declared)"


def test_an_order_is_no_time_and_a_step_is_a_second() -> None:
    log = EventLog.read(frame(timestamp=[2, 0, 7]), time_unit="order")
    assert times_ms(log) == [2000, 0, 7000]
    assert log.validate().time_unit_note == "timestamp read as order, a second a step: the log has no times"
    assert "must not be before 1970" in refusal(frame(timestamp=[2, -1, 0]), time_unit="order")
    assert "(3 of 3 values) must be steps below" in refusal(frame(timestamp=[NOON_S * 1000] * 3), time_unit="order")


def test_datetimes_without_a_zone_are_utc_and_others_are_converted() -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, 123_000)
    paris = [moment.replace(tzinfo=timezone(timedelta(hours=1)))] * 3
    assert times_ms(EventLog.read(frame(timestamp=[moment] * 3))) == [1_700_000_000_123] * 3
    assert times_ms(EventLog.read(frame(timestamp=paris))) == [1_700_000_000_123 - 3_600_000] * 3
    assert times_ms(EventLog.read(frame(timestamp=[date(2023, 11, 14)] * 3))) == [1_699_920_000_000] * 3
    text = ["2023-11-14T22:13:20.123+01:00"] * 3
    assert times_ms(EventLog.read(frame(timestamp=text))) == [1_700_000_000_123 - 3_600_000] * 3


def test_every_kind_of_table_is_read_alike(tmp_path: Path) -> None:
    table = frame()
    table.write_parquet(tmp_path / "log.parquet")
    table.write_csv(tmp_path / "log.csv")
    table.write_csv(tmp_path / "log.tsv", separator="\t")
    table.write_ipc(tmp_path / "log.arrow")
    (tmp_path / "folder").mkdir()
    table[:1].write_parquet(tmp_path / "folder" / "a.parquet")
    table[1:].write_parquet(tmp_path / "folder" / "b.parquet")
    files = [tmp_path / name for name in ("log.parquet", "log.csv", "log.tsv", "log.arrow", "folder")]
    sources = [table, table.lazy(), table.to_pandas(), table.to_arrow(), str(files[0]), *files]
    want = EventLog.read(table).events().collect()
    for source in sources:
        assert EventLog.read(source).events().collect().equals(want), source


def test_a_csv_keeps_codes_as_text_and_finds_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp,weight,line\n1,007,1700000000,0.5,2\n2,7,1700000001,2,1\n")
    log = EventLog.read(path, columns=Columns(tie="line"))
    rows = log.events().collect()
    assert rows["item"].to_list() == ["007", "7"]
    assert rows["user"].to_list() == [1, 2]
    assert rows["weight"].to_list() == [0.5, 2.0]
    assert EventLog.read(path).ordered_by("line").events().collect()["tie"].to_list() == [2, 1]


def test_a_csv_with_datetimes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\nu,a,2023-11-14 22:13:20\nu,b,2023-11-14 22:13:21.500\n")
    assert times_ms(EventLog.read(path)) == [1_700_000_000_000, 1_700_000_001_500]


def test_missing_columns_are_all_named_with_the_nearest_present_one(tmp_path: Path) -> None:
    table = frame().rename({"item_id": "item", "timestamp": "time_stamp"})
    table.write_parquet(tmp_path / "log.parquet")
    message = refusal(tmp_path / "log.parquet")
    assert message == (
        f"columns of {tmp_path / 'log.parquet'} (item_id, timestamp) must be present; no column is named 'item_id'; "
        "did you mean item?; no column is named 'timestamp'; did you mean time_stamp?; name it with Columns"
    )
    assert "a column of the frame (country) must be present" in refusal(frame(), columns=Columns(features=("country",)))
    assert "a column of the frame (kind) must be present" in refusal(frame(), columns=Columns(event="kind"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"timestamp": [1.0, 2.0, 3.0]},
            "timestamp of the frame (Float64) must be a datetime or an integer; floats lose",
        ),
        (
            {"timestamp": [-5, NOON_S, NOON_S]},
            "timestamp of the frame (1 of 3 values negative) must not be before 1970",
        ),
        (
            {"timestamp": [NOON_S, NOON_S, NOON_S * 1000]},
            "timestamp of the frame (2 values as of s, 1 values as of ms) must be in one unit",
        ),
        ({"timestamp": [1, 2, 3]}, "(3 of 3 values, between 1 and 3) must lie between 1990 and 2100 in s, ms or us"),
        (
            {"timestamp": [NOON_S, None, None]},
            "timestamp of the frame (2 of 3 rows null) must be given for every event",
        ),
        ({"timestamp": ["2023-01-01", "soon", "2023-01-02"]}, "(1 of 3 values unreadable) must be datetimes such as"),
        ({"user_id": [None, None, None]}, "user_id of the frame (all rows null) must be given for every event"),
        ({"item_id": ["a", None, "b"]}, "item_id of the frame (1 of 3 rows null) must be given for every event"),
        ({"user_id": [1.0, 2.0, None]}, "user_id of the frame (Float64) must be integers or strings; floats come from"),
        ({"weight": [1.0, float("nan"), 2.0]}, "weight of the frame (1 of 3 values) must not be NaN or infinite"),
        ({"weight": [1.0, -1.0, -2.0]}, "weight of the frame (2 of 3 values) must not be negative"),
        ({"label": [0, 1, 5]}, "label of the frame (1 of 3 values) must be 0 or 1 for what was shown"),
        (
            {"label": [0, 1, 1], "request_id": [1, None, 2]},
            "request_id of the frame (1 of 3 rows null) must be given for",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_bad_values_get_one_sentence(changes: dict[str, object], message: str) -> None:
    assert message in refusal(frame(**changes))


def test_mixed_types_of_a_pandas_column_are_refused() -> None:
    table = pd.DataFrame(GOOD | {"user_id": [1, "b", 2]})
    assert refusal(table) == (
        "user_id of the frame (mixed types) must be all integers or all strings; convert it, as in .astype(str)"
    )


def test_text_features_are_refused_with_the_remedy() -> None:
    message = refusal(frame(country=["fr", "fr", "de"]), columns=Columns(features=("country",)))
    assert (
        "country of the frame (String) must be a number; code it as integers or put it into the items table" in message
    )


def test_the_wrong_declared_unit_is_refused() -> None:
    message = refusal(frame(timestamp=[NOON_S * 1000] * 3), time_unit="s")
    assert "(3 of 3 values after 2100 as s) must fit its unit; time_unit='ms' would" in message


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    assert refusal(frame()[:0]) == "log the frame (0 rows) must have events"
    (tmp_path / "empty.csv").write_text("")
    assert refusal(tmp_path / "empty.csv") == f"log ({tmp_path / 'empty.csv'}) must have rows; the file is empty"


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.parquet") == f"log ({tmp_path / 'none.parquet'}) must exist; check the path"
    assert "must hold .parquet files; this folder has none" in refusal(tmp_path)
    (tmp_path / "log.xlsx").write_bytes(b"x")
    assert "must be one of .parquet, .csv, .tsv, .arrow, .ipc and .feather" in refusal(tmp_path / "log.xlsx")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet at all")
    assert "must be readable as .parquet" in refusal(tmp_path / "bad.parquet")
    assert "log (int) must be a path or a Polars, pandas or pyarrow table" in refusal(5)


def test_other_problems_are_counted_behind_the_first() -> None:
    log = EventLog.read(frame(timestamp=[-5, NOON_S, NOON_S], weight=[-1.0, 1.0, 1.0]))
    assert [problem.code for problem in log.problems] == ["negative_time", "negative_weight"]
    with pytest.raises(DataError, match=r"mend or drop those rows \(1 more found; hpgr doctor lists them\)$"):
        log.validate()


def test_a_time_unit_for_datetimes_or_unknown_is_a_wrong_option() -> None:
    with pytest.raises(ConfigError, match=r"time_unit \(s\) must be left out; timestamp of the frame holds datetimes"):
        EventLog.read(frame(timestamp=[datetime(2023, 1, 1)] * 3), time_unit="s")
    with pytest.raises(ConfigError, match=r"time_unit \(minutes\) must be s, ms or us, or order"):
        EventLog.read(frame(), time_unit="minutes")  # type: ignore[arg-type]


def test_datetimes_are_told_with_their_range_so_that_swapped_days_and_months_show() -> None:
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "timestamp": ["2023-03-04 10:00", "2023-11-04 10:00"]})
    assert EventLog.read(frame).facts.time_unit_note.endswith("where no zone is given: 2023-03-04 to 2023-11-04")


def test_dates_that_may_be_read_two_ways_are_refused() -> None:
    log = EventLog.read(frame(timestamp=["11/06/2023 10:00:00", "11/07/2023 10:00:00", "11/08/2023 10:00:00"]))
    with pytest.raises(DataError, match="3 of 3 values unreadable"):
        log.validate()
