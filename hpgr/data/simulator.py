"""The embedded log generator: a log of any size whose every cause is known.

Users have tastes over categories (stick-breaking, a Dirichlet process) that drift from one draw towards another; a
session has one intent, drawn from the taste of that day times a category chain; its events walk along item successors
inside the intent, return to the user's own items of earlier sessions with that intent, or stray by popularity;
exposures mix on-intent, taste, popular and own items, and are clicked by a known logistic rule.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from hpgr.core.errors import ConfigError
from hpgr.data.keyed_draws import KeyedDraws
from hpgr.data.simulated_catalogue import SimulatedCatalogue
from hpgr.data.simulated_truth import next_item_ranks
from hpgr.data.simulated_users import MAX_REQUESTS, SimulatedUsers

_USER_STEP = 1_000_000


class Simulator:
    """Writes the log of ``config``, user by user; equal configs write equal logs, whatever the chunks.

    Rows are grouped by user and ordered by time inside a user:

    | column | |
    |---|---|
    | ``user_id, item_id`` | strings |
    | ``timestamp`` | int64, milliseconds UTC |
    | ``session_id`` | int64 |
    | ``event`` | ``view``: on the user's own account; ``click`` or ``impression``: of a list that was shown |
    | ``request_id`` | int64: the list; null for views |
    | ``label`` | int8: 1 for clicks, 0 for impressions, null for views |

    A list's rows share the moment it was shown. A click is one row, an exposure and an event of the history at once.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``sessions_per_user`` and ``events_per_session`` are means; the first is heavy-tailed (log-normal).

        ``noise``: chance that a view is drawn by popularity and not by the session's intent. ``repeat_prob``: chance
        that another view returns to an item of the user's earlier sessions with that intent, where there are any.
        ``chain_prob``: chance that the rest follows an item's successors. ``drift``: share of the taste exchanged by
        the last day. ``stickiness``: how much a session raises the odds of its follower categories for the next.
        ``new_item_share``: items released during the log. ``exposures_per_session``: mean number of lists of
        ``list_size`` slots. The catalogue takes about 16 bytes × ``days`` × ``num_items`` of memory.
        """

        num_users: int = 1000
        num_items: int = 2000
        num_categories: int = 20
        days: int = 60
        sessions_per_user: float = 12.0
        events_per_session: float = 6.0
        noise: float = 0.15
        repeat_prob: float = 0.25
        chain_prob: float = 0.6
        drift: float = 0.4
        stickiness: float = 6.0
        exposures_per_session: float = 0.5
        list_size: int = 10
        new_item_share: float = 0.2
        seed: int = 0

        def __post_init__(self) -> None:
            for name in ("num_users", "num_categories", "days", "list_size"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
            for name in ("noise", "repeat_prob", "chain_prob", "drift", "new_item_share"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must lie in 0 … 1")
            for name in ("sessions_per_user", "events_per_session"):
                if not getattr(self, name) >= 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
            if self.num_items < 2 * self.num_categories:
                raise ConfigError(
                    f"num_items ({self.num_items}) must be at least twice num_categories ({self.num_categories})"
                )
            if not self.stickiness >= 0:
                raise ConfigError(f"stickiness ({self.stickiness}) must not be negative")
            if not 0 <= self.exposures_per_session <= MAX_REQUESTS:
                raise ConfigError(
                    f"exposures_per_session ({self.exposures_per_session}) must lie in 0 … {MAX_REQUESTS}"
                )

        def build(self) -> Simulator:
            return Simulator(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.catalogue = SimulatedCatalogue(
            num_items=config.num_items,
            num_categories=config.num_categories,
            days=config.days,
            new_item_share=config.new_item_share,
            seed=config.seed,
        )
        self._draws = KeyedDraws(config.seed)
        self._item_ids = self.catalogue.ids()

    def items(self) -> pl.DataFrame:
        """Columns ``item_id, title, categories, text, available_from`` (ms UTC; before it nobody sees the item)."""
        return self.catalogue.frame()

    def frames(self, users_per_chunk: int = 1000, *, with_truth: bool = False) -> Iterator[pl.DataFrame]:
        """The log in pieces of whole users; memory is bounded by the largest piece.

        ``with_truth`` adds ``truth_prob``, an exposure's click probability, and ``truth_rank``, a view's rank (from
        1, ties by expectation) under the true distribution of the next item; each is null on the other rows.
        It costs ``num_items`` operations a view.

        Raises: ConfigError if ``users_per_chunk`` is below 1.
        """
        for users in self.chunks(users_per_chunk):
            yield self._frame(users, with_truth)

    def chunks(self, users_per_chunk: int = 1000, *, max_users: int | None = None) -> Iterator[SimulatedUsers]:
        """The users, or the first ``max_users`` of them, as ``frames`` lays them out.

        Raises: ConfigError if ``users_per_chunk`` is below 1.
        """
        if users_per_chunk < 1:
            raise ConfigError(f"users_per_chunk ({users_per_chunk}) must be at least 1")
        total = min(self.config.num_users, max_users or self.config.num_users)
        for start in range(0, total, users_per_chunk):
            stop = min(start + users_per_chunk, total)
            yield SimulatedUsers(self.config, self.catalogue, self._draws, start, stop)

    def write(self, path: str | os.PathLike[str], users_per_chunk: int = 1000, *, with_truth: bool = False) -> int:
        """Write the log to a Parquet file and return its number of rows; the file appears when it is whole.

        Raises: ConfigError if ``users_per_chunk`` is below 1; OSError as the disk gives it.
        """
        target = Path(path)
        working = target.with_name(f".{target.name}.{os.getpid()}.partial")
        tables = (
            frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            for frame in self.frames(users_per_chunk, with_truth=with_truth)
        )
        first = next(tables)
        rows = 0
        try:
            with pq.ParquetWriter(working, first.schema, compression="zstd") as writer:
                for table in chain((first,), tables):
                    writer.write_table(table)
                    rows += table.num_rows
            working.replace(target)
        finally:
            working.unlink(missing_ok=True)
        return rows

    def _frame(self, users: SimulatedUsers, with_truth: bool) -> pl.DataFrame:
        lists = users.exposures()
        rank = next_item_ranks(self.config, self.catalogue, users) if with_truth else None
        views = self._rows(users, np.arange(users.num_events), users.event_time_ms, users.event_item).with_columns(
            event=pl.lit("view"),
            request_id=pl.lit(None, pl.Int64),
            label=pl.lit(None, pl.Int8),
            truth_prob=pl.lit(None, pl.Float64),
            truth_rank=pl.lit(None, pl.Float64) if rank is None else pl.Series(rank),
        )
        shown = self._rows(users, lists.event, lists.time_ms, lists.item).with_columns(
            event=pl.when(pl.Series(lists.label) == 1).then(pl.lit("click")).otherwise(pl.lit("impression")),
            request_id=pl.Series(users.number[users.user_of(lists.event)] * _USER_STEP + lists.number),
            label=pl.Series(lists.label),
            truth_prob=pl.Series(lists.prob),
            truth_rank=pl.lit(None, pl.Float64),
        )
        # A list stands right after the view it followed, its slots in their order.
        rows = pl.concat([views, shown]).sort("row", "request_id", nulls_last=False, maintain_order=True).drop("row")
        return rows if with_truth else rows.drop("truth_prob", "truth_rank")

    def _rows(self, users: SimulatedUsers, event: np.ndarray, time_ms: np.ndarray, item: np.ndarray) -> pl.DataFrame:
        digits = max(6, len(str(self.config.num_users - 1)))
        names = pl.Series([f"u{number:0{digits}d}" for number in users.number.tolist()])
        session, user = users.event_session[event], users.user_of(event)
        return pl.DataFrame(
            {
                "row": event,
                "user_id": names.gather(user),
                "item_id": self._item_ids.gather(item),
                "timestamp": time_ms,
                "session_id": users.number[user] * _USER_STEP + users.session_number[session],
            }
        )
