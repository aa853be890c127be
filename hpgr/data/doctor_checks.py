"""The doctor's questions to the history of a valid log: global counts by streaming, the rest on a sample of users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from hpgr.core.units import human_bytes
from hpgr.data.event_files import event_dtype
from hpgr.data.finding import Finding
from hpgr.data.log import EventLog
from hpgr.data.log_checks import ORDER
from hpgr.data.order_audit import audit_order
from hpgr.data.ordering import canonical_codes, repeats, settle_ties, stable_codes
from hpgr.data.store_plan import StorePlan

_SAMPLE_EVENTS = 5_000_000
_DAY_MS = 86_400_000
_BUSY_DAY = 1000
_TEST_SHARE = 0.1
_MANY = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counted:
    """Events, first and last time of each user and each item."""

    users: pl.DataFrame
    items: pl.DataFrame
    num_events: int
    cut_ms: int
    num_future: int
    whole_days: bool


def history_findings(log: EventLog, plan: StorePlan, now_ms: int, *, shuffle: bool = False) -> list[Finding]:
    """Risks and notes of what would be history; with ``shuffle`` also what shuffling it leaves."""
    rows = plan.history.rows(log)
    history = rows.filter("is_history")
    counted = _counted(history, now_ms)
    sample, share = _sampled(history, log, plan, counted)
    timed = log.time_unit != ORDER
    found = [*_population(counted, timed)]
    found += [*_time(counted), *_busy_days(history, counted), *_leak(sample)] if timed else []
    found += [*_busiest(counted), *_repeated(sample, plan)]
    sample = _as_stored(sample, plan)
    found += [*_order(sample, plan), *_cut_sessions(sample, plan)]
    if shuffle:
        found += _shuffled(sample, plan)
    if log.facts.num_labelled:
        found += _shown(rows)
    if share < 1:
        about = f"duplicates, ties, repeats, sessions and order are counted on {share:.0%} of the events, whole users"
        found.append(Finding("note", "sample", about))
    size = event_dtype(plan.fields(log)).itemsize * counted.num_events
    found.append(
        Finding("note", "memory", f"the store takes about {human_bytes(size)} on disk; it is mapped, not loaded")
    )
    return found


def _graded(is_risk: bool, code: str, message: str) -> Finding:
    return Finding("risk" if is_risk else "note", code, message)


def _counted(history: pl.LazyFrame, now_ms: int) -> _Counted:
    time = pl.col("time_ms")
    seen = [pl.len().alias("events"), time.min().alias("first"), time.max().alias("last")]
    users, items, total = pl.collect_all(
        [
            history.group_by("user").agg(seen),
            history.group_by("item").agg(seen),
            history.select(
                pl.len().alias("events"),
                time.quantile(1 - _TEST_SHARE, interpolation="higher").alias("cut"),
                (time > now_ms).sum().alias("future"),
                (time % _DAY_MS == 0).all().alias("whole_days"),
            ),
        ],
        engine="streaming",
    )
    facts = total.row(0, named=True)
    return _Counted(
        users=users,
        items=items,
        num_events=facts["events"],
        cut_ms=int(facts["cut"]),
        num_future=facts["future"],
        whole_days=facts["whole_days"],
    )


def _sampled(history: pl.LazyFrame, log: EventLog, plan: StorePlan, counted: _Counted) -> tuple[pl.DataFrame, float]:
    """Events of whole users in their order, and the share of all events that they are."""
    users = counted.users.select("user", "events").sort("user")
    keep = users.sample(fraction=1.0, shuffle=True, seed=1).filter(pl.col("events").cum_sum() <= _SAMPLE_EVENTS)
    names = ["user", "item", "time_ms", "action_name", *(name for name in ("tie", "session") if name in log.roles)]
    chosen = history.select(names)
    if len(keep) < len(users):
        chosen = chosen.join(keep.select("user").lazy(), on="user", how="semi", maintain_order="left")
    sample = chosen.collect(engine="streaming")
    return sample.sort("user", "time_ms", maintain_order=True), len(sample) / counted.num_events


def _records(sample: pl.DataFrame, plan: StorePlan) -> np.ndarray:
    """The sample as a build sorts it, with the row of each."""
    names = ["tie"] if "tie" in sample.columns else []
    names += ["session"] if plan.sessions.needs_codes else []
    kinds = event_dtype(dict.fromkeys([*names, "row"], np.int64))
    records = np.zeros(len(sample), dtype=kinds)
    for name, column in (("user", "user"), ("item", "item"), ("tie", "tie")):
        if name in names or name != "tie":
            records[name] = sample[column].rank("dense").to_numpy() - 1
    if "session" in names:
        records["session"] = stable_codes(sample["session"])
    records["time"] = sample["time_ms"].to_numpy()
    records["action"] = sample["action_name"].fill_null("").rank("dense").to_numpy().astype(np.uint16).view(np.int16)
    records["row"] = np.arange(len(sample))
    return records


def _as_stored(sample: pl.DataFrame, plan: StorePlan) -> pl.DataFrame:
    """The sample in the order of the store, without the duplicates that it drops."""
    records = _records(sample, plan)
    if plan.ties != "file":
        records = settle_ties(records, canonical_codes(sample["item"].unique().sort()))
    if plan.history.duplicates == "drop":
        records = records[~repeats(records)]
    return sample[records["row"]]


def _population(counted: _Counted, timed: bool) -> Iterator[Finding]:
    users, items = counted.users, counted.items
    num_users, num_items, events = len(users), len(items), counted.num_events
    yield Finding("note", "size", f"{events} history events of {num_users} users with {num_items} items")
    if num_items == 1:
        yield Finding("error", "one_item", f"items ({num_items}) must be at least 2; there is nothing to rank")
    single = users.filter(pl.col("events") == 1).height
    if single == num_users:
        rule = "must have at least two events for some user; there is no sequence to learn"
        yield Finding("error", "single_events", f"users ({num_users}, each with one event) {rule}")
    elif single:
        yield Finding("risk", "single_events", f"{single} of {num_users} users have one event: they train nothing")
    if not timed:
        return
    cut = counted.cut_ms
    for kind, table in (("user", users), ("item", items)):
        late = table.filter(pl.col("last") >= cut)
        new = late.filter(pl.col("first") >= cut).height
        about = f"{new} of {late.height} {kind}s in the last {_TEST_SHARE:.0%} of the events are not seen before"
        yield _graded(new > _MANY * late.height, f"cold_{kind}s", about)


def _time(counted: _Counted) -> Iterator[Finding]:
    if counted.num_future:
        yield Finding("risk", "future", f"{counted.num_future} events lie in the future; check the unit and the zone")
    if counted.whole_days:
        about = "all times are midnights: the order inside a day is unknown; use sessions 'day' and ties 'set'"
        yield Finding("risk", "whole_days", about)


def _leak(sample: pl.DataFrame) -> Iterator[Finding]:
    is_last = (pl.col("user") != pl.col("user").shift(-1)).fill_null(True)
    test = sample.filter(is_last)["time_ms"].sort()
    train = sample.filter(~is_last)["time_ms"].sort()
    if not len(train):
        return
    later = len(train) - train.search_sorted(test, side="right").to_numpy()
    share = float(np.mean(later) / len(train))
    about = f"under leave-one-out {share:.0%} of the training events lie after a test event on average; split by time"
    yield _graded(share > _MANY, "leave_one_out_leak", about)


def _busiest(counted: _Counted) -> Iterator[Finding]:
    busiest = counted.users.sort("events", "user", descending=True).row(0, named=True)
    share = busiest["events"] / counted.num_events
    if share > _MANY and len(counted.users) > 1 / _MANY:
        about = f"user {busiest['user']} has {share:.0%} of all events; a bot or a test?"
        yield Finding("risk", "dominant_user", about)


def _busy_days(history: pl.LazyFrame, counted: _Counted) -> Iterator[Finding]:
    busy = counted.users.filter(pl.col("events") > _BUSY_DAY).select("user")
    if not len(busy):
        return
    daily = history.join(busy.lazy(), on="user", how="semi").group_by("user", pl.col("time_ms") // _DAY_MS).len()
    bots = daily.filter(pl.col("len") > _BUSY_DAY).select(pl.col("user").unique()).collect(engine="streaming")["user"]
    if len(bots):
        about = f"{len(bots)} users have more than {_BUSY_DAY} events in a day, {bots.sort()[0]} among them; bots?"
        yield Finding("risk", "bots", about)


def _repeated(sample: pl.DataFrame, plan: StorePlan) -> Iterator[Finding]:
    again = int(repeats(_records(sample, plan)).sum())
    if again:
        what = "dropped" if plan.history.duplicates == "drop" else "kept; duplicates='drop' drops them"
        about = f"{again} events repeat another's user, item, time and event ({what})"
        yield Finding("risk", "duplicates", about)


def _order(sample: pl.DataFrame, plan: StorePlan) -> Iterator[Finding]:
    same = pl.struct("user", "time_ms")
    ties = sample.select(same.is_duplicated().mean()).item()
    order = _POLICY[plan.ties.partition(":")[0]]
    about = f"{ties:.0%} of events share user and time with another; their order is {order}"
    yield _graded(ties > _MANY and plan.ties == "file", "ties", about)
    repeated = 1 - sample.select(pl.struct("user", "item").n_unique()).item() / len(sample)
    about = f"{repeated:.0%} of events repeat an item of the same user; decide whether seen items are excluded"
    yield Finding("note", "repeats", about)


def _cut_sessions(sample: pl.DataFrame, plan: StorePlan) -> Iterator[Finding]:
    lengths = sample.group_by("user", maintain_order=True).len()["len"].to_numpy().astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = stable_codes(sample["session"]) if plan.sessions.needs_codes else None
    starts = plan.sessions.starts(offsets, sample["time_ms"].to_numpy(), codes)
    sizes = np.diff([*np.flatnonzero(starts), len(sample)])
    a_user, size = len(sizes) / len(lengths), float(np.median(sizes))
    about = f"{a_user:.1f} sessions a user, median {size:g} events a session, {np.mean(sizes == 1):.0%} of one event"
    few = a_user < 1.5 or size == 1
    yield _graded(few, "sessions", about + ("; session models gain little here" if few else ""))


def _shuffled(sample: pl.DataFrame, plan: StorePlan) -> Iterator[Finding]:
    lengths = sample.group_by("user", maintain_order=True).len()["len"].to_numpy().astype(np.int64)
    if not (lengths > 1).any():
        return
    offsets, item = np.concatenate([[0], np.cumsum(lengths)]), sample["item"].rank("dense").to_numpy()
    found = audit_order(offsets, item, sample["time_ms"].to_numpy(), ties_known=plan.ties != "set")
    if found.weak:
        yield Finding("risk", "weak_order", f"{found.text}; sequence models gain little here")
    elif plan.ties == "file" and found.of_the_file:
        yield Finding("risk", "file_order", f"{found.text}; much of the order may be that of the file, use ties 'set'")
    else:
        yield Finding("note", "order", found.text)


def _shown(rows: pl.LazyFrame) -> Iterator[Finding]:
    shown = rows.filter(pl.col("label").is_not_null())
    rate = shown.select(pl.len().alias("n"), pl.col("label").mean().alias("rate")).collect(engine="streaming")
    count, mean = rate.row(0)
    about = f"{count} exposures, {mean:.1%} with label 1"
    if mean in (0.0, 1.0):
        yield Finding("risk", "one_label", f"{about}: there is nothing to rank by")
    else:
        yield Finding("note", "exposures", about)


_POLICY = {
    "file": "that of the file, which may be chance; consider ties 'set'",
    "column": "given by a column",
    "set": "declared unknown",
}
