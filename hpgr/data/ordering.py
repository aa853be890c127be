"""The order of events inside a store: by user, by time, and by the declared policy where times are equal."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from hpgr.core.errors import ConfigError
from hpgr.core.seeds import derive

# Times before 2100 take 42 bits in ms; with the user they make one sortable 64-bit key.
_TIME_BITS = 42
MAX_USERS_IN_PART = 1 << 21
_TIE_SEED = 1


def tie_column(ties: str) -> str | None:
    """The column of a policy ``column:NAME``; None for ``file`` and ``set``.

    Raises: ConfigError if the policy is none of these.
    """
    kind, _, name = ties.partition(":")
    if ties in ("file", "set"):
        return None
    if kind != "column" or not name:
        raise ConfigError(f"ties ({ties}) must be file, set or column:NAME")
    return name


def stable_codes(values: pl.Series) -> np.ndarray:
    """``[n]`` int64: equal for equal values, on every machine; integers stand for themselves, null is 0."""
    if values.dtype.is_integer():
        return values.fill_null(0).to_numpy().astype(np.int64)
    distinct = values.unique(maintain_order=True)
    codes = pl.Series(np.array([_code(value) for value in distinct.to_list()], dtype=np.int64))
    return values.replace_strict(distinct, codes, return_dtype=pl.Int64).to_numpy()


def canonical_codes(ids: pl.Series) -> np.ndarray:
    """``[V]`` int64: an arbitrary order of ids that follows neither their values nor any file."""
    seed = derive(_TIE_SEED, "ties")
    return np.array([_code(f"{seed}/{value}") for value in ids.to_list()], dtype=np.int64)


def merged(old: np.ndarray, new: np.ndarray, first_user: int) -> np.ndarray:
    """``old`` records, already in order, and ``new`` ones in arrival order: all by user and time, old before new.

    Users lie in ``first_user … first_user + MAX_USERS_IN_PART - 1``.
    """
    keys = _keys(new, first_user)
    # Polars sorts with all cores; the row number makes the order stable.
    order = pl.DataFrame({"key": keys}).with_row_index("row").sort("key", "row")["row"].to_numpy()
    # np.take moves records several times faster than indexing does.
    if not len(old):
        return np.take(new, order)
    at = np.searchsorted(_keys(old, first_user), keys[order], side="right") + np.arange(len(new))
    source = np.empty(len(old) + len(new), dtype=np.int64)
    is_old = np.ones(len(source), dtype=bool)
    is_old[at] = False
    source[at], source[is_old] = len(old) + order, np.arange(len(old))
    return np.take(np.concatenate([old, new]), source)


def settle_ties(records: np.ndarray, item_code: np.ndarray) -> np.ndarray:
    """``records`` with simultaneous events in canonical order: by ``tie`` and ``session`` where they are, then by ``item_code [V]``.

    Sessions of one moment stay whole. Every other column follows, so that the order of rows in the file is without effect.
    """
    tied = np.flatnonzero(_tied(records))
    if not len(tied):
        return records
    rows = np.take(records, tied)
    names = rows.dtype.names or ()
    rest = [name for name in names if name not in ("user", "time", "tie", "session", "item")]
    levels = [_bits(rows[name]) for name in reversed(rest)] + [rows["item"], item_code[rows["item"]]]
    levels += [rows[name] for name in ("session", "tie") if name in names]
    records = records.copy()
    records[tied] = np.take(rows, np.lexsort([*levels, _keys(rows, int(rows["user"][0]))]))
    return records


def repeats(records: np.ndarray) -> np.ndarray:
    """``[n]`` bool: an earlier record has the same user, time, item and action."""
    found = np.zeros(len(records), dtype=bool)
    tied = np.flatnonzero(_tied(records))
    if not len(tied):
        return found
    rows = np.take(records, tied)
    order = np.lexsort([rows["action"], rows["item"], _keys(rows, int(rows["user"][0]))])
    by = np.take(rows, order)
    same = np.ones(len(by) - 1, dtype=bool)
    for name in ("user", "time", "item", "action"):
        same &= by[name][1:] == by[name][:-1]
    found[tied[order[1:][same]]] = True
    return found


def _keys(records: np.ndarray, first_user: int) -> np.ndarray:
    return ((records["user"].astype(np.int64) - first_user) << _TIME_BITS) | records["time"]


def _tied(records: np.ndarray) -> np.ndarray:
    same = (records["user"][1:] == records["user"][:-1]) & (records["time"][1:] == records["time"][:-1])
    tied = np.zeros(len(records), dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    return tied


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"i{values.dtype.itemsize}")


def _code(value: object) -> int:
    if value is None:
        return 0
    return int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8).digest(), "little", signed=True)
