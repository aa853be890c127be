"""What was shown to users: rows with a label, grouped into requests, ordered by time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpgr.data.column_files import ColumnWriter
from hpgr.data.event_files import records_of, rows_within
from hpgr.data.spill import Spill, balanced_starts

EXPOSURE = np.dtype(
    [("user", "<i4"), ("item", "<i4"), ("time", "<i8"), ("label", "<f4"), ("request", "<i8"), ("shown", "<i8")],
    align=True,
)
"""``time``: of the request, once it is known; ``shown``: of the row itself."""

_FILES = {
    "request_user": np.int32,
    "request_time_ms": np.int64,
    "request_code": np.int64,
    "request_offsets": np.int64,
    "exposure_item_idx": np.int32,
    "exposure_label": np.float32,
}
_OWN_TIME = "exposure_time_ms"


class ExposureFiles:
    """The exposures of one store in the making; a request is a user's ``request`` id, or one moment of a user."""

    def __init__(
        self, folder: Path, scratch: Path, *, shown_of_user: np.ndarray | None, time_starts: np.ndarray, memory_mb: int
    ) -> None:
        """``shown_of_user [U]`` rows of each user if requests have ids, else None; spans of time by their starts."""
        self._folder = folder
        self._by_time = Spill(scratch, "shown-time", time_starts, EXPOSURE)
        self._num_parts = len(time_starts)
        self._by_user: Spill | None = None
        if shown_of_user is not None:
            starts = balanced_starts(0, shown_of_user, rows_within(memory_mb, EXPOSURE), max_keys=len(shown_of_user))
            self._by_user = Spill(scratch, "shown-user", starts, EXPOSURE)

    def add(self, records: np.ndarray) -> None:
        """Take exposures in file order."""
        if self._by_user is None:
            self._by_time.add(records["time"], records)
        else:
            self._by_user.add(records["user"], records)

    def finish(self, item_code: np.ndarray | None) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
        """Write the columns; the order in a request is that of the file, or of ``item_code [V]``.

        Returns: the manifest's entries of the files, and the numbers of requests and exposures.
        """
        if self._by_user is not None:
            for part in range(len(self._by_user.starts)):
                records = self._by_user.take(part)
                records["time"] = _request_times(records)
                self._by_time.add(records["time"], records)
        num_rows = 0
        with ExitStack() as stack:
            kinds = _FILES if self._by_user is None else _FILES | {_OWN_TIME: np.int64}
            columns = {n: stack.enter_context(ColumnWriter(self._folder, n, kind)) for n, kind in kinds.items()}
            for part in range(self._num_parts):
                records = _in_order(self._by_time.take(part), item_code)
                first = np.flatnonzero(_begins(records))
                columns["request_user"].append(records["user"][first])
                columns["request_time_ms"].append(records["time"][first])
                columns["request_code"].append(records["request"][first])
                columns["request_offsets"].append(num_rows + first)
                columns["exposure_item_idx"].append(records["item"])
                columns["exposure_label"].append(records["label"])
                if self._by_user is not None:
                    columns[_OWN_TIME].append(records["shown"])
                num_rows += len(records)
            columns["request_offsets"].append(np.array([num_rows]))
        counts = {"requests": columns["request_user"].length, "exposures": num_rows}
        return {column.file: column.entry() for column in columns.values()}, counts


def exposures_of(batch: pl.DataFrame) -> np.ndarray:
    """The rows of a batch that were shown, as records; request 0 where the log has none."""
    shown = batch.filter(pl.col("label").is_not_null())
    if "request" not in shown.columns:
        shown = shown.with_columns(request=pl.lit(0, dtype=pl.Int64))
    return records_of(shown.with_columns(shown="time"), EXPOSURE)


def _request_times(records: np.ndarray) -> np.ndarray:
    """``[n]`` int64: the first time of each record's request."""
    frame = pl.DataFrame({name: records[name] for name in ("user", "request", "time")})
    return frame.select(pl.col("time").min().over("user", "request")).to_series().to_numpy()


def _in_order(records: np.ndarray, item_code: np.ndarray | None) -> np.ndarray:
    keys = [records["request"], records["user"], records["time"]]
    if item_code is not None:
        keys = [records["label"], records["item"], item_code[records["item"]], *keys]
    return np.take(records, np.lexsort(keys))


def _begins(records: np.ndarray) -> np.ndarray:
    begins = np.ones(len(records), dtype=bool)
    same = np.ones(max(len(records) - 1, 0), dtype=bool)
    for name in ("time", "user", "request"):
        same &= records[name][1:] == records[name][:-1]
    begins[1:] = ~same
    return begins
