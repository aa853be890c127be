"""The doctor finds each trap before training does, and all of them at once."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

from hpgr.data.doctor import examine
from hpgr.data.finding import Findings
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog

NOON_S = 1_700_000_000
NOW_MS = (NOON_S + 10**8) * 1000


def good_log(**changes: object) -> pl.DataFrame:
    """Five users, ten events each, ten minutes apart in two sessions; users act in turn."""
    values = {
        "user_id": [i % 5 for i in range(50)],
        "item_id": [(i * 7) % 11 for i in range(50)],
        "timestamp": [NOON_S + i * 120 + (86400 if i >= 25 else 0) for i in range(50)],
    }
    return pl.DataFrame(values | changes)


def found(log: object, **options: object) -> Findings:
    return examine(log, **({"now_ms": NOW_MS} | options))  # type: ignore[arg-type]


def message(findings: Findings, code: str) -> str:
    return next(finding.message for finding in findings.all if finding.code == code)


def test_a_good_log_has_neither_errors_nor_risks() -> None:
    findings = found(good_log())
    assert findings.errors == ()
    assert risks(good_log()) == set()
    assert message(findings, "size") == "50 history events of 5 users with 11 items"
    assert message(findings, "sessions") == "2.0 sessions a user, median 5 events a session, 0% of one event"
    assert message(findings, "time_unit") == "timestamp read as s (inferred: 2023-11-14 to 2023-11-15)"
    assert message(findings, "memory") == "the store takes about 1.2 KiB on disk; it is mapped, not loaded"


def bad(**changes: object) -> pl.DataFrame:
    return good_log(**{name: value if isinstance(value, list) else [value] * 50 for name, value in changes.items()})


@pytest.mark.parametrize(
    ("log", "options", "code"),
    [
        (good_log().drop("item_id"), {}, "unreadable"),
        (good_log()[:0], {}, "empty_log"),
        (bad(user_id=None), {}, "null_user"),
        (bad(timestamp=[-1] + [NOON_S] * 49), {}, "negative_time"),
        (bad(timestamp=[1.5] * 50), {}, "unreadable"),
        (bad(timestamp=[NOON_S] * 25 + [NOON_S * 1000] * 25), {}, "mixed_time_units"),
        (bad(weight=[float("nan")] + [1.0] * 49), {}, "nan_weight"),
        (bad(weight=[-1.0] + [1.0] * 49), {}, "negative_weight"),
        (bad(weight=[None] + [1.0] * 49), {}, "null_weight"),
        (pd.DataFrame({"user_id": [1, "a"], "item_id": [1, 2], "timestamp": [NOON_S] * 2}), {}, "unreadable"),
        (bad(item_id=7), {}, "one_item"),
        (bad(user_id=list(range(50))), {}, "single_events"),
        (good_log(), {"sessions": "0"}, "option"),
        (good_log(), {"sessions": "given"}, "no_sessions"),
        (good_log(), {"ties": "random"}, "option"),
        (bad(event="view"), {"history": HistoryRule(events=("buy",))}, "no_history"),
        ("no/such/log.parquet", {}, "unreadable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_corrupt_a_result_is_an_error(log: object, options: dict[str, object], code: str) -> None:
    findings = found(log, **options)
    assert code in {finding.code for finding in findings.errors}
    assert findings.all[0].level == "error"


def test_all_errors_are_listed_at_once() -> None:
    log = bad(timestamp=[-1] + [NOON_S] * 49, weight=[-1.0] + [1.0] * 49, item_id=None)
    codes = [finding.code for finding in found(log, sessions="0").errors]
    assert codes == ["option", "null_item", "negative_time", "negative_weight"]


def test_errors_that_a_build_would_refuse_have_the_same_words() -> None:
    log = EventLog.read(bad(weight=[-1.0] + [1.0] * 49))
    assert message(found(log), "negative_weight") == log.problems[0].message


def risks(log: pl.DataFrame, **options: object) -> set[str]:
    return {finding.code for finding in found(log, **options).all if finding.level == "risk"}


def test_duplicates_are_counted_with_what_happens_to_them() -> None:
    twice = pl.concat([good_log(), good_log()[:3]])
    assert message(found(twice), "duplicates") == (
        "3 events repeat another's user, item, time and event (kept; duplicates='drop' drops them)"
    )
    dropped = found(twice, history=HistoryRule(duplicates="drop"))
    assert message(dropped, "duplicates").endswith("(dropped)")


def test_ties_are_a_risk_only_where_the_file_decides() -> None:
    log = good_log(timestamp=[NOON_S + (i // 20) * 600 for i in range(50)])
    assert message(found(log), "ties").startswith("100% of events share user and time with another")
    assert "ties" in risks(log)
    assert "ties" not in risks(log, ties="set")


def test_a_kind_of_events_that_is_never_there_is_a_risk() -> None:
    log = good_log(event=["view", "buy"] * 25)
    assert message(found(log, history=HistoryRule(events=("view", "bui"))), "unknown_kind").endswith(
        "did you mean buy?"
    )


def test_what_is_examined_is_what_a_build_keeps() -> None:
    three_times = pl.concat([good_log()] * 3)
    dropped = found(three_times, history=HistoryRule(duplicates="drop"))
    for code in ("ties", "repeats", "sessions"):
        assert message(dropped, code) == message(found(good_log()), code)
    # Two baskets of one moment, their lines mixed in the file, are two sessions under ties 'set'.
    baskets = pl.DataFrame(
        {
            "user_id": [1, 2] * 40,
            "item_id": range(80),
            "timestamp": [NOON_S + 86_400 * (i // 20) for i in range(80)],
            "session_id": [f"{i // 20}/{i % 2}/{i % 4 // 2}" for i in range(80)],
        }
    )
    told = found(baskets, sessions="given", ties="set")
    assert message(told, "sessions") == "8.0 sessions a user, median 5 events a session, 0% of one event"


def test_a_log_of_an_order_only_is_not_asked_about_times() -> None:
    long = pl.DataFrame(
        {"user_id": [i % 2 for i in range(4000)], "item_id": [i % 50 for i in range(4000)], "timestamp": range(4000)}
    )
    codes = {finding.code for finding in found(long, time_unit="order").all}
    assert not codes & {"bots", "leave_one_out_leak", "cold_users", "cold_items", "future", "whole_days"}
    assert {"size", "ties", "repeats", "sessions"} <= codes


def test_cold_users_and_items_are_those_of_the_last_tenth() -> None:
    users, items = ([i % n if i < 45 else late + i for i in range(50)] for n, late in ((4, 0), (9, 100)))
    log = good_log(user_id=[9 if user >= 45 else user for user in users], item_id=items)
    findings = found(log)
    assert message(findings, "cold_users") == "1 of 1 users in the last 10% of the events are not seen before"
    assert message(findings, "cold_items") == "5 of 5 items in the last 10% of the events are not seen before"
    assert {"cold_users", "cold_items"} <= risks(log)


def test_the_leak_of_leave_one_out_is_the_share_of_later_training_events() -> None:
    log = pl.DataFrame(
        {"user_id": [1, 1, 1, 2, 2, 2], "item_id": [1, 2, 3] * 2, "timestamp": [NOON_S + i for i in range(6)]}
    )
    # Four events train; two of them lie after the test event of user 1 and none after that of user 2.
    assert message(found(log), "leave_one_out_leak") == (
        "under leave-one-out 25% of the training events lie after a test event on average; split by time"
    )


def test_users_who_behave_like_programs_are_named() -> None:
    size = 2000
    bot = pl.DataFrame({"user_id": [77] * size, "item_id": np.arange(size) % 11, "timestamp": NOON_S + np.arange(size)})
    log = pl.concat([good_log(user_id=[i % 10 for i in range(50)]), bot])
    findings = found(log)
    assert message(findings, "bots") == "1 users have more than 1000 events in a day, 77 among them; bots?"
    assert message(findings, "dominant_user") == "user 77 has 98% of all events; a bot or a test?"


def test_future_and_whole_day_times_are_risks() -> None:
    assert message(found(good_log(), now_ms=NOON_S * 1000), "future").startswith("49 events lie in the future")
    days = good_log(timestamp=[datetime(2023, 1, 1 + i // 5) for i in range(50)])
    assert {"whole_days", "sessions"} <= risks(days)


def test_single_events_and_repeats_are_counted() -> None:
    log = good_log(user_id=[i % 5 if i < 49 else 8 for i in range(50)], item_id=[i % 5 + i // 45 for i in range(50)])
    findings = found(log)
    assert message(findings, "single_events") == "1 of 6 users have one event: they train nothing"
    assert message(findings, "repeats").startswith("80% of events repeat an item of the same user")


def test_exposures_are_described_and_one_label_is_a_risk() -> None:
    log = good_log(label=[1.0, 0.0, 0.0, 0.0] + [None] * 46)
    assert message(found(log), "exposures") == "4 exposures, 25.0% with label 1"
    assert "one_label" in risks(good_log(label=[0.0] * 4 + [None] * 46))


def test_a_large_log_is_sampled_by_whole_users_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpgr.data.doctor_checks._SAMPLE_EVENTS", 25)
    findings = found(good_log())
    assert message(findings, "sample").endswith("are counted on 40% of the events, whole users")
    assert message(findings, "sessions") == "2.0 sessions a user, median 5 events a session, 0% of one event"
