"""What is held out, against a plain definition user by user."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, DataError, UnknownNameError
from hpgr.data.columns import Columns
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import GivenSessions
from hpgr.data.split import Split, split
from hpgr.data.split_rules import Given, GlobalTime, LastSession, LeaveOneOut, Rolling, border_ms
from hpgr.data.store import SequenceStore

HOUR = 3_600_000


def log_of(*users: str, times: dict[str, list[int]] | None = None) -> pl.DataFrame:
    """A user for each word, an item for each letter, an event every hour unless ``times`` (hours) says otherwise."""
    rows = [
        (word, letter, 1_700_000_000_000 + (times or {}).get(word, list(range(len(word))))[i] * HOUR)
        for word in users
        for i, letter in enumerate(word)
    ]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


def asked(store: SequenceStore, queries) -> set[tuple[str, str, str]]:
    """``(user, history, targets)`` in letters."""
    names, offsets = store.items.ids.to_list(), queries.target_offsets
    return {
        (
            store.users.ids[int(queries.user_idx[q])],
            "".join(names[i] for i in store.item_idx[queries.start[q] : queries.stop[q]]),
            "".join(names[i] for i in queries.target_idx[offsets[q] : offsets[q + 1]]),
        )
        for q in range(len(queries))
    }


def trained(store: SequenceStore, found: Split) -> set[str]:
    names = store.items.ids.to_list()
    return {"".join(names[i] for i in store.item_idx[a:b]) for a, b in zip(found.train.start, found.train.stop)}


def test_leave_one_out_holds_out_the_last_two(make_store):
    store = make_store(log_of("abcd", "xy", "q"))
    found = split(store, LeaveOneOut())
    assert trained(store, found) == {"ab", "x"}
    assert asked(store, found.validation) == {("abcd", "ab", "c")}
    assert asked(store, found.test) == {("abcd", "abc", "d"), ("xy", "x", "y")}
    assert found.certificate.facts["users_without_target"] == 1
    assert found.catalogue.items.ids.to_list() == ["a", "b", "x"]


def test_leave_one_out_may_train_on_what_it_would_validate(make_store):
    store = make_store(log_of("abcd", "xy", "q"))
    found, plain = split(store, LeaveOneOut(train_on_validation=True)), split(store, LeaveOneOut())
    assert trained(store, found) == {"abc", "x"}
    assert not len(found.validation)
    assert asked(store, found.test) == asked(store, plain.test)
    assert found.certificate.hash == plain.certificate.hash


def test_simultaneous_events_are_not_in_the_history_of_one_another_where_ties_are_a_set(make_store):
    times = {"abcd": [0, 1, 2, 2], "xyz": [0, 0, 0], "klmn": [0, 0, 1, 1]}
    store = make_store(log_of("abcd", "xyz", "klmn", times=times), ties="set")
    found = split(store, LeaveOneOut())
    (history,) = [h for user, h, _ in asked(store, found.test) if user == "abcd"]
    assert history == "ab"
    assert {(user, h) for user, h, _ in asked(store, found.validation)} == {("abcd", "a")}
    assert {user for user, _, _ in asked(store, found.test)} == {"abcd", "klmn"}
    assert "a" in trained(store, found)
    in_file_order = make_store(log_of("abcd", "xyz", "klmn", times=times))
    found = split(in_file_order, LeaveOneOut())
    assert {(user, h) for user, h, _ in asked(in_file_order, found.test)} >= {("abcd", "abc"), ("xyz", "xy")}


@pytest.mark.parametrize(
    ("targets", "want"),
    [
        ("first", {("abcdef", "abcd", "e"), ("xyz", "x", "y")}),
        ("last", {("abcdef", "abcde", "f"), ("xyz", "xy", "z")}),
        ("successive", {("abcdef", "abcd", "e"), ("abcdef", "abcde", "f"), ("xyz", "x", "y"), ("xyz", "xy", "z")}),
        ("all", {("abcdef", "abcd", "ef"), ("xyz", "x", "yz")}),
    ],
)
def test_last_session_with_each_target_rule(make_store, targets, want):
    times = {"abcdef": [0, 0, 9, 9, 20, 20], "xyz": [0, 9, 9], "q": [0]}
    store = make_store(log_of("abcdef", "xyz", "q", times=times))
    found = split(store, LastSession(targets=targets))
    assert asked(store, found.test) == want
    assert trained(store, found) == {"ab", "x", "q"}
    assert {user for user, _, _ in asked(store, found.validation)} == {"abcdef"}


def test_all_targets_of_a_query_are_a_set_at_the_time_of_the_first(make_store):
    store = make_store(log_of("abccb", times={"abccb": [0, 9, 9, 9, 9]}))
    found = split(store, LastSession(targets="all"))
    assert asked(store, found.test) == {("abccb", "a", "bc")}
    assert found.test.now_ms.tolist() == [1_700_000_000_000 + 9 * HOUR]


def test_global_time_against_the_plain_definition(make_store, random_log):
    store = make_store(random_log)
    times = np.asarray(store.time_ms)
    config = GlobalTime(test_share=0.2, valid_share=0.1)
    found = split(store, config)
    test_ms = np.sort(times)[int(len(times) * 0.8)]
    valid_ms = np.sort(times[times < test_ms])[(times < test_ms).sum() - round(len(times) * 0.1)]
    for queries, low, high in ((found.validation, valid_ms, test_ms), (found.test, test_ms, times.max() + 1)):
        held = np.flatnonzero((times >= low) & (times < high))
        assert len(held) > 20
        assert queries.stop.tolist() == held.tolist()
        assert queries.now_ms.tolist() == times[held].tolist()
        assert queries.target_idx.tolist() == store.item_idx[held].tolist()
        assert (store.user_offsets[queries.user_idx] == queries.start).all()
    in_train = np.concatenate([np.arange(a, b) for a, b in zip(found.train.start, found.train.stop)])
    assert in_train.tolist() == np.flatnonzero(times < valid_ms).tolist()


def test_a_user_unseen_in_training_is_still_asked(make_store):
    log = log_of("abcdefgh", "xy", times={"abcdefgh": list(range(8)), "xy": [8, 9]})
    store = make_store(log)
    found = split(store, GlobalTime(test_share=0.2, valid_share=0.2))
    assert asked(store, found.test) == {("xy", "", "x"), ("xy", "x", "y")}
    assert found.certificate.facts["cold_user_share"] == 1
    assert found.certificate.facts["cold_target_share"] == 1


def test_borders_by_date_and_a_limit_of_targets(make_store):
    store = make_store(log_of("abcdefgh"))
    config = GlobalTime(
        valid_from="2023-11-15T01:13:20", test_from="2023-11-15T02:13:20Z", test_until=1_700_000_000_000 + 7 * HOUR
    )
    found = split(store, config)
    assert asked(store, found.validation) == {("abcdefgh", "abc", "d")}
    assert len(found.test) == 3
    limited = split(store, GlobalTime(valid_from=config.valid_from, test_from=config.test_from, max_targets_per_user=2))
    assert asked(store, limited.test) == {("abcdefgh", "abcd", "e"), ("abcdefgh", "abcde", "f")}


def test_rolling_windows_end_with_the_log(make_store):
    store = make_store(log_of("abcdefgh"))
    parts = [split(store, config) for config in Rolling(num_windows=2, window="2h").splits(store.time_ms)]
    assert [asked(store, p.test) for p in parts] == [
        {("abcdefgh", "abcd", "e"), ("abcdefgh", "abcde", "f")},
        {("abcdefgh", "abcdef", "g"), ("abcdefgh", "abcdefg", "h")},
    ]
    assert [trained(store, p) for p in parts] == [{"ab"}, {"abcd"}]


def test_given_parts_from_a_column_and_from_an_array(tmp_path):
    log = log_of("abcd", "xyz").with_columns(part=pl.Series([0, 0, 1, 2, 0, 2, 2]))
    read = EventLog.read(log, columns=Columns(features=("part",)), time_unit="ms")
    store = SequenceStore.build(read, tmp_path / "store")
    found = split(store, Given(column="part"))
    assert trained(store, found) == {"ab", "x"}
    assert asked(store, found.validation) == {("abcd", "ab", "c")}
    assert asked(store, found.test) == {("abcd", "abc", "d"), ("xyz", "x", "y"), ("xyz", "xy", "z")}
    again = split(store, Given(), parts=np.array([0, 0, 1, 2, 0, 2, 2]))
    assert again.certificate.hash == found.certificate.hash
    with pytest.raises(UnknownNameError, match="no feature column of the store is named 'prat'; did you mean part"):
        split(store, Given(column="prat"))
    with pytest.raises(DataError, match=r"given parts of user xyz .* must rise in time: training, validation, test"):
        split(store, Given(), parts=np.array([0, 0, 1, 2, 0, 2, 1]))
    with pytest.raises(DataError, match=r"given parts \(2 rows\) must be 0, 1 or 2 for each of 7 events"):
        split(store, Given(), parts=np.array([0, 1]))
    with pytest.raises(ConfigError, match="parts must be given to Given"):
        split(store, LeaveOneOut(), parts=np.zeros(7))


@pytest.mark.parametrize("config", [GlobalTime(), LeaveOneOut(), LastSession(), LastSession(targets="all")], ids=str)
@pytest.mark.parametrize("ties", ["file", "set"])
def test_no_part_sees_another(make_store, random_log, config, ties):
    store = make_store(random_log, ties=ties)
    found = split(store, config)
    assert len(found.test) > 10
    assert len(found.validation) > 10
    stop_of = dict(zip(found.train.user_idx.tolist(), found.train.stop.tolist()))
    for queries in (found.validation, found.test):
        first = queries.target_idx[queries.target_offsets[:-1]]
        assert (queries.stop >= [stop_of.get(u, 0) for u in queries.user_idx.tolist()]).all()
        if ties == "set":
            last = store.time_ms[np.maximum(queries.stop - 1, 0)]
            assert (last < queries.now_ms)[queries.stop > queries.start].all()
        else:
            if config != LastSession(targets="all"):
                assert (store.item_idx[queries.stop] == first).all()
            assert (store.time_ms[queries.stop] == queries.now_ms).all()


def test_sessions_that_share_an_instant_stay_apart_where_ties_are_a_set(make_store):
    log = log_of("abcd", times={"abcd": [0, 1, 1, 1]}).with_columns(session_id=pl.Series([1, 2, 3, 3]))
    store = make_store(log, ties="set", sessions=GivenSessions())
    found = split(store, LastSession(targets="first"))
    assert {h for _, h, _ in asked(store, found.test)} == {"a"}


def test_requests_follow_the_borders_of_time(make_store, shown_log):
    store = make_store(shown_log)
    found = split(store, GlobalTime())
    moments = store.exposures.request_time_ms
    sizes = [len(r) for r in (found.train_requests, found.validation_requests, found.test_requests)]
    assert sum(sizes) == len(moments) == 150
    assert min(sizes) > 5
    assert moments[found.train_requests].max() < moments[found.validation_requests].min()
    assert moments[found.validation_requests].max() < moments[found.test_requests].min()
    assert (np.diff(moments[found.test_requests]) >= 0).all()


def test_requests_follow_each_users_own_borders(make_store, shown_log):
    store = make_store(shown_log)
    found = split(store, LeaveOneOut())
    user, moment = store.exposures.request_user, store.exposures.request_time_ms
    valid, test = (dict(zip(q.user_idx.tolist(), q.now_ms.tolist())) for q in (found.validation, found.test))
    for part, requests in enumerate((found.train_requests, found.validation_requests, found.test_requests)):
        assert len(requests) > 1
        for r in requests:
            borders = valid[int(user[r])], test[int(user[r])]
            assert sum(moment[r] >= border for border in borders) == part


@pytest.mark.parametrize("with_ids", [False, True], ids=["moments", "request ids"])
def test_a_list_that_a_held_out_event_answers_is_not_of_an_earlier_part(make_store, with_ids):
    # Lists of three are shown each hour, and what is chosen is an event five seconds later, or a row of the list with its own time.
    rows = []
    for user in range(2):
        for k, chosen in enumerate("abca"):
            begin = 1_700_000_000_000 + k * HOUR
            for item in ("x", "y", chosen):
                later = 5000 if with_ids and item == chosen else 0
                rows.append((user, item, begin + later, "shown", float(item == chosen), 100 * user + k))
            if not with_ids:
                rows.append((user, chosen, begin + 5000, "click", None, None))
    frame = pl.DataFrame(
        rows, schema=["user_id", "item_id", "timestamp", "event", "label", "request_id"], orient="row", strict=False
    ).with_columns(pl.col("label").cast(pl.Float32))
    history = HistoryRule() if with_ids else HistoryRule(events=("click",))
    store = make_store(frame if with_ids else frame.drop("request_id"), history=history)
    exposures, names = store.exposures, store.items.ids.to_list()

    def chosen_from(requests):
        found = []
        for r in requests:
            row = slice(exposures.offsets[r], exposures.offsets[r + 1])
            found += [names[i] for i, y in zip(exposures.item_idx[row], exposures.label[row]) if y > 0]
        return "".join(sorted(found))

    for rule, parts in (
        (LeaveOneOut(), ("aabb", "cc", "aa")),
        (LeaveOneOut(train_on_validation=True), ("aabbcc", "", "aa")),
        (Given(), ("aabb", "cc", "aa")),
        (
            GlobalTime(valid_from=1_700_000_000_000 + 2 * HOUR + 2500, test_from=1_700_000_000_000 + 3 * HOUR + 2500),
            ("aabb", "cc", "aa"),
        ),
    ):
        given = np.tile([0, 0, 1, 2], 2) if isinstance(rule, Given) else None
        found = split(store, rule, parts=given)
        assert (
            tuple(chosen_from(part) for part in (found.train_requests, found.validation_requests, found.test_requests))
            == parts
        ), rule


def test_given_parts_of_any_integers_must_rise(make_store):
    store = make_store(log_of("abcd"))
    for kind in (np.int64, np.uint8):
        with pytest.raises(DataError, match="a later event is in an earlier part"):
            split(store, Given(), parts=np.array([0, 2, 1, 2], dtype=kind))


def test_what_is_refused(make_store):
    store = make_store(log_of("abcd", "xy"))
    with pytest.raises(ConfigError, match=r"test_share \(1.0\) must lie between 0 and 1"):
        GlobalTime(test_share=1.0)
    with pytest.raises(ConfigError, match=r"test_share \+ valid_share \(1.1\) must be below 1"):
        GlobalTime(test_share=0.6, valid_share=0.5)
    with pytest.raises(ConfigError, match=r"targets \(next\) must be one of first, last, successive, all"):
        LastSession(targets="next")
    with pytest.raises(ConfigError, match=r"max_targets_per_user \(3\) must be None where targets \(last\)"):
        GlobalTime(targets="last", max_targets_per_user=3)
    with pytest.raises(ConfigError, match=r"max_targets_per_user \(0\) must be at least 1"):
        GlobalTime(max_targets_per_user=0)
    with pytest.raises(ConfigError, match=r"test_from \(tomorrow\) must be an ISO date-time"):
        GlobalTime(test_from="tomorrow")
    with pytest.raises(ConfigError, match=r"num_windows \(0\) must be at least 1"):
        Rolling(num_windows=0, window="1d")
    with pytest.raises(ConfigError, match=r"window \(0d\) must be longer than 0"):
        Rolling(num_windows=1, window="0d")
    with pytest.raises(ConfigError, match="must rise"):
        split(store, GlobalTime(valid_from="2024-01-02", test_from="2024-01-01"))
    with pytest.raises(DataError, match=r"training part \(0 events\) must hold at least one event"):
        split(store, GlobalTime(valid_from=0, test_from=1))
    with pytest.raises(DataError, match=r"test part \(0 targets\) of GlobalTime\(.*\) must hold at least one"):
        split(store, GlobalTime(valid_from="2024-01-01", test_from="2024-01-02"))


def test_a_border_without_a_zone_is_utc():
    assert border_ms("x", "2024-01-01") == border_ms("x", "2024-01-01T00:00:00Z") == 1_704_067_200_000
    assert border_ms("x", None) is None
