"""What a store is to be, and the fields that its columns then have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError, DataError
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.log_checks import Problem
from hpgr.data.ordering import tie_column
from hpgr.data.sessions import SessionRule

KIND = "hpgr sequence store"
FORMAT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class StorePlan:
    """How a log becomes a store: where sessions end, what goes first of simultaneous events, which rows are history."""

    sessions: SessionRule
    ties: str
    history: HistoryRule
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        tie_column(self.ties)
        if self.memory_mb < 1:
            raise ConfigError(f"memory_mb ({self.memory_mb}) must be at least 1")

    @classmethod
    def of_manifest(cls, manifest: dict[str, Any], memory_mb: int) -> StorePlan:
        """The plan that a store was built by."""
        sessions, history = (from_tree(manifest[name]) for name in ("sessions", "history"))
        return cls(sessions=sessions, ties=manifest["ties"], history=history, memory_mb=memory_mb)

    def trees(self) -> dict[str, Any]:
        """What the manifest keeps of the plan."""
        return {"ties": self.ties, "sessions": to_tree(self.sessions), "history": to_tree(self.history)}

    def checked(self, log: EventLog) -> EventLog:
        """``log`` with the tie column of this plan.

        Raises: DataError if its values or columns do not do for this plan.
        """
        log = self.ordered(log)
        log.validate()
        for problem in self.problems(log):
            raise DataError(problem.message)
        return log

    def ordered(self, log: EventLog) -> EventLog:
        """``log`` with the column that orders simultaneous events here."""
        column = tie_column(self.ties)
        return log if column is None else log.ordered_by(column)

    def problems(self, log: EventLog) -> tuple[Problem, ...]:
        """What keeps a valid ``log`` from becoming this store, found in one pass over its history rows."""
        roles = [role for role in log.roles if role == "weight" or role.startswith("feature:")]
        if self.sessions.needs_codes:
            column = log.columns.session
            if "session" not in log.roles:
                where = f"column {column} of {log.name} (absent)"
                return (Problem("no_sessions", f"{where} must be present for given sessions; use a gap, as in 30m"),)
            roles.append("session")
        if not roles and "label" not in log.roles and self.history.events is None:
            return ()
        nulls = (pl.col(role).is_null().sum().alias(role) for role in roles)
        history = self.history.rows(log).filter("is_history")
        found = history.select(pl.len().alias("rows"), *nulls).collect(engine="streaming").row(0, named=True)
        if not found["rows"]:
            way = "choose other events" if self.history.events is not None else "labels='all' takes those with label 0"
            rule = f"must have history events; {way}"
            return (Problem("no_history", f"log {log.name} (0 of {log.facts.rows} rows in the history) {rule}"),)
        return tuple(
            Problem(
                f"null_{role.partition(':')[0]}",
                f"{log.roles[role]} of {log.name} ({found[role]} of {found['rows']} history rows null) must be given "
                f"for every event; fill it{', or use a gap, as in 30m' if role == 'session' else ''}",
            )
            for role in roles
            if found[role]
        )

    def fields(self, log: EventLog) -> dict[str, Any]:
        """The optional fields of an event record and their types."""
        kinds = log.events().collect_schema()
        found: dict[str, Any] = {}
        if "weight" in log.roles:
            found["weight"] = np.float32
        if tie_column(self.ties) is not None:
            found["tie"] = np.float64 if kinds["tie"].is_float() else np.int64
        if self.sessions.needs_codes:
            found["session"] = np.int64
        for role in log.roles:
            if role.startswith("feature:"):
                found[role] = np.float32 if kinds[role] == pl.Float32 else np.int64
        return found
