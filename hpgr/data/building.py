"""From a log to a store, in two passes over the log and memory that a budget bounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpgr.core.vocabulary import Vocabulary
from hpgr.data.atomic_folder import new_folder
from hpgr.data.census import Census, coded_batches, take_census
from hpgr.data.column_files import MANIFEST, file_entry, write_manifest
from hpgr.data.event_files import EventFiles, OldEvents, event_dtype, rows_within
from hpgr.data.exposure_files import EXPOSURE, ExposureFiles, exposures_of
from hpgr.data.item_table import item_table
from hpgr.data.log import EventLog
from hpgr.data.log_checks import ORDER
from hpgr.data.ordering import canonical_codes
from hpgr.data.spill import balanced_starts
from hpgr.data.store_plan import FORMAT, KIND, StorePlan
from hpgr.version import __version__

SCRATCH = "scratch"


def build(log: EventLog, path: Path, plan: StorePlan, *, items: Any = None, overwrite: bool = False) -> None:
    """Write the store of ``log`` to ``path``; ``items`` is a table of items.

    The memory that is not bounded by the plan's budget: the vocabularies, and the longest history of one user.

    Raises: DataError if the log would corrupt a result, ``path`` exists or the disk is full.
    """
    read = [Path(source) for source in (log.path, items) if isinstance(source, (str, Path))]
    with new_folder(path, marker=MANIFEST, overwrite=overwrite, inputs=read) as folder:
        log = plan.checked(log)
        facts = log.facts
        census = take_census(log, plan.history, first_ms=facts.min_time_ms, last_ms=facts.max_time_ms)
        users = Vocabulary(census.users.cast(log.user_type))
        vocabulary = Vocabulary(census.items.cast(log.item_type))
        dtype = event_dtype(plan.fields(log))
        files, counts = StoreWriter(folder, log, plan, census=census, dtype=dtype).columns()
        table = None if items is None else item_table(items, vocabulary.ids, column=log.columns.item)
        files |= write_tables(folder, users, vocabulary, table)
        counts |= {"rows_read": facts.rows, "rows_left_out": facts.rows - census.num_rows}
        manifest = described(log, plan, census.actions) | {"counts": counts, "files": files}
        write_manifest(folder, manifest)


class StoreWriter:
    """Writes the columns of one store: the rows of a log, and where it grows, those that it had."""

    def __init__(self, folder: Path, log: EventLog, plan: StorePlan, *, census: Census, dtype: np.dtype) -> None:
        """``census``: of the log, or of the log and the store that it is added to. ``dtype`` is that of an event."""
        self._folder, self._log, self._plan, self._census, self._dtype = folder, log, plan, census, dtype
        self._has_exposures = bool(census.shown_of_user.sum())

    def columns(
        self, old_events: OldEvents | None = None, old_exposures: Callable[[ExposureFiles], None] | None = None
    ) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
        """Write events and exposures; ``old_exposures`` puts in those that come first.

        Returns: the manifest's entries of the files, and the counts.
        """
        scratch = self._folder / SCRATCH
        scratch.mkdir()
        census, plan = self._census, self._plan
        events = EventFiles(
            self._folder, scratch, self._dtype, events_of_user=census.events_of_user, memory_mb=plan.memory_mb
        )
        shown = self._exposure_files(scratch)
        if shown is not None and old_exposures is not None:
            old_exposures(shown)
        for batch in coded_batches(
            self._log,
            plan.history,
            users=census.users,
            items=census.items,
            actions=census.actions,
            with_sessions=plan.sessions.needs_codes,
        ):
            events.add(batch if shown is None else batch.filter("is_history"))
            if shown is not None:
                shown.add(exposures_of(batch))
        item_code = None if plan.ties == "file" else canonical_codes(census.items)
        files, counts = events.finish(
            sessions=plan.sessions,
            item_code=item_code,
            drop_repeats=plan.history.duplicates == "drop",
            old=old_events,
        )
        counts |= {"users": len(census.users), "items": len(census.items), "requests": 0, "exposures": 0}
        if shown is not None:
            more, more_counts = shown.finish(item_code)
            files, counts = files | more, counts | more_counts
        scratch.rmdir()
        return files, counts

    def _exposure_files(self, scratch: Path) -> ExposureFiles | None:
        if not self._has_exposures:
            return None
        census, limit = self._census, rows_within(self._plan.memory_mb, EXPOSURE)
        spans = balanced_starts(0, census.shown_at, limit, max_keys=len(census.shown_at))
        return ExposureFiles(
            self._folder,
            scratch,
            shown_of_user=census.shown_of_user if "request" in self._log.roles else None,
            time_starts=census.first_ms + spans * census.span_ms,
            memory_mb=self._plan.memory_mb,
        )


def write_tables(
    folder: Path, users: Vocabulary, items: Vocabulary, table: pl.DataFrame | None
) -> dict[str, dict[str, Any]]:
    """Write vocabularies and the table of items; returns the manifest's entries of the files."""
    users.save(folder / "users.parquet")
    items.save(folder / "items.parquet")
    if table is not None:
        table.write_parquet(folder / "item_table.parquet")
    return {path.name: file_entry(path) for path in sorted(folder.glob("*.parquet"))}


def described(log: EventLog, plan: StorePlan, actions: list[str]) -> dict[str, Any]:
    """The manifest without counts and files."""
    names = [role for role in log.roles if role.startswith("feature:")]
    return {
        "kind": KIND,
        "format": FORMAT,
        "library": __version__,
        **plan.trees(),
        "actions": actions,
        "time_unit_note": log.facts.time_unit_note,
        "timed": log.time_unit != ORDER,
        "columns": log.roles,
        "features": [name.removeprefix("feature:") for name in names],
    }
