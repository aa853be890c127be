"""One store, split: what models of any frame are trained on and asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.jagged import Jagged
from hpgr.data.item_clock import ItemClock
from hpgr.data.paired_windows import PairedWindows
from hpgr.data.queries import QueryBatches, RequestQueries, SampledQueries
from hpgr.data.ranges import Queries, flat_index, offsets_from
from hpgr.data.ranking_batch import RankingInput
from hpgr.data.requests import ExposedRequests, SampledRequests
from hpgr.data.session_parallel import SessionParallelWindows
from hpgr.data.split import Split, split
from hpgr.data.split_rules import SplitRule
from hpgr.data.store import SequenceStore
from hpgr.data.windows import TrainWindows
from hpgr.frames.ranking import features_of
from hpgr.frames.stage import TrainableStage
from hpgr.objectives.next_item import NextItem
from hpgr.training.batches import Batches
from hpgr.training.run import Run

Part = Literal["validation", "test"]
CandidateRule = ExposedRequests.Config | SampledRequests.Config


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Material:
    """``store`` cut by ``split``; ``clock`` answers what was known of an item at any moment."""

    store: SequenceStore
    split: Split
    clock: ItemClock

    @classmethod
    def of(cls, store: SequenceStore, rule: SplitRule) -> Material:
        """Split ``store`` by ``rule``.

        Raises: DataError if nothing is left to train on or to test, or there is one item only.
        """
        parts = split(store, rule)
        if len(parts.catalogue) < 2:
            raise DataError(
                f"catalogue of {store.path} ({len(parts.catalogue)} item) must hold at least 2; there is nothing to choose"
            )
        return cls(store=store, split=parts, clock=ItemClock.build(store))

    def asked(self, features: tuple[str, ...], max_len: int) -> RankingInput[SequenceStore]:
        """How rankers with these cross features are asked."""
        return RankingInput(
            events=self.store, catalogue=self.split.catalogue, clock=self.clock, features=features, max_len=max_len
        )

    def candidate_rule(self, run: Run) -> CandidateRule:
        """What a ranking stage ranks.

        Raises: ConfigError if the run does not say.
        """
        if not isinstance(run.candidates, CandidateRule):
            raise ConfigError(f"candidates ({run.candidates}) of the run must be exposed or sampled requests")
        return run.candidates

    def training_batches(self, stage: TrainableStage, run: Run) -> Batches:
        """The batches of one stage; the same for the same run.

        Raises: ConfigError where the run's windows ask for states that the model cannot carry.
        """
        if stage.batches == "history":
            return self._windows(stage.module, run)
        if stage.batches == "pairs":
            return self._pairs(stage.module, run)
        return self.labelled_batches(features_of(stage.module), run)

    def _windows(self, frame: Any, run: Run) -> Batches:
        parts = self.store, self.split.train, self.split.catalogue
        if isinstance(run.windows, TrainWindows.Config):
            return TrainWindows(*parts, run.windows, seed=run.seed, shuffle_ties=self.store.ties == "set")
        if not getattr(frame.config.encoder, "carries_state", False):
            raise ConfigError(
                f"windows (session-parallel) must have an encoder that carries its states from batch to batch, which "
                f"{type(frame.encoder).__qualname__} cannot; take GruEncoder or TrainWindows"
            )
        if not isinstance(frame.objective, NextItem):
            raise ConfigError("windows (session-parallel) must have the objective NextItem; take it or TrainWindows")
        if self.store.ties == "set":
            raise ConfigError(
                "windows (session-parallel) must have a store whose ties are in an order: they would learn the one in which "
                "a set is kept; take TrainWindows, or prepare with --ties file"
            )
        return SessionParallelWindows(*parts, run.windows, scope=frame.config.encoder.scope)

    def _pairs(self, frame: Any, run: Run) -> Batches:
        windows = self._windows(frame, run)
        if not isinstance(windows, TrainWindows):
            raise ConfigError(
                "windows (session-parallel) must be TrainWindows for a model that compares histories in pairs"
            )
        return PairedWindows(windows, self.store, self.split.train, self.split.catalogue, seed=run.seed)

    def labelled_batches(self, features: tuple[str, ...], run: Run) -> ExposedRequests | SampledRequests:
        """Histories with the labelled candidates that a ranker with these cross features is trained on."""
        asked = self.asked(features, run.windows.max_len)
        rule = self.candidate_rule(run)
        if isinstance(rule, ExposedRequests.Config):
            return ExposedRequests(asked, self.split.train_requests, rule, seed=run.seed)
        return SampledRequests(asked, self.split.train, rule, seed=run.seed)

    def queries(self, part: Part, limit: int | None = None) -> Queries:
        """The questions of one part; with a ``limit``, that many spread evenly over them."""
        queries = self.split.validation if part == "validation" else self.split.test
        return queries if limit is None or len(queries) <= limit else queries.take(_spread(len(queries), limit))

    def query_batches(self, queries: Queries, max_len: int, batch_tokens: int = 8192) -> QueryBatches:
        """Histories of the questions, in order."""
        return QueryBatches(self.store, queries, self.split.catalogue, max_len=max_len, batch_tokens=batch_tokens)

    def ranked_batches(
        self, part: Part, run: Run, features: tuple[str, ...], limit: int | None = None
    ) -> RequestQueries | SampledQueries:
        """Histories with labelled candidates: what was shown, or targets among negatives drawn once by the seed 0.

        Raises: DataError if the part has nothing to rank.
        """
        asked, rule = self.asked(features, run.windows.max_len), self.candidate_rule(run)
        if isinstance(rule, ExposedRequests.Config):
            requests = self.split.validation_requests if part == "validation" else self.split.test_requests
            if limit is not None and len(requests) > limit:
                requests = requests[_spread(len(requests), limit)]
            if not len(requests):
                raise DataError(
                    f"{part} part (0 requests) must have something that was shown; move the split's borders"
                )
            return RequestQueries(asked, requests)
        return SampledQueries(asked, self.queries(part, limit), rule.negatives, seed=0)

    def users_of_requests(self, rows: np.ndarray) -> np.ndarray:
        """``[n]`` int64 user rows of rows of the store's exposures."""
        assert self.store.exposures is not None
        return np.asarray(self.store.exposures.request_user)[rows].astype(np.int64)

    def targets(self, queries: Queries) -> Jagged:
        """The right answers as catalogue rows, ``V`` for an item outside it."""
        rows = self.split.catalogue.rows(queries.target_idx)
        return Jagged(torch.from_numpy(rows), torch.from_numpy(queries.target_offsets))

    def seen(self, queries: Queries) -> Jagged:
        """Catalogue rows of everything in each question's whole history."""
        at = flat_index(queries.start, queries.stop)
        rows = self.split.catalogue.rows(np.asarray(self.store.item_idx)[at])
        return Jagged(torch.from_numpy(rows), torch.from_numpy(offsets_from(queries.stop - queries.start)))


def _spread(count: int, limit: int) -> np.ndarray:
    return np.linspace(0, count - 1, limit).astype(np.int64)
