"""From a bundle to live answers: user states, the engine, HTTP. Needs the extra ``serve`` for HTTP only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hpgr.serving.events import Event, Mark, Placed, UserLog


class UserStates(Protocol):
    """Where events are kept: they are the only truth, everything else is rebuilt from them. Safe to call from any thread.

    ``shared``: other processes write too, so that what is held in memory must be looked after at each request.
    """

    shared: bool

    def append(self, events: Sequence[Event], late_ms: int) -> list[Placed]:
        """What became of each event, in order; what is told ``accepted`` outlives the process.

        An event id that its user has had is a ``duplicate``; an event more than ``late_ms`` older than its user's newest is
        ``too_late``. Neither changes anything.

        Raises: StateError if nothing could be kept; then nothing was.
        """

    def read(self, asked: Sequence[tuple[str, Mark | None]]) -> list[UserLog]:
        """The log of each user, from its mark on where the mark is still good.

        Raises: StateError.
        """

    def find(self, beginning: str, most: int) -> list[str]:
        """Up to ``most`` users whose ids begin with a text, in order where the store has one.

        Raises: StateError.
        """

    def forget(self, user: str) -> int:
        """Remove everything of a user; the number of events that went.

        Raises: StateError.
        """

    def claim(self, fingerprint: str, item_type: str) -> str | None:
        """Take the states for a bundle; the fingerprint of the bundle that had them before, if another.

        Raises: DataError if the events are of items of another type.
        """

    def generation(self, raise_it: bool = False) -> int:
        """How often a reload was asked for, by any process."""

    def close(self) -> None: ...
