"""The histories that a bundle holds in memory: those asked for last, up to a budget, beside the states that keep the events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from hpgr.serving import UserStates
from hpgr.serving.events import Mark, Stored
from hpgr.serving.reading import Reading
from hpgr.serving.user_history import UserHistory


@dataclass(slots=True)
class CacheCounts:
    """``hits``: histories found in memory; ``misses``: read whole from the states; ``grown``: by newer events;
    ``damaged``: rows of logs that were left out, at each reading."""

    hits: int = 0
    misses: int = 0
    grown: int = 0
    damaged: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Reading:
    """Of a user's log, now: how many readers, and how often it has changed since the first of them began."""

    readers: int = 0
    changes: int = 0


class Histories:
    """Users' histories as one bundle reads them. Safe to call from any thread."""

    def __init__(self, states: UserStates, reading: Reading, budget_bytes: int) -> None:
        self.reading, self.counts = reading, CacheCounts()
        self._states, self._budget = states, budget_bytes
        self._held: OrderedDict[str, UserHistory] = OrderedDict()
        self._lock = Lock()
        self._reading_now: dict[str, _Reading] = {}

    def of(self, users: Sequence[str]) -> dict[str, UserHistory]:
        """The history of each user, an empty one for a user of whom nothing is kept.

        Raises: StateError if the states cannot be read and must be.
        """
        wanted, found = dict.fromkeys(users), {}
        with self._lock:
            held = {user: self._held[user] for user in wanted if user in self._held}
            for user in held:
                self._held.move_to_end(user)
            if not self._states.shared:
                found = held
            asked = [user for user in wanted if user not in found]
            begun = {user: self._begun(user) for user in asked}
        self.counts.hits += len(held)
        if not asked:
            return found
        try:
            marks: list[tuple[str, Mark | None]] = [(user, held[user].mark if user in held else None) for user in asked]
            for user, log in zip(asked, self._states.read(marks)):
                before = held.get(user)
                new = None
                if before is not None and not log.whole:
                    new = before.grown(log.rows, log.mark, self.reading) if not log.damaged else None
                    self.counts.grown += new is not None and new is not before
                if new is None:
                    self.counts.misses += 1
                    self.counts.damaged += log.damaged
                    new = UserHistory.of(log if log.whole else self._states.read([(user, None)])[0], self.reading)
                found[user] = new
        finally:
            with self._lock:
                for user, changes in begun.items():
                    current = self._ended(user) == changes
                    if user in found and not len(found[user]):
                        self._drop(user)  # forgotten, perhaps by another process
                    elif user in found and current:
                        self._put(user, found[user])
        return found

    def appended(self, user: str, rows: Sequence[Stored], mark: Mark) -> None:
        """Events were kept: what is held of the user grows, or is dropped where it must be read again."""
        with self._lock:
            self._changed(user)
            before = self._held.get(user)
            same = before is not None and before.mark.epoch == mark.epoch
            if before is None or (same and mark.seq <= before.mark.seq):
                return
            in_step = same and rows[0].seq <= before.mark.seq + 1
            new = before.grown(rows, mark, self.reading) if in_step else None
            if new is None:
                self._drop(user)
            else:
                self.counts.grown += 1
                self._put(user, new)

    def forget(self, user: str) -> None:
        """Nothing of the user stays in memory."""
        with self._lock:
            self._changed(user)
            self._drop(user)

    def __len__(self) -> int:
        return len(self._held)

    def _begun(self, user: str) -> int:
        reading = self._reading_now.setdefault(user, _Reading())
        reading.readers += 1
        return reading.changes

    def _ended(self, user: str) -> int:
        reading = self._reading_now[user]
        reading.readers -= 1
        if not reading.readers:
            del self._reading_now[user]
        return reading.changes

    def _changed(self, user: str) -> None:
        if user in self._reading_now:
            self._reading_now[user].changes += 1

    def _put(self, user: str, history: UserHistory) -> None:
        """The caller has the lock. The user asked for longest ago goes first."""
        self._drop(user)
        self._held[user] = history
        self.counts.bytes += history.num_bytes
        while self.counts.bytes > self._budget and self._held:
            self._drop(next(iter(self._held)))

    def _drop(self, user: str) -> None:
        gone = self._held.pop(user, None)
        if gone is not None:
            self.counts.bytes -= gone.num_bytes
