"""Stochastic length: long training windows are often read thinned, so that attention costs O(N^alpha) and not O(N²).

Zhai et al., ICML 2024, arXiv:2402.17152, section 3.2. Departs: a window's newest event always stays, for the window is asked at it.
"""

from __future__ import annotations

import numpy as np
import torch

from hpgr.core.batch import History

_TINY = 1e-300


def thin_length(max_len: int, alpha: float) -> int:
    """Events of a thinned window: ``max_len ** (alpha / 2)``, rounded down.

    >>> thin_length(4096, 1.6), thin_length(200, 2.0)
    (776, 200)
    """
    return int(max_len ** (alpha / 2))


def kept_lengths(lengths: np.ndarray, thin_len: int, draw: np.ndarray) -> np.ndarray:
    """``[W]`` int64: ``thin_len`` with probability ``1 - thin_len² / n²`` where ``n`` in ``lengths [W]`` is longer, else ``n``.

    ``draw [W]``: uniform in [0, 1).

    >>> kept_lengths(np.array([3, 4, 8, 8]), 4, np.array([0.9, 0.9, 0.24, 0.25])).tolist()
    [3, 4, 8, 4]
    """
    full = draw * lengths.astype(np.float64) ** 2 < float(thin_len) ** 2
    return np.where(full, lengths, np.minimum(lengths, thin_len))


def kept_events(time_ms: np.ndarray, offsets: np.ndarray, kept: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """``[T]`` bool: ``kept [B]`` events of each row, drawn without replacement by weight ``1 - f / sum(f)``, newest included.

    ``f`` is the time from an event ``time_ms [T]`` to its row's newest; rows are ``offsets [B+1]`` apart and not empty.
    ``draw [T]``: uniform in [0, 1).

    Source of the draw: Efraimidis & Spirakis, Information Processing Letters 97, 2006.
    """
    row = np.repeat(np.arange(len(kept)), np.diff(offsets))
    newest = offsets[1:] - 1
    since = (time_ms[newest][row] - time_ms).astype(np.float64)
    weight = 1 - since / np.maximum(np.bincount(row, since, minlength=len(kept)), 1)[row]
    place = -np.log(np.maximum(draw, _TINY)) / np.maximum(weight, _TINY)
    place[newest] = -1
    order = np.lexsort((place, row))
    keep = np.empty(len(row), dtype=bool)
    keep[order] = np.arange(len(row)) - offsets[:-1][row] < kept[row]
    return keep


def thinned(history: History, keep: np.ndarray) -> History:
    """The history of the events in ``keep [T]`` bool, each user's newest among them; what is asked stays."""
    return history.keeping(torch.from_numpy(keep))
