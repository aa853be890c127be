"""The certificate names the questions, whatever the order of rows and our numbering."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import DataError
from hpgr.data import digests
from hpgr.data.certificate import Certificate, same
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime, LastSession, LeaveOneOut

RULES = [GlobalTime(), LeaveOneOut(), LastSession(targets="all")]


@pytest.mark.parametrize("config", RULES, ids=str)
@pytest.mark.parametrize("ties", ["set", "column:order"])
def test_shuffled_rows_give_the_same_certificate(make_store, random_log, config, ties):
    log = random_log.with_columns(order=pl.Series(np.random.default_rng(1).permutation(len(random_log))))
    mixed = log.sample(fraction=1, shuffle=True, seed=3)
    one, other = (split(make_store(frame, ties=ties), config).certificate for frame in (log, mixed))
    assert one == other


@pytest.mark.parametrize(("ties", "counts"), [("file", True), ("column:order", True), ("set", False)])
def test_the_order_inside_an_instant_counts_only_where_it_is_declared(make_store, ties, counts):
    """The histories ``abc`` and ``acb`` of the target ``d``, where b and c are simultaneous."""
    log = pl.DataFrame(
        {
            "user_id": [1] * 4,
            "item_id": list("abcd"),
            "timestamp": [10**12 + i for i in (0, 1, 1, 2)],
            "order": range(4),
        }
    )
    swapped = log.with_columns(item_id=pl.Series(list("acbd")))
    one, other = (split(make_store(frame, ties=ties), LeaveOneOut()).certificate for frame in (log, swapped))
    assert one.facts["queries"] == 1
    assert (one.hash != other.hash) is counts


def test_any_change_of_what_is_asked_changes_the_hash(make_store, random_log):
    base = split(make_store(random_log, ties="set"), GlobalTime()).certificate
    first = pl.int_range(pl.len()) == pl.arg_where(pl.col("timestamp") == pl.col("timestamp").min()).first()
    changed = {
        "user": random_log.with_columns(user_id=pl.col("user_id").str.replace("^u1$", "u99")),
        "item": random_log.with_columns(item_id=pl.when(first).then(pl.lit("i99")).otherwise("item_id")),
        "time": random_log.with_columns(timestamp=pl.col("timestamp") + pl.when(first).then(1).otherwise(0)),
        "history": random_log.filter(~first),
    }
    borders = {"valid_from": None, "test_from": None}
    hashes = {
        name: split(make_store(log, ties="set"), GlobalTime(**borders)).certificate.hash
        for name, log in changed.items()
    }
    assert len({base.hash, *hashes.values()}) == 5


def test_ids_are_hashed_by_value_not_by_row(make_store):
    log = pl.DataFrame(
        {"user_id": [1, 1, 1], "item_id": [5, 6, 7], "timestamp": [1_700_000_000_000 + i for i in range(3)]}
    )
    alone = split(make_store(log), LeaveOneOut()).certificate
    # A one-event user asks nothing, but moves the rows of users and items.
    other = log.vstack(pl.DataFrame({"user_id": [0], "item_id": [1], "timestamp": [1_700_000_000_000]}))
    assert split(make_store(other), LeaveOneOut()).certificate.hash == alone.hash
    as_text = log.with_columns(pl.col("user_id", "item_id").cast(pl.String))
    assert split(make_store(as_text), LeaveOneOut()).certificate.hash == alone.hash


def test_the_pieces_of_the_pass_do_not_matter(make_store, random_log, monkeypatch):
    store = make_store(random_log)
    whole = split(store, GlobalTime()).certificate
    monkeypatch.setattr(digests, "_CHUNK_EVENTS", 7)
    assert split(store, GlobalTime()).certificate == whole


def test_shown_items_and_labels_are_part_of_it(make_store, shown_log):
    base = split(make_store(shown_log), GlobalTime())
    assert base.certificate.facts["requests"] == len(base.test_requests) > 5
    last = pl.col("request_id") == shown_log.sort("timestamp").filter(pl.col("label") == 0)["request_id"][-1]
    other = shown_log.with_columns(
        item_id=pl.when(last & (pl.col("label") == 0)).then((pl.col("item_id") + 1) % 25).otherwise("item_id")
    )
    assert split(make_store(other), GlobalTime()).certificate.hash != base.certificate.hash


def test_facts_by_hand(make_store):
    rows = [("a", "x", 0), ("a", "y", 1), ("a", "x", 9), ("b", "x", 2), ("b", "z", 3), ("b", "x", 3), ("c", "z", 8)]
    log = pl.DataFrame(
        [(u, i, 1_700_000_000_000 + t * 1000) for u, i, t in rows],
        schema=["user_id", "item_id", "timestamp"],
        orient="row",
    )
    facts = split(
        make_store(log), GlobalTime(valid_from=1_700_000_005_000, test_from=1_700_000_008_000)
    ).certificate.facts
    assert facts["queries"] == facts["targets"] == 2
    assert (facts["users"], facts["users_without_target"], facts["items"]) == (2, 1, 3)
    assert (facts["train_users"], facts["train_events"]) == (2, 5)
    assert facts["tied_events_share"] == pytest.approx(2 / 7)
    assert (facts["cold_user_share"], facts["cold_target_share"], facts["repeat_target_share"]) == (0.5, 0.0, 0.5)
    assert facts["train_later_than_a_test_event_share"] == 0
    # The first test event is b's, at 3 s; training holds a's x at 0 s and b's nothing later.
    loo = split(make_store(log), LeaveOneOut()).certificate.facts
    assert (loo["users"], loo["users_without_target"]) == (2, 1)
    assert loo["train_later_than_a_test_event_share"] == 0


def test_leave_one_out_trains_on_events_later_than_a_test_event_and_says_so(make_store):
    times = {"a": [0, 1, 2], "b": [5, 6, 7, 8]}
    rows = [(u, f"{u}{t}", 1_700_000_000_000 + t * 1000) for u, moments in times.items() for t in moments]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    facts = split(make_store(log), LeaveOneOut()).certificate.facts
    assert facts["train_later_than_a_test_event_share"] == pytest.approx(2 / 3)


def test_unlike_certificates_refuse_to_be_compared_and_json_keeps_them():
    one, other = (Certificate(hash=h * 64, facts={"queries": 3}) for h in "ab")
    same(one, Certificate.from_json(one.to_json()))
    assert Certificate.from_json(one.to_json()) == one
    with pytest.raises(
        DataError, match=r"certificates \(a{16} and b{16}\) must be the same for results to be compared"
    ):
        same(one, other)
    with pytest.raises(DataError, match=r"certificate \(unreadable\) must be what hpgr wrote"):
        Certificate.from_json("[]")
