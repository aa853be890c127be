"""The events of a store: parted by user, put in order part by part, cut into sessions, appended to column files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpgr.data.column_files import ColumnWriter
from hpgr.data.ordering import MAX_USERS_IN_PART, merged, repeats, settle_ties
from hpgr.data.sessions import SessionRule
from hpgr.data.spill import Spill, balanced_starts

OldEvents = Callable[[int, int], np.ndarray]
"""Records of the users ``start … stop-1`` that a store has already."""


def event_dtype(columns: dict[str, Any]) -> np.dtype:
    """A record of an event; ``columns`` names the optional fields (weight, tie, session, features) and their types."""
    fixed = [("user", "<i4"), ("item", "<i4"), ("time", "<i8"), ("action", "<i2")]
    # Aligned fields are read and written several times faster.
    return np.dtype([*fixed, *((name, np.dtype(kind).newbyteorder("<")) for name, kind in columns.items())], align=True)


def records_of(batch: pl.DataFrame, dtype: np.dtype) -> np.ndarray:
    """The rows of ``batch`` as records; its columns are named like the fields."""
    records = np.empty(len(batch), dtype=dtype)
    for name in dtype.names or ():
        records[name] = batch[name].to_numpy()
    return records


def rows_within(memory_mb: int, dtype: np.dtype) -> int:
    """How many records may be put in order at once: they, their copy in order and the keys take half the budget."""
    return max(1, memory_mb * (1 << 19) // (3 * dtype.itemsize + 64))


class EventFiles:
    """The event columns of one store in the making."""

    def __init__(
        self, folder: Path, scratch: Path, dtype: np.dtype, *, events_of_user: np.ndarray, memory_mb: int
    ) -> None:
        """``events_of_user [U]``: how many will come. ``scratch`` is for what does not fit into memory."""
        limit = rows_within(memory_mb, dtype)
        self._folder = folder
        self._dtype = dtype
        self._num_users = len(events_of_user)
        self._starts = balanced_starts(0, events_of_user, limit, max_keys=MAX_USERS_IN_PART)
        self._spill = Spill(scratch, "events", self._starts, dtype)

    def add(self, batch: pl.DataFrame) -> None:
        """Take rows of history, in file order."""
        records = records_of(batch, self._dtype)
        self._spill.add(records["user"], records)

    def finish(
        self, *, sessions: SessionRule, item_code: np.ndarray | None, drop_repeats: bool, old: OldEvents | None
    ) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
        """Write the columns; ties are settled by ``item_code [V]``, or left in file order for None.

        Returns: the manifest's entries of the files, and the numbers of events, sessions and duplicates.
        """
        names = [name for name in self._dtype.names or () if name != "user"]
        lengths = np.zeros(self._num_users, dtype=np.int64)
        num_repeats, num_events = 0, 0
        with ExitStack() as stack:
            columns = {
                name: stack.enter_context(ColumnWriter(self._folder, file_of(name, names), self._dtype[name]))
                for name in names
            }
            borders = stack.enter_context(ColumnWriter(self._folder, "session_offsets", np.int64))
            for part, (start, stop) in enumerate(zip(self._starts, [*self._starts[1:], self._num_users])):
                known = old(int(start), int(stop)) if old is not None else np.empty(0, dtype=self._dtype)
                records = merged(known, self._spill.take(part), int(start))
                if item_code is not None:
                    records = settle_ties(records, item_code)
                again = repeats(records)
                num_repeats += int(again.sum())
                if drop_repeats:
                    records = np.take(records, np.flatnonzero(~again))
                lengths[start:stop] = np.bincount(records["user"] - start, minlength=stop - start)
                offsets = np.concatenate([[0], np.cumsum(lengths[start:stop])])
                codes = records["session"] if "session" in names else None
                begins = sessions.starts(offsets, np.ascontiguousarray(records["time"]), codes)
                borders.append(num_events + np.flatnonzero(begins))
                for name, column in columns.items():
                    column.append(records[name])
                num_events += len(records)
            borders.append(np.array([num_events]))
            users = stack.enter_context(ColumnWriter(self._folder, "user_offsets", np.int64))
            users.append(np.concatenate([[0], np.cumsum(lengths)]))
        files = {writer.file: writer.entry() for writer in (*columns.values(), borders, users)}
        return files, {"events": num_events, "sessions": borders.length - 1, "duplicates": num_repeats}


def file_of(field: str, fields: Sequence[str]) -> str:
    """The file of one of the ``fields``, without its ending; features are numbered: their names may not fit a file."""
    features = [name for name in fields if name.startswith("feature:")]
    if field in features:
        return f"feature_{features.index(field)}"
    return {"item": "item_idx", "time": "time_ms", "session": "session_code"}.get(field, field)
