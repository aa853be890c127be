"""The leaderboard: ``leaderboard.json`` and one static page, the same bytes from the same cards."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpgr.evaluation.intervals import Interval
from hpgr.evaluation.leaderboard_page import page
from hpgr.evaluation.standing_row import Row
from hpgr.evaluation.standings import Standing
from hpgr.evaluation.writing import write_whole

SCHEMA = 1
PAGE_FILE, DATA_FILE = "index.html", "leaderboard.json"


def write_leaderboard(tables: Sequence[Standing], folder: Path, *, title: str = "Leaderboard") -> None:
    """Write ``leaderboard.json`` and ``index.html`` to ``folder``, each whole or not at all."""
    text = json.dumps(leaderboard_tree(tables, title=title), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / DATA_FILE, text.encode() + b"\n")
    write_whole(folder / PAGE_FILE, page(tables, title=title).encode())


def leaderboard_tree(tables: Sequence[Standing], *, title: str = "Leaderboard") -> dict[str, Any]:
    """What the page says, as JSON values; numbers that are not finite are null."""
    return {"schema": SCHEMA, "title": title, "tables": [_table(table) for table in tables]}


def _table(table: Standing) -> dict[str, Any]:
    card = table.card
    protocol = card.protocol
    return {
        "name": table.name,
        "question": table.question,
        "certificate": card.certificate.hash,
        "protocol": {
            "candidates": protocol.candidates,
            "seen": protocol.seen,
            "targets": protocol.targets,
            "ties": protocol.ties,
        },
        "metrics": table.metrics,
        "rows": [_row(row) for row in table.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "model": row.label,
        "below": list(row.below),
        "metrics": {name: _interval(found, row.spread.get(name)) for name, found in row.metrics.items()},
        "seeds": list(row.seeds),
        "trials": row.trials,
        "budget": row.budget,
        "training_s": row.training_s,
        "peak_memory_bytes": row.peak_memory_bytes,
        "num_parameters": row.num_parameters,
        "commits": list(row.commits),
        "hardware": list(row.hardware),
        "date": row.date,
    }


def _interval(found: Interval, spread: float | None) -> dict[str, Any]:
    values = {"value": found.value, "low": found.low, "high": found.high, "spread": spread}
    return {n: v if v is not None and math.isfinite(v) else None for n, v in values.items()} | {
        "users": found.num_users
    }
