"""New days into a store that exists: old columns are copied, only what is new is put in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpgr.core.errors import DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.atomic_folder import new_folder
from hpgr.data.building import StoreWriter, described, write_tables
from hpgr.data.census import Census, take_census
from hpgr.data.column_files import MANIFEST, write_manifest
from hpgr.data.event_files import event_dtype
from hpgr.data.exposure_files import EXPOSURE, ExposureFiles
from hpgr.data.item_table import item_table
from hpgr.data.log import EventLog
from hpgr.data.log_checks import ORDER
from hpgr.data.store import SequenceStore
from hpgr.data.store_plan import StorePlan

_BLOCK_REQUESTS = 1 << 18


def append(store_path: str | Path, log: EventLog, *, items: Any = None, memory_mb: int = 1024) -> SequenceStore:
    """Put the events of ``log`` into the store at ``store_path`` and open the result.

    It equals a build from both logs, the new one behind the old one, by the plan that the store was built by. ``items``
    replaces the table of items. The store is replaced at once at the end: until then it stays as it was.

    Raises: DataError if the log would corrupt a result or does not have the columns or ids of the store.
    """
    path = Path(store_path)
    store = SequenceStore.open(path, verify=True)
    plan = StorePlan.of_manifest(store.manifest, memory_mb)
    with new_folder(path, marker=MANIFEST, overwrite=True) as folder:
        log = plan.checked(log)
        if list(log.roles) != list(store.manifest["columns"]):
            ours, theirs = (", ".join(roles) for roles in (store.manifest["columns"], log.roles))
            raise DataError(f"columns of {log.name} ({theirs}) must be those of the store {path} ({ours}); convert it")
        if store.timed != (log.time_unit != ORDER):
            kinds = ("times", "an order only") if store.timed else ("an order only", "times")
            raise DataError(
                f"{log.columns.time} of {log.name} ({kinds[1]}) must be as in the store {path} ({kinds[0]}); "
                f"read the log with --time-unit {'s, ms or us' if store.timed else ORDER}"
            )
        grown = _Grown(store, log, plan)
        write = StoreWriter(folder, log, plan, census=grown.census, dtype=grown.dtype)
        files, counts = write.columns(grown.old_events, grown.put_exposures)
        users, vocabulary = (
            Vocabulary(ids.cast(old.ids.dtype))
            for ids, old in ((grown.census.users, store.users), (grown.census.items, store.items))
        )
        files |= write_tables(folder, users, vocabulary, _item_table(store, vocabulary, log, items))
        counts |= {name: store.manifest["counts"][name] + count for name, count in grown.read.items()}
        if plan.history.duplicates == "drop":
            counts["duplicates"] += store.manifest["counts"]["duplicates"]
        manifest = described(log, plan, grown.census.actions) | {"counts": counts, "files": files}
        write_manifest(folder, manifest)
    return SequenceStore.open(path)


class _Grown:
    """A store and a log as one: the joint census, and the old rows under their new indices."""

    def __init__(self, store: SequenceStore, log: EventLog, plan: StorePlan) -> None:
        self._store = store
        self.dtype = event_dtype(_fields(store, log, plan))
        facts = log.facts
        shown_ms = store.exposures.request_time_ms if store.exposures is not None else np.empty(0, dtype=np.int64)
        first = min(facts.min_time_ms, int(shown_ms[0])) if len(shown_ms) else facts.min_time_ms
        last = max(facts.max_time_ms, int(shown_ms[-1])) if len(shown_ms) else facts.max_time_ms
        new = take_census(log, plan.history, first_ms=first, last_ms=last)
        users, self._user, new_user = _joined(store.users.ids, new.users, f"{log.columns.user} of {log.name}")
        items, self._item, _ = _joined(store.items.ids, new.items, f"{log.columns.item} of {log.name}")
        actions = sorted({*store.actions, *new.actions})
        self._action = np.array([0, *(actions.index(name) + 1 for name in store.actions)], dtype=np.int16)
        events, shown = (np.zeros(len(users), dtype=np.int64) for _ in range(2))
        events[self._user] += np.diff(store.user_offsets)
        events[new_user] += new.events_of_user
        shown[new_user] += new.shown_of_user
        shown_at = new.shown_at.copy()
        if store.exposures is not None:
            lengths = np.diff(store.exposures.offsets)
            np.add.at(shown, self._user[store.exposures.request_user], lengths)
            np.add.at(shown_at, (shown_ms - first) // new.span_ms, lengths)
        self.read = {"rows_read": facts.rows, "rows_left_out": facts.rows - new.num_rows}
        self.census = Census(
            users=users,
            items=items,
            events_of_user=events,
            shown_of_user=shown,
            actions=actions,
            num_rows=new.num_rows,
            shown_at=shown_at,
            first_ms=first,
            span_ms=new.span_ms,
        )

    def old_events(self, start: int, stop: int) -> np.ndarray:
        """Records of what the store has of the users ``start … stop-1`` of the joint census."""
        store = self._store
        low, high = np.searchsorted(self._user, [start, stop])
        rows = slice(int(store.user_offsets[low]), int(store.user_offsets[high]))
        records = np.empty(rows.stop - rows.start, dtype=self.dtype)
        lengths = np.diff(store.user_offsets[low : high + 1])
        columns = _further_columns(store)
        for name in self.dtype.names or ():
            if name == "user":
                records[name] = np.repeat(self._user[low:high], lengths)
            elif name == "item":
                records[name] = self._item[store.item_idx[rows]]
            elif name == "time":
                records[name] = store.time_ms[rows]
            elif name == "action":
                records[name] = self._action[store.action[rows]]
            else:
                records[name] = columns[name][rows]
        return records

    def put_exposures(self, files: ExposureFiles) -> None:
        """Add what the store has of exposures, a block at a time."""
        old = self._store.exposures
        if old is None:
            return
        own_ms = old.times_ms()
        for start in range(0, len(old.request_user), _BLOCK_REQUESTS):
            block = slice(start, min(start + _BLOCK_REQUESTS, len(old.request_user)))
            lengths = np.diff(old.offsets[block.start : block.stop + 1])
            rows = slice(int(old.offsets[block.start]), int(old.offsets[block.stop]))
            records = np.empty(rows.stop - rows.start, dtype=EXPOSURE)
            records["user"] = np.repeat(self._user[old.request_user[block]], lengths)
            records["time"] = records["shown"] = own_ms[rows]
            records["request"] = np.repeat(old.request_code[block], lengths)
            records["item"] = self._item[old.item_idx[rows]]
            records["label"] = old.label[rows]
            files.add(records)


def _further_columns(store: SequenceStore) -> dict[str, np.ndarray]:
    """The optional columns of a store by the names of their fields."""
    single = {"weight": store.weight, "tie": store.tie, "session": store.session_code}
    columns = {name: column for name, column in single.items() if column is not None}
    return columns | {f"feature:{name}": column for name, column in store.features.items()}


def _fields(store: SequenceStore, log: EventLog, plan: StorePlan) -> dict[str, Any]:
    """The optional fields of a record in the types of the store; integers of the log may enter its floats."""
    found = {name: np.dtype(kind) for name, kind in plan.fields(log).items()}
    ours = {name: column.dtype for name, column in _further_columns(store).items()}
    for name, kind in found.items():
        if kind.kind == "f" and ours[name].kind == "i":
            column = log.roles[name]
            raise DataError(f"{column} of {log.name} ({kind}) must be of the store's type, {ours[name]}; convert it")
    return {name: ours[name] for name in found}


def _joined(old: pl.Series, new: pl.Series, name: str) -> tuple[pl.Series, np.ndarray, np.ndarray]:
    """All ids, sorted, and the rows of the ``old`` and the ``new`` ones among them."""
    kind = old.dtype if old.dtype.is_integer() else pl.String()
    try:
        new = new.cast(kind) if new.dtype.is_integer() == kind.is_integer() else new.cast(pl.Null)
        new.cast(old.dtype)
    except pl.exceptions.InvalidOperationError:
        raise DataError(f"{name} ({new.dtype}) must be ids of the store's type, {old.dtype}; convert them") from None
    old = old.cast(kind)
    ids = pl.concat([old.rename("id"), new.rename("id")]).unique().sort()
    table = Vocabulary(ids)
    return ids, table.rows(old), table.rows(new)


def _item_table(store: SequenceStore, items: Vocabulary, log: EventLog, source: Any) -> pl.DataFrame | None:
    if source is not None:
        return item_table(source, items.ids, column=log.columns.item)
    return None if store.item_table is None else item_table(store.item_table, items.ids, column="item_id")
