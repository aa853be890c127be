"""Requests that wait together are answered together; more than fit are turned away, not piled up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, Full, Queue
from threading import Thread
from typing import Generic, TypeVar

from hpgr.core.errors import HpgrError

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")
_STOPPING = "the service is stopping; ask another one"


class OverCapacity(HpgrError, RuntimeError):
    """Too many requests are waiting."""


class Batcher(Generic[JobT, ResultT]):
    """One thread that does ``work`` on batches of at most ``most`` jobs.

    It takes what is waiting; where that is one job only, it waits ``wait_s`` for others. A job whose future was cancelled
    is not done. ``work`` gives a result or an error for each job, in order; an error that it raises is that of every job.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[JobT]], Sequence[ResultT | HpgrError]],
        *,
        most: int,
        wait_s: float = 0.0,
        queue: int = 256,
        noticed: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        """``noticed`` hears of the size of each batch and of the seconds that it took."""
        self._work, self._most, self._wait_s, self._noticed = work, most, wait_s, noticed
        self._queue: Queue[tuple[JobT, Future[ResultT]] | None] = Queue(maxsize=queue)
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._closed = False
        self._thread.start()

    @property
    def depth(self) -> int:
        """Jobs that wait."""
        return self._queue.qsize()

    def submit(self, job: JobT) -> Future[ResultT]:
        """The job's result, later.

        Raises: OverCapacity if too many are waiting, or the batcher was closed.
        """
        future: Future[ResultT] = Future()
        if self._closed:
            raise OverCapacity(_STOPPING)
        try:
            self._queue.put_nowait((job, future))
        except Full:
            raise OverCapacity(
                f"waiting requests ({self._queue.maxsize}) must not grow; come back in a second"
            ) from None
        if self._closed and not self._thread.is_alive():
            self._drain()
        return future

    def close(self) -> None:
        """Finish what was submitted and stop; what was submitted meanwhile is told OverCapacity."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self._drain()

    def _drain(self) -> None:
        """Nobody works any more: what slipped in behind the end is turned away. ``submit`` does so where ``close`` is past this."""
        while True:
            try:
                late = self._queue.get_nowait()
            except Empty:
                return
            if late is not None and late[1].set_running_or_notify_cancel():
                late[1].set_exception(OverCapacity(_STOPPING))

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            taken, last = self._more(first)
            jobs = [(job, future) for job, future in taken if future.set_running_or_notify_cancel()]
            if jobs:
                self._do(jobs)
            if last:
                return

    def _more(self, first: tuple[JobT, Future[ResultT]]) -> tuple[list[tuple[JobT, Future[ResultT]]], bool]:
        taken, deadline = [first], time.monotonic() + self._wait_s
        while len(taken) < self._most:
            wait_s = deadline - time.monotonic() if len(taken) == 1 else 0.0
            try:
                found = self._queue.get(timeout=wait_s) if wait_s > 0 else self._queue.get_nowait()
            except Empty:
                break
            if found is None:
                return taken, True
            taken.append(found)
        return taken, False

    def _do(self, jobs: list[tuple[JobT, Future[ResultT]]]) -> None:
        begun = time.perf_counter()
        try:
            results = self._work([job for job, _ in jobs])
        except Exception as error:  # noqa: BLE001 - whatever it is, the askers are to hear of it and the thread is to live
            for _, future in jobs:
                future.set_exception(error)
        else:
            for (_, future), result in zip(jobs, results):
                if isinstance(result, HpgrError):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        self._noticed(len(jobs), time.perf_counter() - begun)
