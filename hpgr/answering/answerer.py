"""From histories to ranked items: retrieve, rank, and say what could not be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.data.asked_histories import AskedHistories
from hpgr.data.candidate_lists import Lists
from hpgr.data.catalogue import Catalogue
from hpgr.data.history import gather_history
from hpgr.data.item_clock import ItemClock
from hpgr.data.ranges import flat_index, offsets_from
from hpgr.data.ranking_batch import RankingInput
from hpgr.frames.ranking import features_of
from hpgr.retrieval import Index
from hpgr.retrieval.diverse import DiverseGreedy
from hpgr.retrieval.exact import top_k

By = Literal["auto", "retrieve", "rank"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """``k`` items a user. ``exclude_seen``: none from the user's own history. ``candidates``: only these ids; None: the whole
    catalogue. ``by``: order by the retriever or the ranker; ``auto`` is the ranker where there is one that has learnt from
    what was shown: one trained on sampled negatives has never told good items from good ones. ``pool``: items that the
    retriever hands to the ranker, or that ``variety`` chooses from. ``variety``: what an item's score loses for each item of
    its categories above it; ranks stand in the order of what is left, scores are told whole. ``index``: what the retriever
    searches instead of scoring everything, from ``Recommender.index``; None for exact scores of all items."""

    k: int = 10
    exclude_seen: bool = False
    candidates: Sequence[Any] | None = None
    by: By = "auto"
    pool: int = 200
    variety: float = 0.0
    index: Index | None = None

    def __post_init__(self) -> None:
        for name in ("k", "pool"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
        if self.by not in ("auto", "retrieve", "rank"):
            raise ConfigError(f"by ({self.by}) must be auto, retrieve or rank")
        if not 0 <= self.variety < float("inf"):
            raise ConfigError(f"variety ({self.variety}) must be finite and not negative")
        if self.index is not None and self.candidates is not None:
            raise ConfigError("index (given) must be None where candidates are given; nothing is searched for")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answerer:
    """A trained frame with what it needs to be asked. ``learnt_from_shown``: its ranker was trained on exposures."""

    frame: Any
    catalogue: Catalogue
    clock: ItemClock
    max_len: int
    learnt_from_shown: bool

    @property
    def features(self) -> tuple[str, ...]:
        return features_of(self.frame)

    @torch.no_grad()
    def answer(self, asked: AskedHistories, wanted: Wanted) -> pl.DataFrame:
        """``user_id, item_id, score, rank``: at most ``k`` items a user, best first, ranks from 1.

        Raises: UnsupportedError if the model cannot order as asked, or needs candidates and has none.
        """
        ranks = self.ranks(wanted)
        self.check_variety(wanted.variety)
        pieces = []
        for rows in np.array_split(np.arange(len(asked.users)), max(1, -(-len(asked.users) // self._at_once(wanted)))):
            lists, found = self._pool(asked, rows, wanted, ranks)
            if ranks or found is None:
                score = self.score(asked, lists, by_rank=ranks)
            else:
                score = found.double().numpy()
            pieces.append(self._table(asked, rows, lists, score, wanted))
        return pl.concat(pieces)

    def scores(self, asked: AskedHistories, rows: np.ndarray) -> Tensor:
        """``[n, V]``: the retriever's score of every catalogue item for the histories at ``rows [n]``."""
        return self.frame.scores(self.history(asked, rows))

    def score(self, asked: AskedHistories, lists: Lists, *, by_rank: bool) -> np.ndarray:
        """``[C]`` float64: the ranker's log-odds, or the retriever's scores, which an item outside the catalogue lacks: ``-inf``."""
        return self.scored(*self.batch(asked, lists), by_rank=by_rank).double().numpy()

    def scored(self, history: History, candidates: Candidates, *, by_rank: bool) -> Tensor:
        """``[C]``: what ``score`` gives, of a batch."""
        if by_rank:
            logits_CK: Tensor = self.frame.logits(history, candidates)
            return logits_CK[:, 0]
        scores_BV = torch.nn.functional.pad(self.frame.scores(history), (0, 1), value=-torch.inf)
        return scores_BV[candidates.user_of_candidate(), candidates.item_idx]

    def batch(self, asked: AskedHistories, lists: Lists) -> tuple[History, Candidates]:
        """Histories and candidates as evaluation builds them from the same events."""
        question = RankingInput(
            events=asked.events,
            catalogue=self.catalogue,
            clock=self.clock,
            features=self.features,
            max_len=self.max_len,
        )
        return question.batch(lists)

    def candidate_rows(self, candidates: Sequence[Any]) -> tuple[np.ndarray, tuple[Any, ...]]:
        """The clock's rows of given ids, and the ids that no log of the model holds.

        Raises: DataError if none is known.
        """
        ids = pl.Series("item_id", list(candidates), strict=False).unique(maintain_order=True)
        rows = self.clock.items.rows(ids)
        if not (rows >= 0).any():
            raise DataError(f"candidates ({', '.join(map(str, ids[:5]))}) must hold an item that the model's log knows")
        return rows[rows >= 0], tuple(ids.filter(pl.Series(rows < 0)))

    def ranks(self, wanted: Wanted) -> bool:
        """Whether the ranker orders the answer.

        Raises: UnsupportedError if the model cannot order as asked.
        """
        can_rank, can_retrieve = hasattr(self.frame, "logits"), hasattr(self.frame, "scores")
        if wanted.by == "rank" and not can_rank:
            raise UnsupportedError("by (rank) must be retrieve for this model, which has no ranker")
        if not can_retrieve and wanted.candidates is None:
            raise UnsupportedError("candidates (none) must be given to this model, which only ranks")
        if wanted.by == "retrieve" and not can_retrieve:
            raise UnsupportedError("by (retrieve) must be rank for this model, which only ranks")
        if wanted.by == "auto" and can_retrieve and not self.learnt_from_shown:
            return False
        return can_rank and wanted.by != "retrieve"

    def check_variety(self, variety: float) -> None:
        """Raises: UnsupportedError where variety is asked for and no category is known."""
        if variety and self.clock.categories is None:
            raise UnsupportedError(
                f"variety ({variety}) must be 0 for this model, whose items have no categories; prepare the log with --items"
            )

    def history(self, asked: AskedHistories, rows: np.ndarray) -> History:
        """What the retriever reads of ``asked``."""
        start, stop, now_ms = asked.start[rows], asked.stop[rows], asked.now_ms[rows]
        return gather_history(asked.events, self.catalogue, start, stop, now_ms, max_len=self.max_len)

    def _at_once(self, wanted: Wanted) -> int:
        """Users whose scores, where all are made, fill a bounded memory."""
        return 512 if wanted.index is not None else max(1, min(512, (1 << 24) // (len(self.catalogue) + 1)))

    def _pool(
        self, asked: AskedHistories, rows: np.ndarray, wanted: Wanted, ranks: bool
    ) -> tuple[Lists, Tensor | None]:
        """Candidates, and their scores where the retriever has told them."""
        start, stop, now_ms = asked.start[rows], asked.stop[rows], asked.now_ms[rows]
        score = None
        if wanted.candidates is None:
            items, offsets, score = self._retrieved(asked, rows, wanted, ranks)
        else:
            given, _ = self.candidate_rows(wanted.candidates)
            items, offsets = np.tile(given, len(rows)), np.arange(len(rows) + 1) * len(given)
        if wanted.exclude_seen:
            at = flat_index(start, stop)
            owner = np.repeat(np.arange(len(rows)), stop - start)
            size = len(self.clock.items)
            seen = owner * size + np.asarray(asked.events.item_idx)[at]
            user = np.repeat(np.arange(len(rows)), np.diff(offsets))
            keep = ~np.isin(user * size + items, seen)
            items, offsets = items[keep], offsets_from(np.bincount(user[keep], minlength=len(rows)))
            score = None if score is None else score[torch.from_numpy(keep)]
        return Lists(start=start, stop=stop, now_ms=now_ms, item_rows=items, offsets=offsets), score

    def _retrieved(
        self, asked: AskedHistories, rows: np.ndarray, wanted: Wanted, ranks: bool
    ) -> tuple[np.ndarray, np.ndarray, Tensor]:
        start, stop, history = asked.start[rows], asked.stop[rows], self.history(asked, rows)
        excluded = None
        if wanted.exclude_seen:
            seen = self.catalogue.rows(np.asarray(asked.events.item_idx)[flat_index(start, stop)])
            excluded = Jagged(torch.from_numpy(seen), torch.from_numpy(offsets_from(stop - start)))
        k = max(wanted.pool, wanted.k) if ranks or wanted.variety else wanted.k
        if wanted.index is None:
            found, score = top_k(self.frame.scores(history), k, excluded=excluded)
        else:
            found, score = self.frame.found(history, wanted.index, k, excluded=excluded)
        keep = (score > -torch.inf).numpy()
        items = self.catalogue.store_rows()[found.numpy()]
        keep &= items >= 0
        return items[keep], offsets_from(keep.sum(1)), score[torch.from_numpy(keep)]

    def _table(
        self, asked: AskedHistories, rows: np.ndarray, lists: Lists, score: np.ndarray, wanted: Wanted
    ) -> pl.DataFrame:
        user = np.repeat(np.arange(len(rows)), np.diff(lists.offsets))
        order = (
            self._varied(lists, score, wanted) if wanted.variety else np.lexsort((np.arange(len(score)), -score, user))
        )
        owner = user[order]
        place = np.arange(len(order)) - np.searchsorted(owner, owner)
        order, place = order[place < wanted.k], place[place < wanted.k]
        return pl.DataFrame(
            [
                asked.users.gather(rows[user[order]]).rename("user_id"),
                self.clock.items.at(lists.item_rows[order]).rename("item_id"),
                pl.Series("score", score[order]),
                pl.Series("rank", place + 1),
            ]
        )

    def _varied(self, lists: Lists, score: np.ndarray, wanted: Wanted) -> np.ndarray:
        """Rows of the candidates, list by list."""
        greedy, parts = DiverseGreedy(weight=wanted.variety), [np.zeros(0, dtype=np.int64)]
        for start, stop in zip(lists.offsets, lists.offsets[1:]):
            marks = self.clock.marks(lists.item_rows[start:stop])
            parts.append(start + greedy.order(score[start:stop], marks, wanted.k))
        return np.concatenate(parts)
