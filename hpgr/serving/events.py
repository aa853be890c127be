"""Events as clients tell them and as states keep them."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import Literal

from hpgr.core.errors import HpgrError

ItemId = int | str
Status = Literal["accepted", "duplicate", "too_late", "too_early"]


class StateError(HpgrError, RuntimeError):
    """User states cannot be read or written now; asking again later may help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """``user`` did ``action`` with ``item`` at ``time_ms``. ``user`` is the text of the user's id.

    ``event_id`` "" stands for the event's own content, so that telling it twice is harmless.
    """

    user: str
    item: ItemId
    time_ms: int
    event_id: str = ""
    action: str | None = None
    session: str | None = None

    def key(self) -> str:
        """What makes the event one of its kind among its user's."""
        if self.event_id:
            return f"id:{self.event_id}"
        # 7 and "7" are one item.
        content = json.dumps([str(self.item), self.time_ms, self.action, self.session])
        return "of:" + hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a log was read: ``epoch`` of the user (a new one after being forgotten) and the last ``seq``."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A kept event; ``seq`` counts a user's events in the order in which they arrived, from 1."""

    seq: int
    time_ms: int
    item: ItemId
    action: str | None
    session: str | None


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of an event; ``mark`` and ``stored`` where it was accepted."""

    status: Status
    mark: Mark | None = None
    stored: Stored | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UserLog:
    """``rows`` in order of arrival; ``whole``: all of the user's, else those after the mark that was asked with.

    ``damaged``: rows that no longer are what was written, left out.
    """

    mark: Mark
    rows: list[Stored]
    whole: bool
    damaged: int = 0


def checksum(user: str, seq: int, key: str, event: Event | Stored) -> int:
    """Of a row: a changed bit anywhere in it is seen."""
    fields = [user, seq, key, event.time_ms, event.item, event.action, event.session]
    return zlib.crc32(json.dumps(fields).encode())
