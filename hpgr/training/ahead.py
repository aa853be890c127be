"""Batches made ahead of the step that needs them, by threads; the same ones in the same order as without."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol, runtime_checkable

_AHEAD = 2
_END = object()


@runtime_checkable
class Numbered(Protocol):
    """Batches that can be made one by one, in any order and by several threads at once."""

    def batch(self, number: int) -> Any: ...


def ahead(batches: Any, start: int, stop: int, workers: int) -> Iterator[Any]:
    """Batches ``start … stop-1`` of the present epoch in order, made by ``workers`` threads; by the caller if 0.

    Each worker is two batches ahead at most. Batches that have no number follow from each other: one thread makes them,
    and those before ``start`` are made too. An error in a worker is raised where its batch is asked for, as it is.
    Workers end with the iterator, also where that is broken off.
    """
    numbers: Iterator[int] = iter(range(start, stop))
    make: Callable[[int], Any]
    if isinstance(batches, Numbered):
        make = batches.batch
    else:
        rest = islice(iter(batches), start, stop)
        workers = min(workers, 1)

        def make(number: int) -> Any:
            return next(rest, _END)

    made = map(make, numbers) if workers == 0 else _by_threads(make, numbers, workers)
    for batch in made:
        if batch is _END:
            return
        yield batch


def _by_threads(make: Callable[[int], Any], numbers: Iterator[int], workers: int) -> Iterator[Any]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    waiting: deque[Future[Any]] = deque(pool.submit(make, number) for number in islice(numbers, _AHEAD * workers))
    try:
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(pool.submit(make, number) for number in islice(numbers, 1))
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
