"""The sequence store: one folder of memory-mapped columns, events grouped by user and ordered by time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpgr.core.config import from_tree
from hpgr.core.units import human_bytes
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.building import build
from hpgr.data.column_files import map_column, read_manifest, verify_files
from hpgr.data.history_rule import DEFAULT_HISTORY, HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import DEFAULT_SESSIONS, SessionRule
from hpgr.data.store_plan import FORMAT, KIND, StorePlan

_VERIFY_UP_TO = 1 << 30
_SMALL_FILE = 1 << 24
_EXPOSURE_COLUMNS = {
    "request_user": "request_user",
    "request_time_ms": "request_time_ms",
    "request_code": "request_code",
    "offsets": "request_offsets",
    "item_idx": "exposure_item_idx",
    "label": "exposure_label",
}
_EXPOSURE_TIME = "exposure_time_ms"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Exposures:
    """What was shown: ``R`` requests ordered by time, then user; ``E`` items end to end, as ``offsets`` part them.

    ``request_user`` int32 and ``request_time_ms`` int64 ``[R]``; ``offsets`` int64 ``[R+1]``; ``item_idx`` int32 and
    ``label`` float32 ``[E]``. ``request_code`` int64 ``[R]`` stands for the log's request id, 0 where it has none.
    ``time_ms`` int64 ``[E]``: of each item's own row, where requests have ids; their own time is the first of their rows.
    """

    request_user: np.ndarray
    request_time_ms: np.ndarray
    request_code: np.ndarray
    offsets: np.ndarray
    item_idx: np.ndarray
    label: np.ndarray
    time_ms: np.ndarray | None

    def times_ms(self) -> np.ndarray:
        """``[E]`` int64: when each item was shown or chosen."""
        if self.time_ms is not None:
            return np.asarray(self.time_ms)
        return np.repeat(np.asarray(self.request_time_ms), np.diff(self.offsets))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SequenceStore:
    """``N`` events of ``U`` users in ``S`` sessions, read-only.

    ``user_offsets`` int64 ``[U+1]`` and ``session_offsets`` int64 ``[S+1]`` are rows of the event columns: ``item_idx``
    int32, ``time_ms`` int64 UTC, ``action`` int16 (0 unknown, ``i+1`` is ``actions[i]``), ``weight`` float32,
    ``features`` int64 or float32, ``tie`` and ``session_code`` where policy and rule need them. ``item_table [V]`` is
    aligned with ``items``. ``checked`` says what was verified on opening.
    """

    path: Path
    manifest: dict[str, Any]
    users: Vocabulary
    items: Vocabulary
    user_offsets: np.ndarray
    session_offsets: np.ndarray
    item_idx: np.ndarray
    time_ms: np.ndarray
    action: np.ndarray
    weight: np.ndarray | None
    tie: np.ndarray | None
    session_code: np.ndarray | None
    features: dict[str, np.ndarray]
    exposures: Exposures | None
    item_table: pl.DataFrame | None
    session_rule: SessionRule
    checked: str

    @classmethod
    def build(
        cls,
        log: EventLog,
        path: str | Path,
        *,
        sessions: SessionRule = DEFAULT_SESSIONS,
        ties: str = "file",
        items: Any = None,
        history: HistoryRule = DEFAULT_HISTORY,
        memory_mb: int = 1024,
        overwrite: bool = False,
    ) -> SequenceStore:
        """Write the store of ``log`` to ``path`` and open it.

        ``ties`` orders a user's simultaneous events: ``file`` as in the log, ``column:NAME`` by a column, ``set`` in an
        order that does not depend on the log's rows. ``items`` is a table of items: a path or a frame.

        Raises: DataError if the log would corrupt a result, ``path`` exists and is not to be overwritten, or the disk
        is full; nothing is written then.
        """
        plan = StorePlan(sessions=sessions, ties=ties, history=history, memory_mb=memory_mb)
        build(log, Path(path), plan, items=items, overwrite=overwrite)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool | None = None) -> SequenceStore:
        """The store at ``path``; checksums of column files are compared if ``verify``, by default up to 1 GiB.

        Raises: DataError with the remedy if the store is absent, damaged or of another version.
        """
        folder = Path(path)
        remedy = f"rebuild it with: hpgr prepare LOG --out {folder}"
        manifest = read_manifest(folder, KIND, FORMAT, remedy)
        files = manifest["files"]
        size = sum(entry["bytes"] for entry in files.values())
        whole = size <= _VERIFY_UP_TO if verify is None else verify
        checked = verify_files(folder, manifest, whole=whole, small=_SMALL_FILE, remedy=remedy)

        def column(name: str) -> np.ndarray:
            return map_column(folder, f"{name}.bin", files[f"{name}.bin"])

        def optional(name: str) -> np.ndarray | None:
            return column(name) if f"{name}.bin" in files else None

        exposures = None
        if manifest["counts"]["exposures"]:
            columns = {name: column(file) for name, file in _EXPOSURE_COLUMNS.items()}
            exposures = Exposures(**columns, time_ms=optional(_EXPOSURE_TIME))
        table = folder / "item_table.parquet"
        return cls(
            path=folder,
            manifest=manifest,
            users=Vocabulary.load(folder / "users.parquet"),
            items=Vocabulary.load(folder / "items.parquet"),
            user_offsets=column("user_offsets"),
            session_offsets=column("session_offsets"),
            item_idx=column("item_idx"),
            time_ms=column("time_ms"),
            action=column("action"),
            weight=optional("weight"),
            tie=optional("tie"),
            session_code=optional("session_code"),
            features={name: column(f"feature_{i}") for i, name in enumerate(manifest["features"])},
            exposures=exposures,
            item_table=pl.read_parquet(table) if table.name in files else None,
            session_rule=from_tree(manifest["sessions"]),
            checked=checked if whole else f"{checked}; verify=True compares all of {human_bytes(size)}",
        )

    @property
    def ties(self) -> str:
        """The tie policy: ``file``, ``set`` or ``column:NAME``."""
        return self.manifest["ties"]

    @property
    def timed(self) -> bool:
        """Whether the log had times; if not, ``time_ms`` tells the order of a user's events and nothing else."""
        return self.manifest.get("timed", True)

    @property
    def actions(self) -> list[str]:
        """Names of the actions 1, 2 …"""
        return self.manifest["actions"]

    @property
    def num_users(self) -> int:
        return len(self.user_offsets) - 1

    @property
    def num_items(self) -> int:
        return len(self.items)

    @property
    def num_events(self) -> int:
        return len(self.item_idx)

    @property
    def num_sessions(self) -> int:
        return len(self.session_offsets) - 1
