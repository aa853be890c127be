"""Evaluation batches: the questions of a split in their order, the same in every run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hpgr.core.batch import Candidates, History
from hpgr.core.seeds import numpy_generator
from hpgr.data.budget import fill_in_order
from hpgr.data.candidate_lists import exposed_lists, exposures_of, request_histories, sampled_lists
from hpgr.data.catalogue import Catalogue
from hpgr.data.history import Events, gather_history
from hpgr.data.negatives import SampledNegatives
from hpgr.data.ranges import Queries
from hpgr.data.ranking_batch import RankingInput
from hpgr.data.store import SequenceStore


class QueryBatches:
    """``(History, rows)`` batches: ``rows [B]`` int64 says which queries the histories belong to."""

    def __init__(
        self, events: Events, queries: Queries, catalogue: Catalogue, *, max_len: int, batch_tokens: int = 16384
    ) -> None:
        self._events, self._queries, self._catalogue, self._max_len = events, queries, catalogue, max_len
        # An empty history still costs a row of scores.
        cost = np.minimum(queries.stop - queries.start, max_len) + 1
        self._batches = fill_in_order(cost, batch_tokens)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[History, np.ndarray]]:
        for rows in self._batches:
            some = self._queries.take(rows)
            yield (
                gather_history(
                    self._events, self._catalogue, some.start, some.stop, some.now_ms, max_len=self._max_len
                ),
                rows,
            )


class RequestQueries:
    """``(History, Candidates, requests)`` batches of what was shown, candidates in the store's order."""

    name = "exposed"

    def __init__(self, asked: RankingInput[SequenceStore], requests: np.ndarray, *, batch_tokens: int = 16384) -> None:
        """``requests``: rows of the store's exposures."""
        self._asked, self._requests = asked, requests
        shown = np.diff(np.asarray(exposures_of(asked.events).offsets))[requests]
        self._batches = fill_in_order(asked.tokens(*request_histories(asked.events, requests)) + shown, batch_tokens)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[History, Candidates, np.ndarray]]:
        for rows in self._batches:
            requests = self._requests[rows]
            yield *self._asked.batch(exposed_lists(self._asked.events, requests), shown=True), requests


class SampledQueries:
    """``(History, Candidates, rows)`` batches of the queries' targets among negatives drawn once, by the seed alone."""

    def __init__(
        self,
        asked: RankingInput[SequenceStore],
        queries: Queries,
        negatives: SampledNegatives,
        *,
        seed: int,
        batch_tokens: int = 16384,
    ) -> None:
        self._asked, self._negatives = asked, negatives
        self._lists = sampled_lists(queries, asked.catalogue, negatives, numpy_generator(seed, "sampled queries"))
        cost = asked.tokens(queries.start, queries.stop) + np.diff(self._lists.offsets)
        self._batches = fill_in_order(cost, batch_tokens)

    @property
    def name(self) -> str:
        """What a result on these candidates must say."""
        return self._negatives.name

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[History, Candidates, np.ndarray]]:
        for rows in self._batches:
            yield *self._asked.batch(self._lists.take(rows)), rows
