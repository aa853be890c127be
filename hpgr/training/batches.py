"""Our batches as Lightning's Trainer takes them: an iterable that begins where the stage stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import DataError
from hpgr.training.ahead import ahead


class Batches(Protocol):
    """Batches of one epoch at a time, the same for the same seed and epoch."""

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(kw_only=True, slots=True)
class Position:
    """Where a stage stands: whole epochs done, steps done in the present one, steps done in all."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0

    def next_step(self) -> None:
        self.step_in_epoch += 1
        self.step += 1

    def next_epoch(self) -> None:
        self.epoch += 1
        self.step_in_epoch = 0


class EpochBatches:
    """The rest of the epoch at which ``position`` stands, each time it is asked; at most ``limit`` batches an epoch.

    It has no length, for that of a resumed epoch is another; ``steps`` is that of the whole epoch last begun.
    ``waited_s``: how long training has waited for batches so far. ``before_epoch``, where there is one, is called with the
    number of an epoch and its batches before the first of them is made for training; not where an epoch is resumed.
    """

    def __init__(self, batches: Batches, position: Position, limit: int | None, workers: int = 0) -> None:
        """``workers``: threads that make batches ahead of training, as ``ahead`` has them."""
        self._batches = batches
        self._position = position
        self._limit = limit
        self._workers = workers
        self.steps = 0
        self.waited_s = 0.0
        self.before_epoch: Callable[[int, Iterable[Any]], None] | None = None

    def __iter__(self) -> Iterator[Any]:
        self.steps = self.steps_of(self._position.epoch)
        if self.before_epoch is not None and self._position.step_in_epoch == 0:
            self.before_epoch(self._position.epoch, _Epoch(batches=self._batches, steps=self.steps))
        begun = time.perf_counter()
        for batch in ahead(self._batches, self._position.step_in_epoch, self.steps, self._workers):
            self.waited_s += time.perf_counter() - begun
            yield batch
            begun = time.perf_counter()

    def steps_of(self, epoch: int) -> int:
        """Batches in a whole epoch.

        Raises: DataError if there are none.
        """
        self._batches.set_epoch(epoch)
        count = len(self._batches)
        if count == 0:
            raise DataError(
                "training batches (0) must be at least 1; the split leaves no training sequence long enough"
            )
        return count if self._limit is None else min(count, self._limit)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Epoch:
    """The first ``steps`` batches of the present epoch, anew on every pass."""

    batches: Batches
    steps: int

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.batches), self.steps)


def moved(batch: Any, device: torch.device) -> Any:
    """A ``History``, or a tuple with one, on ``device``."""
    return tuple(part.to(device) for part in batch) if isinstance(batch, tuple) else batch.to(device)


def tokens_of(batch: Any) -> int:
    """Events and candidates in a batch."""
    if isinstance(batch, tuple):
        return sum(tokens_of(part) for part in batch)
    if isinstance(batch, History):
        return batch.num_events
    return batch.num_candidates if isinstance(batch, Candidates) else 0
