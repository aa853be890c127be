"""One bundle, answering: the histories that it reads, retrieval and ranking in one batch, and what is done to the order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from hpgr.answering.answerer import Wanted
from hpgr.answering.opening import open_bundle
from hpgr.core.errors import DataError, HpgrError, UnsupportedError
from hpgr.data.candidate_lists import Lists
from hpgr.data.ranges import offsets_from
from hpgr.retrieval.exact import top_k
from hpgr.serving import UserStates
from hpgr.serving.asked import Told, asked_histories
from hpgr.serving.events import ItemId, Mark, StateError, Stored, UserLog
from hpgr.serving.histories import Histories
from hpgr.serving.narrowing import Narrowed, Narrowing
from hpgr.serving.ordering import blended, diverse, log_softmax
from hpgr.serving.questions import Answer, Question, Source
from hpgr.serving.reading import Reading
from hpgr.serving.settings import EngineSettings
from hpgr.serving.user_history import UserHistory

_BARE_MARK = Mark("bare", 0)


class Engine:
    """Answers batches of questions. One thread asks at a time; histories may be told of events by another."""

    def __init__(self, folder: str | Path, states: UserStates, settings: EngineSettings) -> None:
        """Open the bundle in ``folder``.

        Raises: what ``open_bundle`` does.
        """
        opened = open_bundle(folder)
        self.folder, self.model, self.settings = Path(folder), opened.bundle.model, settings
        self.answerer, self.log, self.titles, self.facts = (
            opened.answerer,
            opened.log,
            opened.titles,
            opened.bundle.facts,
        )
        self.reading = Reading.of(opened, settings.max_events)
        self.histories = Histories(states, self.reading, settings.memory_mb << 20)
        self._narrowing = Narrowing(self.reading, self.answerer.clock)
        self._store_rows = self.answerer.catalogue.store_rows()
        count = self.answerer.catalogue.train_count + 1.0
        # As ``PopularityPrior`` counts; an item outside the catalogue is as rare as one seen once less than any.
        self._log_share = np.append(np.log(count / count.sum()), np.log(1.0 / count.sum()))

    @property
    def fingerprint(self) -> str:
        return self.reading.fingerprint

    @torch.no_grad()
    def answer(self, questions: Sequence[Question], now_ms: int) -> list[Answer | HpgrError]:
        """One answer, or the reason why there is none, for each question; without states, bare histories are answered."""
        held: dict[str, UserHistory] | StateError
        try:
            held = self.histories.of([q.user for q in questions if q.user is not None])
        except StateError as error:
            held = error
        prepared: list[Prepared | HpgrError] = [self._prepared(q, held, now_ms) for q in questions]
        asked = [one for one in prepared if isinstance(one, Prepared)]
        if asked:
            self._retrieve([one for one in asked if one.narrowed.candidates is None])
            self._score([one for one in asked if one.score is None])
        return [self._finished(one) if isinstance(one, Prepared) else one for one in prepared]

    def similar(self, item: ItemId, question: Question) -> Answer:
        """Items whose vectors point the same way; only what narrows the ``question`` is looked at.

        Raises: UnsupportedError if the model has no item vectors; DataError if it does not know the item.
        """
        row = self.reading.row(item)
        own = int(self.answerer.catalogue.rows(np.array([row]))[0])
        if row < 0 or own >= len(self.answerer.catalogue):
            raise DataError(f"item_id ({item}) must be an item that the model was trained on")
        narrowed = self._narrowing.of(question, np.array([row]))
        score = self.vectors[:-1] @ self.vectors[own]
        one = Prepared(question, Told.until(_nothing(self.reading), 0), narrowed, False, 1.0)
        self._take_best(one, score, own)
        return self._finished(one)

    def _prepared(
        self, question: Question, held: dict[str, UserHistory] | StateError, now_ms: int
    ) -> Prepared | HpgrError:
        try:
            told = self._told(question, held, now_ms)
            wanted = Wanted(candidates=question.candidates, by=question.by)
            if question.diversity:
                _ = self.vectors
            trust = min(1.0, told.length / self.settings.blend_events) if self.settings.blend_events else 1.0
            trust = trust if told.length else 0.0
            narrowed = self._narrowing.of(question, told.seen)
            return Prepared(question, told, narrowed, self.answerer.ranks(wanted), trust)
        except HpgrError as error:
            return error

    def _told(self, question: Question, held: dict[str, UserHistory] | StateError, now_ms: int) -> Told:
        if question.user is not None:
            if isinstance(held, StateError):
                raise held
            history = held[question.user]
            newest = int(history.time_ms[-1]) + 1 if len(history) else 0
            return Told.until(history, max(now_ms, newest) if question.at_ms is None else question.at_ms)
        events = question.events
        at_ms = question.at_ms
        if question.untimed:
            end_ms = self.log.end_ms if at_ms is None else at_ms
            events = tuple(
                Stored(e.seq, end_ms - 1000 * (len(events) - i), e.item, e.action, e.session)
                for i, e in enumerate(events)
            )
        history = UserHistory.of(UserLog(mark=_BARE_MARK, rows=list(events), whole=True), self.reading)
        if at_ms is None:
            at_ms = int(history.time_ms[-1]) + 1 if len(history) else self.log.end_ms
        return Told.until(history, at_ms)

    def _retrieve(self, some: list[Prepared]) -> None:
        """Candidates of those who gave none: the best of the whole catalogue."""
        reading = [one for one in some if one.trust > 0]
        found: Iterator[np.ndarray] = iter(())
        if reading:
            asked = asked_histories([one.told for one in reading], self.reading.rule, self.answerer.max_len)
            found = iter(self.answerer.scores(asked, np.arange(len(reading))).numpy())
        for one in some:
            score = self._log_share[:-1]
            if one.trust > 0:
                score = next(found)
                if one.trust < 1:
                    score = blended(log_softmax(score), self._log_share[:-1], one.trust)
            self._take_best(one, score)

    def _take_best(self, one: Prepared, score: np.ndarray, without: int | None = None) -> None:
        narrowed, question = one.narrowed, one.question
        score = score.copy()
        if narrowed.allowed is not None:
            known = self._store_rows >= 0
            score[~(known & narrowed.allowed[self._store_rows])] = -np.inf
        if without is not None:
            score[without] = -np.inf
        _boost(score, self.answerer.catalogue.rows(narrowed.boosted), narrowed.log_weight)
        wanted = question.k or 0
        most = max(question.pool, wanted) if one.ranks or question.diversity else wanted
        rows_BK, score_BK = top_k(torch.from_numpy(score)[None], most)
        rows, found = self._store_rows[rows_BK[0].numpy()], score_BK[0].double().numpy()
        keep = (found > -np.inf) & (rows >= 0)
        one.items = rows[keep]
        if not (one.ranks and one.trust > 0):
            one.score = found[keep]

    def _score(self, some: list[Prepared]) -> None:
        """Candidates, given or retrieved, by the ranker or the retriever."""
        for by_rank in (True, False):
            group = [one for one in some if one.ranks is by_rank]
            lists = [one.narrowed.candidates if one.items is None else one.items for one in group]
            if not group:
                continue
            asked = asked_histories([one.told for one in group], self.reading.rule, self.answerer.max_len)
            offsets = offsets_from(np.array([len(rows) for rows in lists], dtype=np.int64))  # type: ignore[arg-type]
            question = Lists(
                start=asked.start,
                stop=asked.stop,
                now_ms=asked.now_ms,
                item_rows=np.concatenate(lists),  # type: ignore[arg-type]
                offsets=offsets,
            )
            scores = self.answerer.score(asked, question, by_rank=by_rank) if len(question.item_rows) else np.zeros(0)
            for one, rows, first, last in zip(group, lists, offsets, offsets[1:]):
                assert rows is not None
                share = self._log_share[self.answerer.catalogue.rows(rows)]
                one.items, one.score = rows, blended(scores[first:last], share, one.trust).copy()
                place = {row: i for i, row in enumerate(rows.tolist())}
                boosts = zip(one.narrowed.boosted.tolist(), one.narrowed.log_weight)
                for row, log_weight in boosts:
                    if row in place:
                        one.score[place[row]] += log_weight

    def _finished(self, one: Prepared) -> Answer:
        assert one.items is not None
        assert one.score is not None
        k = len(one.items) if one.question.k is None else one.question.k
        if one.question.diversity:
            vectors = self.vectors[self.answerer.catalogue.rows(one.items)]
            order = diverse(one.score, vectors, k, one.question.diversity)
        else:
            order = np.lexsort((np.arange(len(one.score)), -one.score))[:k]
        ids, source = self.reading.ids, _source(one.trust)
        return Answer(
            items=[(ids[one.items[i]], float(one.score[i]) if np.isfinite(one.score[i]) else None) for i in order],
            source=source,
            ordered_by="rank" if one.ranks else "retrieve",
            at_ms=one.told.now_ms,
            history_length=one.told.length,
            dropped_events=len(one.told.history) - one.told.length,
            unknown_items=one.told.history.unknown,
            unknown_candidates=one.narrowed.unknown,
            fingerprint=self.fingerprint,
        )

    @cached_property
    def vectors(self) -> np.ndarray:
        """``[V + 1, D]`` float32 item vectors of length 1; that of any item outside the catalogue is zero."""
        frame = self.answerer.frame
        items = getattr(getattr(frame, "retriever", frame), "items", None)
        if items is None:
            raise UnsupportedError("item likeness must come from item vectors, and this model has none")
        with torch.no_grad():
            table = torch.nn.functional.normalize(items.table().float(), dim=1)
        return np.concatenate([table.numpy(), np.zeros((1, table.shape[1]), dtype=np.float32)])


class Prepared:
    """A question on its way: ``trust`` in the model, 0 for nobody's history; ``items`` and ``score`` once they are found."""

    __slots__ = ("items", "narrowed", "question", "ranks", "score", "told", "trust")

    def __init__(self, question: Question, told: Told, narrowed: Narrowed, ranks: bool, trust: float) -> None:
        self.question, self.told, self.narrowed, self.ranks, self.trust = question, told, narrowed, ranks, trust
        self.items: np.ndarray | None = None
        self.score: np.ndarray | None = None


def _boost(score: np.ndarray, rows: np.ndarray, log_weight: np.ndarray) -> None:
    inside = rows < len(score)
    score[rows[inside]] += log_weight[inside]


def _source(trust: float) -> Source:
    return "model" if trust >= 1 else "blend" if trust > 0 else "prior"


def _nothing(reading: Reading) -> UserHistory:
    return UserHistory.of(UserLog(mark=_BARE_MARK, rows=[], whole=True), reading)
