"""User states in Redis, for several processes: a list of events a user, appended to by a script, so that nothing interleaves.

What is acknowledged is as safe as Redis is told to keep it: ``appendonly yes`` and ``appendfsync always`` lose nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hpgr.core.errors import DataError, UnsupportedError
from hpgr.serving.events import Event, Mark, Placed, StateError, Stored, UserLog, checksum

SCHEMA = 1
_APPEND = """
local meta, ids, log, late = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[2])
local epoch, newest = redis.call('HGET', meta, 'epoch'), tonumber(redis.call('HGET', meta, 'newest'))
local out = {}
for i = 3, #ARGV, 3 do
    local key, time = ARGV[i], tonumber(ARGV[i + 1])
    if redis.call('HEXISTS', ids, key) == 1 then out[#out + 1] = 'duplicate'
    elseif newest and time < newest - late then out[#out + 1] = 'too_late'
    else
        if not epoch then epoch = ARGV[1]; redis.call('HSET', meta, 'epoch', epoch) end
        local seq = redis.call('RPUSH', log, ARGV[i + 2])
        redis.call('HSET', ids, key, seq)
        if not newest or time > newest then newest = time; redis.call('HSET', meta, 'newest', ARGV[i + 1]) end
        out[#out + 1] = tostring(seq)
    end
end
return {epoch or '', out}
"""
_READ = """
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
if epoch ~= '' and epoch == ARGV[1] then return {epoch, 0, redis.call('LRANGE', KEYS[3], ARGV[2], -1)} end
return {epoch, 1, redis.call('LRANGE', KEYS[3], 0, -1)}
"""
_FORGET = "local n = redis.call('LLEN', KEYS[3]); redis.call('DEL', KEYS[1], KEYS[2], KEYS[3]); return n"
# Signs that a pattern of Redis takes for more than themselves; and how long a search for users may go on.
_GLOB = "*?[]^\\"
_SCANS, _SCANNED = 100, 1000
_Answer = TypeVar("_Answer")


class RedisStates:
    """See ``UserStates``. Keys begin with ``hpgr:1:``; those of one user share a hash tag."""

    shared = True

    def __init__(self, url: str, timeout_s: float = 2.0) -> None:
        """Connect to ``url``.

        Raises: UnsupportedError without the package; DataError if nothing answers there.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise UnsupportedError(
                "state in Redis must have the package redis; install it with: pip install 'hpgr[serve]'"
            ) from None
        self.url = url
        self._error = redis.RedisError
        self._redis: Any = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            decode_responses=True,
            encoding_errors="surrogatepass",
            # One try more, on a new connection: those of a restarted server are dead.
            retry=Retry(NoBackoff(), 1),
        )
        self._append, self._read = (self._redis.register_script(text) for text in (_APPEND, _READ))
        try:
            self._redis.ping()
        except self._error as error:
            raise DataError(
                f"state ({url}) must be a Redis that answers ({error}); start it, or give another"
            ) from None

    def append(self, events: Sequence[Event], late_ms: int) -> list[Placed]:
        """See ``UserStates``; the events of a user are kept together or not at all."""
        by_user: dict[str, list[int]] = {}
        for i, event in enumerate(events):
            by_user.setdefault(event.user, []).append(i)
        placed: list[Placed] = [Placed("duplicate")] * len(events)

        def write() -> list[Placed]:
            pipe = self._redis.pipeline(transaction=False)
            for user, rows in by_user.items():
                words: list[Any] = [secrets.token_hex(8), late_ms]
                for i in rows:
                    words += [events[i].key(), events[i].time_ms, _packed(events[i])]
                self._append(keys=_keys(user), args=words, client=pipe)
            for rows, (epoch, outcomes) in zip(by_user.values(), pipe.execute()):
                for i, outcome in zip(rows, outcomes):
                    placed[i] = _placed(events[i], epoch, outcome)
            return placed

        return self._guarded(write, "written")

    def read(self, asked: Sequence[tuple[str, Mark | None]]) -> list[UserLog]:
        """See ``UserStates``."""

        def read() -> list[UserLog]:
            pipe = self._redis.pipeline(transaction=False)
            for user, mark in asked:
                self._read(keys=_keys(user), args=[mark.epoch, mark.seq] if mark else ["", 0], client=pipe)
            return [_log(user, mark, *found) for (user, mark), found in zip(asked, pipe.execute())]

        return self._guarded(read, "read") if asked else []

    def find(self, beginning: str, most: int) -> list[str]:
        """See ``UserStates``; in no order, and of many millions of keys only the first are looked at."""
        before, after = f"hpgr:{SCHEMA}:{{", "}:meta"

        def read() -> list[str]:
            found: dict[str, None] = {}
            cursor, pattern = 0, before + "".join(f"\\{c}" if c in _GLOB else c for c in beginning) + "*" + after
            for _ in range(_SCANS):
                cursor, keys = self._redis.scan(cursor, match=pattern, count=_SCANNED)
                found |= dict.fromkeys(key[len(before) : -len(after)] for key in keys)
                if cursor == 0 or len(found) >= most:
                    break
            return sorted(found)[:most]

        return self._guarded(read, "read")

    def forget(self, user: str) -> int:
        """See ``UserStates``."""
        return int(self._guarded(lambda: self._redis.eval(_FORGET, 3, *_keys(user)), "written"))

    def claim(self, fingerprint: str, item_type: str) -> str | None:
        """See ``UserStates``."""
        had = self._guarded(lambda: self._redis.hgetall(f"hpgr:{SCHEMA}:facts"), "read")
        if had.get("item_type", item_type) != item_type:
            raise DataError(
                f"state ({self.url}) must be of items whose ids are {item_type}s, as the bundle's are, and holds "
                f"{had['item_type']}s; give another --state, or the bundle that it belongs to"
            )
        facts = {"fingerprint": fingerprint, "item_type": item_type}
        self._guarded(lambda: self._redis.hset(f"hpgr:{SCHEMA}:facts", mapping=facts), "written")
        before = had.get("fingerprint")
        return before if before != fingerprint else None

    def generation(self, raise_it: bool = False) -> int:
        """See ``UserStates``."""
        ask = self._redis.incr if raise_it else self._redis.get
        return int(self._guarded(lambda: ask(f"hpgr:{SCHEMA}:generation"), "read") or 0)

    def close(self) -> None:
        self._redis.close()

    def _guarded(self, work: Callable[[], _Answer], done: str) -> _Answer:
        try:
            return work()
        except self._error as error:
            raise StateError(f"state ({self.url}) could not be {done} ({error}); nothing was acknowledged") from error


def _keys(user: str) -> list[str]:
    return [f"hpgr:{SCHEMA}:{{{user}}}:{name}" for name in ("meta", "ids", "log")]


def _packed(event: Event) -> str:
    # The row's place is known to Redis alone, so the checksum leaves it out.
    key = event.key()
    columns = [event.time_ms, event.item, event.action, event.session]
    return json.dumps([key, *columns, checksum(event.user, 0, key, event)])


def _placed(event: Event, epoch: str, outcome: str) -> Placed:
    if outcome in ("duplicate", "too_late"):
        return Placed("duplicate" if outcome == "duplicate" else "too_late")
    seq = int(outcome)
    return Placed("accepted", Mark(epoch, seq), Stored(seq, event.time_ms, event.item, event.action, event.session))


def _log(user: str, mark: Mark | None, epoch: str, whole: int, packed: list[str]) -> UserLog:
    before = 0 if whole or mark is None else mark.seq
    kept = []
    for place, text in enumerate(packed, start=before + 1):
        try:
            key, *columns, written = json.loads(text)
            stored = Stored(place, *columns)
            if written == checksum(user, 0, key, stored):
                kept.append(stored)
        except (TypeError, ValueError):
            continue
    last = Mark(epoch, before + len(packed))
    return UserLog(mark=last, rows=kept, whole=bool(whole), damaged=len(packed) - len(kept))
