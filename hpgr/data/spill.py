"""Rows parted by the range that their key lies in, on disk, so that each part fits into memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

# Up to here, comparing with every start is faster than a binary search.
_FEW_PARTS = 24


class Spill:
    """Records of one ``dtype`` in parts, in arrival order; part ``p`` takes the keys ``starts[p] … starts[p+1]-1``."""

    def __init__(self, folder: Path, name: str, starts: np.ndarray, dtype: np.dtype) -> None:
        """``starts [P]`` ascending; the first is no larger than any key."""
        self.starts = starts
        self.dtype = dtype
        self._paths = [folder / f"{name}-{part}.spill" for part in range(len(starts))]

    def add(self, keys: np.ndarray, records: np.ndarray) -> None:
        """Append ``records [n]`` to the parts of their ``keys [n]``."""
        if len(self._paths) == 1:
            _append(self._paths[0], records)
            return
        part = self._part(np.ascontiguousarray(keys))
        # NumPy's stable sort is a radix sort for 16 bits only.
        order = np.argsort(part.astype(np.uint16) if len(self._paths) <= 1 << 16 else part, kind="stable")
        ends = np.cumsum(np.bincount(part, minlength=len(self._paths)))
        sorted_records = np.take(records, order)
        for index in np.unique(part):
            _append(self._paths[index], sorted_records[ends[index - 1] if index else 0 : ends[index]])

    def _part(self, keys: np.ndarray) -> np.ndarray:
        if len(self.starts) > _FEW_PARTS:
            return np.searchsorted(self.starts, keys, side="right") - 1
        part = np.zeros(len(keys), dtype=np.uint8)
        for start in self.starts[1:]:
            part += keys >= start
        return part

    def take(self, part: int) -> np.ndarray:
        """The records of one part, which are then forgotten."""
        path = self._paths[part]
        if not path.exists():
            return np.empty(0, dtype=self.dtype)
        records = np.fromfile(path, dtype=self.dtype)
        os.unlink(path)
        return records


def balanced_starts(first_key: int, counts: np.ndarray, limit: int, *, max_keys: int) -> np.ndarray:
    """``[P]`` int64 starts of consecutive ranges of keys with at most ``limit`` rows and ``max_keys`` keys each.

    ``counts [n]`` rows of the keys from ``first_key`` on; one key of more than ``limit`` rows has a range of its own.
    """
    total = np.concatenate([[0], np.cumsum(counts)])
    starts = [0]
    while True:
        start = starts[-1]
        fits = int(np.searchsorted(total, total[start] + limit, side="right")) - 1
        stop = min(max(fits, start + 1), start + max_keys)
        if stop >= len(counts):
            return np.array(starts, dtype=np.int64) + first_key
        starts.append(stop)


def _append(path: Path, records: np.ndarray) -> None:
    with open(path, "ab") as handle:
        handle.write(np.ascontiguousarray(records).view(np.uint8).data)
