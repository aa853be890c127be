"""A service without its door: states, the bundle that answers, its shadow, and the threads that do the work."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock

import torch

from hpgr.core.errors import DataError, HpgrError
from hpgr.serving.batching import Batcher, OverCapacity
from hpgr.serving.clock import Clock
from hpgr.serving.engine import Engine
from hpgr.serving.events import Event, Mark, Placed, StateError, Stored
from hpgr.serving.metrics import Metrics
from hpgr.serving.probing import self_test
from hpgr.serving.questions import Answer, Question
from hpgr.serving.settings import ServiceSettings
from hpgr.serving.states import open_states
from hpgr.serving.user_history import UserHistory

logger = logging.getLogger("hpgr.serving")
_GROUPS_OF_EVENTS = 64
_RETRY_S = 10.0


class Service:
    """Everything behind HTTP. ``ask``, ``tell`` and ``forget`` give futures; what they raise is for the asker to read."""

    def __init__(self, settings: ServiceSettings, clock: Clock | None = None) -> None:
        """Open the bundle and the states, and test the bundle.

        Raises: DataError, ConfigError or UnsupportedError with the remedy if one of them cannot be used.
        """
        torch.set_num_threads(settings.threads)
        self.settings, self.metrics = settings, Metrics()
        self.clock = clock or Clock(noticed=self._clock_went_back)
        self.states = open_states(settings.state)
        self._engines: list[Engine] = []
        self._reload_lock = Lock()
        try:
            self.engine = self._opened(settings.bundle)
            self.shadow = None if settings.shadow is None else self._opened(settings.shadow)
            self.taken_over = self._claim(self.engine)
            self._generation = self.states.generation()
        except BaseException:
            self.states.close()  # another process may want them
            raise
        """The fingerprint of the bundle that had the states before, if another; they are read anew from their events."""
        limits = settings.limits
        self.asking: Batcher[Question, Answer] = Batcher(
            "ask",
            self._answer,
            most=limits.batch,
            wait_s=limits.wait_ms / 1000,
            queue=limits.queue,
            noticed=lambda size, seconds: self._noticed("ask", size, seconds),
        )
        self.telling: Batcher[tuple[Event, ...] | str, list[Placed] | int] = Batcher(
            "tell",
            self._keep,
            most=_GROUPS_OF_EVENTS,
            queue=limits.queue,
            noticed=lambda size, seconds: self._noticed("tell", size, seconds),
        )
        self._shadowing: Batcher[tuple[Question, Answer], None] = Batcher("shadow", self._compare, most=1, queue=32)
        self._retry_at_s = 0.0
        self._watch()

    def ask(self, question: Question) -> Future[Answer]:
        """Raises: OverCapacity."""
        return self.asking.submit(question)

    def tell(self, events: Sequence[Event]) -> Future[list[Placed] | int]:
        """What became of each event, once that is safe on the disk.

        Raises: OverCapacity.
        """
        return self.telling.submit(tuple(events))

    def forget(self, user: str) -> Future[list[Placed] | int]:
        """How many events of the user are gone.

        Raises: OverCapacity.
        """
        return self.telling.submit(user)

    def history(self, user: str) -> UserHistory:
        """Raises: StateError."""
        return self.engine.histories.of([user])[user]

    def similar(self, item: int | str, question: Question) -> Answer:
        """Raises: what ``Engine.similar`` does."""
        return self.engine.similar(item, question)

    def reload(self) -> str:
        """Read the bundle at the configured path, test it, and let it answer from the next batch on; its fingerprint.

        Raises: DataError or UnsupportedError if it cannot answer; then the old one goes on.
        """
        with self._reload_lock:
            old = self.engine
            new = None
            try:
                new = self._opened(self.settings.bundle)
                self._claim(new)
            except Exception as error:
                if new is not None:
                    self._engines.remove(new)
                self.metrics.reloads.labels("refused").inc()
                logger.warning("reload refused", extra={"facts": {"error": str(error), "kept": old.fingerprint}})
                raise
            self.engine = new
            self._engines.remove(old)
            self.metrics.reloads.labels("done").inc()
            logger.info("reloaded", extra={"facts": {"from": old.fingerprint, "to": new.fingerprint}})
            return new.fingerprint

    def reload_everywhere(self) -> str:
        """``reload`` here, and have the other processes on the same states do so too."""
        found = self.reload()
        self._generation = self.states.generation(raise_it=True)
        return found

    def follow(self) -> None:
        """Reload if another process was told to; after a refusal, again a while later."""
        try:
            asked = self.states.generation()
        except StateError:
            return
        if asked != self._generation and time.monotonic() >= self._retry_at_s:
            self._retry_at_s = time.monotonic() + _RETRY_S
            try:
                self.reload()
            except HpgrError:
                return
            self._generation, self._retry_at_s = asked, 0.0

    def close(self) -> None:
        """Answer what waits, then stop."""
        for batcher in (self.asking, self.telling, self._shadowing):
            batcher.close()
        self.states.close()

    def _opened(self, folder: object) -> Engine:
        try:
            engine = Engine(str(folder), self.states, self.settings.engine)
            self_test(engine)
        except HpgrError:
            raise
        except Exception as error:  # a damaged bundle may fail anywhere in what reads it
            raise DataError(
                f"bundle ({folder}) must be one that hpgr train wrote ({type(error).__name__}: {error}); write it again"
            ) from error
        # From here on it hears of every event, so that nothing is lost between its first reading and its first answer.
        self._engines.append(engine)
        return engine

    def _claim(self, engine: Engine) -> str | None:
        before = self.states.claim(engine.fingerprint, engine.reading.item_type)
        self.metrics.is_model(engine.model, engine.fingerprint)
        return before

    def _answer(self, questions: list[Question]) -> list[Answer | HpgrError]:
        answers = self.engine.answer(questions, self.clock.now_ms())
        for question, answer in zip(questions, answers):
            if isinstance(answer, Answer):
                self.metrics.answers.labels(answer.source).inc()
                if self.shadow is not None and random.random() < self.settings.shadow_share:
                    self._shadow(question, answer)
        return answers

    def _shadow(self, question: Question, answer: Answer) -> None:
        try:
            self._shadowing.submit((question, answer))
        except OverCapacity:
            self.metrics.shadow_lost.inc()

    def _compare(self, asked: list[tuple[Question, Answer]]) -> list[None]:
        for question, answer in asked:
            assert self.shadow is not None
            other = self.shadow.answer([question], answer.at_ms)[0]
            if not isinstance(other, Answer):
                self.metrics.shadow_lost.inc()
                continue
            ours, theirs = ([str(item) for item, _ in one.items] for one in (answer, other))
            self.metrics.shadow.inc()
            self.metrics.shadow_overlap.observe(len({*ours} & {*theirs}) / max(len(ours), 1))
            self.metrics.shadow_same_first.inc(ours[:1] == theirs[:1])
        return [None] * len(asked)

    def _keep(self, jobs: list[tuple[Event, ...] | str]) -> list[list[Placed] | int | HpgrError]:
        """Groups of events in one transaction; users to be forgotten between them, in order."""
        results: list[list[Placed] | int | HpgrError] = []
        at = 0
        while at < len(jobs):
            job = jobs[at]
            if isinstance(job, str):
                results.append(self._forgotten(job))
                at += 1
                continue
            end = next((i for i in range(at, len(jobs)) if isinstance(jobs[i], str)), len(jobs))
            results += self._kept([group for group in jobs[at:end] if not isinstance(group, str)])
            at = end
        return results

    def _kept(self, groups: list[tuple[Event, ...]]) -> list[list[Placed] | int | HpgrError]:
        latest = self.clock.now_ms() + self.settings.limits.ahead_s * 1000
        events = [event for group in groups for event in group]
        past = [event for event in events if event.time_ms <= latest]
        try:
            placed = iter(self.states.append(past, int(self.settings.limits.late_s * 1000)))
        except StateError as error:
            return [error] * len(groups)
        found = [next(placed) if event.time_ms <= latest else Placed("too_early") for event in events]
        self._spread(events, found)
        outcome = iter(found)
        return [[next(outcome) for _ in group] for group in groups]

    def _spread(self, events: list[Event], placed: list[Placed]) -> None:
        """Tell what is held in memory."""
        rows: dict[str, list[Stored]] = {}
        marks: dict[str, Mark] = {}
        for event, one in zip(events, placed):
            self.metrics.events.labels(one.status).inc()
            if one.stored is not None and one.mark is not None:
                rows.setdefault(event.user, []).append(one.stored)
                marks[event.user] = one.mark
        for engine in list(self._engines):
            for user, stored in rows.items():
                engine.histories.appended(user, stored, marks[user])

    def _forgotten(self, user: str) -> int | HpgrError:
        try:
            gone = self.states.forget(user)
        except StateError as error:
            return error
        finally:
            for engine in list(self._engines):
                engine.forget(user)
        return gone

    def _clock_went_back(self) -> None:
        self.metrics.clock_backwards.inc()
        logger.warning("the clock went backwards; the service stays at the latest time it saw")

    def _noticed(self, queue: str, size: int, seconds: float) -> None:
        self.metrics.batch_size.labels(queue).observe(size)
        self.metrics.batch_seconds.labels(queue).observe(seconds)

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("ask_queue", lambda: self.asking.depth)
        watch("tell_queue", lambda: self.telling.depth)
        watch("histories", lambda: len(self.engine.histories))
        watch("history_bytes", lambda: self.engine.histories.counts.bytes)
        watch("cache_hits", lambda: self.engine.histories.counts.hits)
        watch("cache_misses", lambda: self.engine.histories.counts.misses)
        watch("kept_states", lambda: len(self.engine.kept))
        watch("kept_bytes", lambda: self.engine.kept.counts.bytes)
        watch("kept_hits", lambda: self.engine.kept.counts.hits)
        watch("kept_grown", lambda: self.engine.kept.counts.grown)
        watch("kept_begun", lambda: self.engine.kept.counts.begun)
        watch("damaged_rows", lambda: self.engine.histories.counts.damaged)
