"""Training batches for ranking: from what users were shown, or from what they chose among sampled negatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError
from hpgr.core.seeds import numpy_generator
from hpgr.data.budget import fill_by_length
from hpgr.data.candidate_lists import exposed_lists, exposures_of, request_histories, sampled_lists
from hpgr.data.negatives import SampledNegatives
from hpgr.data.ranges import Queries, Ranges
from hpgr.data.ranking_batch import RankingInput
from hpgr.data.split import history_stop
from hpgr.data.store import SequenceStore


class ExposedRequests:
    """Iterates over one epoch of a training part's requests: what was shown, labelled by what was chosen."""

    name = "exposed"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``batch_tokens``: events and candidates in a batch at most."""

        batch_tokens: int = 8192

        def __post_init__(self) -> None:
            _check_budget(self.batch_tokens)

    def __init__(
        self,
        asked: RankingInput[SequenceStore],
        requests: np.ndarray,
        config: Config,
        *,
        seed: int,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """``requests``: rows of the store's exposures. ``shard``: (rank, world), as in ``TrainWindows``.

        Raises: DataError if there are no requests.
        """
        if not len(requests):
            raise DataError(
                "training requests (0) must be at least one; train on sampled negatives, or move the border"
            )
        self.config = config
        self._asked, self._requests, self._seed, self._shard = asked, requests, seed, shard
        start, stop = request_histories(asked.events, requests)
        shown = np.diff(np.asarray(exposures_of(asked.events).offsets))[requests]
        self._cost = asked.tokens(start, stop) + shown
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that ``len`` and iteration speak of."""
        self._place = ("exposed", epoch)
        generator = numpy_generator(self._seed, *self._place)
        self._batches = fill_by_length(self._cost, self.config.batch_tokens, generator, self._shard)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[History, Candidates]]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> tuple[History, Candidates]:
        """One batch of the epoch, by its place in it."""
        generator = numpy_generator(self._seed, *self._place, *self._shard, number)
        requests = self._requests[self._batches[number]]
        return self._asked.batch(exposed_lists(self._asked.events, requests).shuffled(generator), shown=True)


class SampledRequests:
    """Iterates over one epoch of chosen items among sampled negatives, each asked at the moment of the choice."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``positives_per_user``: events drawn of each training range in an epoch, at most; never the range's first.

        ``batch_tokens``: events and candidates in a batch at most.
        """

        negatives: SampledNegatives = field(default_factory=SampledNegatives)
        positives_per_user: int = 4
        batch_tokens: int = 8192

        def __post_init__(self) -> None:
            if self.positives_per_user < 1:
                raise ConfigError(f"positives_per_user ({self.positives_per_user}) must be at least 1")
            _check_budget(self.batch_tokens)

    def __init__(
        self,
        asked: RankingInput[SequenceStore],
        ranges: Ranges,
        config: Config,
        *,
        seed: int,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """Raises: DataError if no range has two events."""
        enough = ranges.lengths >= 2
        if not enough.any():
            raise DataError("training part must have a user with 2 events, a history and a choice; it has none")
        self.config = config
        self._asked, self._seed, self._shard = asked, seed, shard
        self._ranges = Ranges(user_idx=ranges.user_idx[enough], start=ranges.start[enough], stop=ranges.stop[enough])
        self.set_epoch(0)

    @property
    def name(self) -> str:
        """What a result trained on these candidates must say."""
        return self.config.negatives.name

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that ``len`` and iteration speak of."""
        self._place = ("sampled", epoch)
        generator = numpy_generator(self._seed, *self._place)
        self._queries = self._drawn(generator)
        cost = self._asked.tokens(self._queries.start, self._queries.stop) + 1 + self.config.negatives.negatives
        self._batches = fill_by_length(cost, self.config.batch_tokens, generator, self._shard)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[History, Candidates]]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> tuple[History, Candidates]:
        """One batch of the epoch, by its place in it."""
        generator = numpy_generator(self._seed, *self._place, *self._shard, number)
        some = self._queries.take(self._batches[number])
        return self._asked.batch(sampled_lists(some, self._asked.catalogue, self.config.negatives, generator))

    def _drawn(self, generator: np.random.Generator) -> Queries:
        store, ranges = self._asked.events, self._ranges
        shape = (self.config.positives_per_user, len(ranges))
        at = np.unique(generator.integers(ranges.start + 1, ranges.stop, shape))
        owner = np.searchsorted(ranges.stop, at, side="right")
        return Queries(
            user_idx=ranges.user_idx[owner],
            start=ranges.start[owner],
            stop=history_stop(store, ranges.start[owner], at),
            now_ms=np.asarray(store.time_ms)[at],
            target_offsets=np.arange(len(at) + 1),
            target_idx=np.asarray(store.item_idx)[at].astype(np.int64),
        )


def _check_budget(batch_tokens: int) -> None:
    if batch_tokens < 1:
        raise ConfigError(f"batch_tokens ({batch_tokens}) must be at least 1")
