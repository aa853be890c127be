"""One bundle, answering: the histories that it reads, retrieval and ranking in one batch, and what is done to the order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpgr.answering.answerer import Wanted
from hpgr.answering.opening import open_bundle
from hpgr.core.batch import History
from hpgr.core.errors import DataError, HpgrError, UnsupportedError
from hpgr.data.candidate_lists import Lists
from hpgr.data.ranges import offsets_from
from hpgr.retrieval import Index
from hpgr.retrieval.diverse import DiverseGreedy
from hpgr.retrieval.exact import best_scores, top_k
from hpgr.serving import UserStates
from hpgr.serving.asked import Told, asked_histories
from hpgr.serving.events import ItemId, Mark, StateError, Stored, UserLog
from hpgr.serving.histories import Histories
from hpgr.serving.kept import KeptModel
from hpgr.serving.narrowing import Narrowing
from hpgr.serving.new_items import with_new_items
from hpgr.serving.ordering import blended, diverse, log_softmax
from hpgr.serving.prepared import Prepared
from hpgr.serving.prior import Popularity
from hpgr.serving.questions import Answer, Question, Source
from hpgr.serving.reading import Reading
from hpgr.serving.searching import sampled_index
from hpgr.serving.settings import EngineSettings
from hpgr.serving.shelf import Shelf
from hpgr.serving.user_history import UserHistory

_BARE_MARK = Mark("bare", 0)


class Engine:
    """Answers batches of questions. One thread asks at a time; histories may be told of events by another."""

    def __init__(self, folder: str | Path, states: UserStates, settings: EngineSettings) -> None:
        """Open the bundle in ``folder``.

        Raises: what ``open_bundle`` does.
        """
        opened = open_bundle(folder)
        num_known = len(opened.log.items)
        if settings.items is not None:
            opened = with_new_items(opened, settings.items)
        self.folder, self.model, self.settings = Path(folder), opened.bundle.model, settings
        self.answerer, self.log, self.titles, self.facts = (
            opened.answerer,
            opened.log,
            opened.titles,
            opened.bundle.facts,
        )
        self.reading = Reading.of(opened, settings.max_events)
        self.histories = Histories(states, self.reading, settings.memory_mb << 20)
        self.kept = KeptModel(self.answerer.frame, settings.state_mb << 20)
        self._narrowing = Narrowing(self.reading, self.answerer.clock)
        self.shelf = Shelf(self.answerer, num_known)
        self._popularity = Popularity(
            settings.prior, self.shelf, self.answerer.clock, self.answerer.catalogue.train_count, self.log.end_ms
        )
        self._index: Index | None = None
        for name, given in (("index", settings.index != "exact"), ("items", settings.items is not None)):
            if given and not self.kept.keeps_queries:
                raise UnsupportedError(
                    f"{name} ({getattr(settings, name)}) must be left out: {self.model} has no item vectors to search by"
                )
        if settings.index != "exact":
            self._index = sampled_index(settings.index, self.shelf, self.answerer, self.reading, self.log.end_ms)

    @property
    def fingerprint(self) -> str:
        return self.reading.fingerprint

    def forget(self, user: str) -> None:
        """Nothing of the user stays in memory."""
        self.histories.forget(user)
        self.kept.forget(user)

    @torch.inference_mode()
    def answer(self, questions: Sequence[Question], now_ms: int) -> list[Answer | HpgrError]:
        """One answer, or the reason why there is none, for each question; without states, bare histories are answered."""
        held: dict[str, UserHistory] | StateError
        since = self.kept.forgets
        try:
            held = self.histories.of([q.user for q in questions if q.user is not None])
            self.kept.begin(since, {user: history.mark.epoch for user, history in held.items()})
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
        own = int(self.shelf.places(np.array([row]))[0])
        if own >= len(self.shelf):
            raise DataError(f"item_id ({item}) must be an item that the model was trained on")
        narrowed = self._narrowing.of(question, np.array([row]))
        score = self.shelf.likeness[:-1] @ self.shelf.likeness[own]
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
                _ = self.shelf.likeness
            self.answerer.check_variety(question.variety)
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
            step_ms = max(1, round(self.settings.moment_s * 1000))
            now_ms = max(now_ms // step_ms * step_ms, newest)
            return Told.until(history, now_ms if question.at_ms is None else question.at_ms)
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
            users, history = self._histories_of(reading)
            searched = [b for b, one in enumerate(reading) if self._index is not None and one.plain]
            if searched:
                self._search([reading[b] for b in searched], [users[b] for b in searched], history, searched)
            rest = [b for b, one in enumerate(reading) if one.items is None]
            if rest:
                found = iter(self._catalogue_scores([users[b] for b in rest], _some(history, rest)).numpy())
        for one in some:
            if one.items is not None:
                continue
            share = self._popularity.log_share(one.told.now_ms)[:-1]
            score = share
            if one.trust > 0:
                score = next(found)
                if one.trust < 1:
                    score = blended(log_softmax(score), share, one.trust)
            self._take_best(one, score)

    def _histories_of(self, some: list[Prepared]) -> tuple[list[str | None], History]:
        asked = asked_histories([one.told for one in some], self.reading.rule, self.answerer.max_len)
        return [one.question.user for one in some], self.answerer.history(asked, np.arange(len(some)))

    def _search(self, some: list[Prepared], users: list[str | None], history: History, rows: list[int]) -> None:
        """What the index finds for questions that nothing narrows."""
        assert self._index is not None
        asked = _some(history, rows)
        vectors = self.answerer.frame.query_vectors(asked, self.kept.queries(users, asked))
        places, scores = self._index.search(vectors, max(one.most for one in some))
        for one, place, score in zip(some, places.numpy(), scores.double().numpy()):
            self._take(one, place[: one.most], score[: one.most])

    def _catalogue_scores(self, users: list[str | None], history: History) -> Tensor:
        """``[B, P]``: of every place, as the frame's ``scores``."""
        frame = self.answerer.frame
        if not self.kept.keeps_queries:
            return self.shelf.padded(frame.scores(history))
        table_PD, bias_P = self.shelf.vectors
        scores_BP = best_scores(frame.query_vectors(history, self.kept.queries(users, history)), table_PD)
        return scores_BP if bias_P is None else scores_BP.add_(bias_P)

    def _take_best(self, one: Prepared, score: np.ndarray, without: int | None = None) -> None:
        narrowed, score = one.narrowed, score.copy()
        if narrowed.allowed is not None:
            score[~narrowed.allowed[self.shelf.store_rows]] = -np.inf
        if without is not None:
            score[without] = -np.inf
        places = self.shelf.places(narrowed.boosted)
        inside = places < len(score)
        score[places[inside]] += narrowed.log_weight[inside]
        places_BK, score_BK = top_k(torch.from_numpy(score)[None], one.most)
        self._take(one, places_BK[0].numpy(), score_BK[0].double().numpy())

    def _take(self, one: Prepared, places: np.ndarray, found: np.ndarray) -> None:
        rows = self.shelf.store_rows[places]
        keep = (found > -np.inf) & (places >= 0) & (rows >= 0)
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
            scores = np.zeros(0)
            if by_rank and len(question.item_rows):
                users = [one.question.user for one in group]
                scores = self.kept.logits(users, *self.answerer.batch(asked, question))[:, 0].double().numpy()
            elif len(question.item_rows):
                scores_BP = self._catalogue_scores(*self._histories_of(group))
                padded = torch.nn.functional.pad(scores_BP, (0, 1), value=-torch.inf)
                owner = np.repeat(np.arange(len(group)), np.diff(offsets))
                scores = padded[owner, self.shelf.places(question.item_rows)].double().numpy()
            for one, rows, first, last in zip(group, lists, offsets, offsets[1:]):
                assert rows is not None
                share = self._popularity.log_share(one.told.now_ms)[self.shelf.places(rows)]
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
            vectors = self.shelf.likeness[self.shelf.places(one.items)]
            order = diverse(one.score, vectors, k, one.question.diversity)
        elif one.question.variety:
            marks = self.answerer.clock.marks(one.items)
            order = DiverseGreedy(weight=one.question.variety).order(one.score, marks, k)
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


def _some(history: History, rows: list[int]) -> History:
    if len(rows) == history.num_users:
        return history
    return History.together([history.of_user(b) for b in rows])


def _source(trust: float) -> Source:
    return "model" if trust >= 1 else "blend" if trust > 0 else "prior"


def _nothing(reading: Reading) -> UserHistory:
    return UserHistory.of(UserLog(mark=_BARE_MARK, rows=[], whole=True), reading)
