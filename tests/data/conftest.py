"""Small stores for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hpgr.data.log import EventLog
from hpgr.data.store import SequenceStore

BEGIN_MS = 1_700_000_000_123


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., SequenceStore]:
    """``make_store(frame, ties=..., sessions=..., items=...)``: the store of a frame whose times are ms."""
    number = iter(range(1000))

    def make(frame: pl.DataFrame, **options: Any) -> SequenceStore:
        return SequenceStore.build(EventLog.read(frame, time_unit="ms"), tmp_path / f"store{next(number)}", **options)

    return make


@pytest.fixture
def random_log() -> pl.DataFrame:
    """600 events of 30 users with 40 items in two days, many of them simultaneous; string ids, ms times."""
    rng = np.random.default_rng(5)
    return pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in rng.integers(0, 30, 600)],
            "item_id": [f"i{i}" for i in np.minimum(rng.zipf(1.3, 600), 40)],
            "timestamp": BEGIN_MS + rng.integers(0, 96, 600) * 1_800_001,
            "event": rng.choice(["read", "like"], 600),
        }
    )


@pytest.fixture
def shown_log() -> pl.DataFrame:
    """300 events and 150 requests of 4 shown items, one chosen, of 20 users and 25 items."""
    rng = np.random.default_rng(6)
    events = pl.DataFrame(
        {
            "user_id": rng.integers(0, 20, 300),
            "item_id": rng.integers(0, 25, 300),
            "timestamp": BEGIN_MS + rng.integers(0, 172_800, 300) * 1000,
            "label": np.full(300, None, dtype=object),
            "request_id": np.full(300, None, dtype=object),
        },
        schema_overrides={"label": pl.Float32, "request_id": pl.Int64},
    )
    moments = BEGIN_MS + rng.integers(0, 1728, 150) * 100_000
    shown = pl.DataFrame(
        {
            "user_id": np.repeat(rng.integers(0, 20, 150), 4),
            "item_id": np.concatenate([rng.choice(25, 4, replace=False) for _ in range(150)]),
            "timestamp": np.repeat(moments, 4),
            "label": np.tile(np.array([0, 1, 0, 0], dtype=np.float32), 150),
            "request_id": np.repeat(np.arange(150), 4),
        }
    )
    return pl.concat([events, shown])
