"""Which items a query's history holds."""

from __future__ import annotations

import numpy as np

from hpgr.core.jagged import Jagged


def seen_before(history: Jagged, query: np.ndarray, rows: np.ndarray, num_items: int) -> np.ndarray:
    """Whether ``history`` (item rows of each query) of ``query`` holds the item ``rows``, both of one shape.

    False for rows outside ``0 … V-1``.
    """
    held, owner = history.values.cpu().numpy(), history.row_of().cpu().numpy()
    inside = (held >= 0) & (held < num_items)
    # A sorted search: NumPy's own isin hashes, which is many times slower for keys in such runs.
    keys = np.sort(owner[inside] * num_items + held[inside])
    asked = query * num_items + rows
    if not len(keys):
        return np.zeros(asked.shape, dtype=bool)
    found = keys[np.minimum(np.searchsorted(keys, asked), len(keys) - 1)] == asked
    return found & (rows >= 0) & (rows < num_items)
