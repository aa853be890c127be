"""Which part of a split a list belongs to that was shown: the one of its time, and never one before that of its answer."""

from __future__ import annotations

import numpy as np
import polars as pl

from hpgr.data.ranges import flat_index
from hpgr.data.store import SequenceStore

Segment = tuple[np.ndarray, np.ndarray]


def answered_in(store: SequenceStore, parts: dict[int, Segment]) -> np.ndarray:
    """``[R]`` int64: for each request of a store with exposures the latest part that holds what was chosen from it, else 0.

    ``parts``: by number from 1 the held-out events ``start [U] … stop [U]-1`` of every user. A shown item with a positive label
    was chosen when its user's next event with it came; a list shown before a held-out event and answered by it would tell it.
    """
    exposures = store.exposures
    assert exposures is not None
    found = np.zeros(len(exposures.request_user), dtype=np.int64)
    chosen = np.flatnonzero(np.asarray(exposures.label) > 0)
    request = np.searchsorted(np.asarray(exposures.offsets), chosen, side="right") - 1
    positive = pl.DataFrame(
        {
            "request": request,
            "user": np.asarray(exposures.request_user)[request].astype(np.int64),
            "item": np.asarray(exposures.item_idx)[chosen],
            "time": exposures.times_ms()[chosen],
        }
    )
    held = pl.concat(_events(store, *segment).with_columns(part=part) for part, segment in parts.items())
    asked = positive.join(held, on=["user", "item"], how="semi")
    if not len(asked):
        return found
    user = asked["user"].unique().to_numpy()
    start, stop = np.asarray(store.user_offsets)[:-1].copy(), np.asarray(store.user_offsets)[:-1].copy()
    stop[user] = np.asarray(store.user_offsets)[user + 1]
    events = _events(store, start, stop).join(asked, on=["user", "item"], how="semi")
    answers = asked.sort("time").join_asof(
        events.sort("time", "row"), on="time", by=["user", "item"], strategy="forward", check_sortedness=False
    )
    answered = answers.join(held.select("row", "part"), on="row", how="inner")
    np.maximum.at(found, answered["request"].to_numpy(), answered["part"].to_numpy())
    return found


def _events(store: SequenceStore, start: np.ndarray, stop: np.ndarray) -> pl.DataFrame:
    row = flat_index(start, stop)
    return pl.DataFrame(
        {
            "row": row,
            "user": np.repeat(np.arange(len(start)), stop - start),
            "item": np.asarray(store.item_idx)[row],
            "time": np.asarray(store.time_ms)[row],
        }
    )
