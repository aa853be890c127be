"""A batch for ranking: histories and, for each, the candidates to be ranked with their features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError
from hpgr.data.candidate_lists import Lists
from hpgr.data.catalogue import Catalogue
from hpgr.data.features import Asked, Past, candidate_features, check_features
from hpgr.data.history import Events, gather_history, newest
from hpgr.data.item_clock import ItemClock
from hpgr.data.ranges import flat_index, offsets_from

EventsT = TypeVar("EventsT", bound=Events)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RankingInput(Generic[EventsT]):
    """How a ranker is asked: of which events, with which catalogue, clock, features and history length."""

    events: EventsT
    catalogue: Catalogue
    clock: ItemClock
    features: tuple[str, ...] = ()
    max_len: int = 200

    def __post_init__(self) -> None:
        if self.max_len < 1:
            raise ConfigError(f"max_len ({self.max_len}) must be at least 1")
        if len(self.clock.items) != len(self.catalogue.of_store):
            raise DataError(
                f"item clock ({len(self.clock.items)} items) must be of the log the catalogue was made from "
                f"({len(self.catalogue.of_store)} items); build it from the same store"
            )
        check_features(self.features, self.clock)

    def tokens(self, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """``[B]`` int64: events of each range that enter a history."""
        return np.minimum(stop - start, self.max_len)

    def batch(self, lists: Lists, *, shown: bool = False) -> tuple[History, Candidates]:
        """One history and one candidate set for each list, in their order; ``label`` is ``[C, 1]``, weights are 1.

        ``shown``: the lists are what was shown; an item that nobody had chosen before the request is then outside the
        catalogue, which it entered by being chosen: in training its row would tell that it is going to be.
        """
        start = newest(self.events, lists.start, lists.stop, self.max_len)
        history = gather_history(self.events, self.catalogue, start, lists.stop, lists.now_ms, max_len=self.max_len)
        at, lengths = flat_index(start, lists.stop), np.diff(lists.offsets)
        now_ms = np.repeat(lists.now_ms, lengths).astype(np.int64)
        item_rows = np.asarray(lists.item_rows, dtype=np.int64)
        item_idx = self.catalogue.rows(item_rows)
        if shown:
            chosen = self.clock.count(self.clock.events, item_rows, now_ms) > 0
            item_idx = np.where(chosen, item_idx, len(self.catalogue))
        past = Past(
            item_rows=np.asarray(self.events.item_idx)[at].astype(np.int64),
            time_ms=np.asarray(self.events.time_ms)[at],
            offsets=offsets_from(lists.stop - start),
        )
        asked = Asked(
            item_rows=item_rows,
            user=np.repeat(np.arange(len(lengths)), lengths),
            now_ms=now_ms,
            is_cold=item_idx == len(self.catalogue),
        )
        label = None if lists.label is None else torch.from_numpy(lists.label.astype(np.float32)[:, None])
        candidates = Candidates(
            item_idx=torch.from_numpy(item_idx),
            time_ms=torch.from_numpy(now_ms),
            offsets=torch.from_numpy(lists.offsets.astype(np.int64)),
            features=torch.from_numpy(candidate_features(self.features, self.clock, asked, past)),
            label=label,
            weight=None if label is None else torch.ones(len(item_idx)),
        )
        return history, candidates
