"""User states in one SQLite file, for one process: a write-ahead log, synced to the disk before anything is acknowledged."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TypeVar

from hpgr.core.errors import DataError
from hpgr.serving.events import Event, Mark, Placed, StateError, Stored, UserLog, checksum
from hpgr.serving.file_lock import FileLock

SCHEMA = 1
_APPLICATION = 0x68706772
_TABLES = """
CREATE TABLE IF NOT EXISTS users (user TEXT PRIMARY KEY, epoch TEXT NOT NULL, newest_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (user TEXT, seq INTEGER, key TEXT, time_ms INTEGER, item, action TEXT, session TEXT,
    checksum INTEGER, PRIMARY KEY (user, seq)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS event_keys ON events (user, key);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""
_LAST_SIGN = chr(0x10FFFF)
_Answer = TypeVar("_Answer")


class SqliteStates:
    """See ``UserStates``. One connection writes and another reads, each behind its lock."""

    shared = False

    def __init__(self, path: str | Path) -> None:
        """Open or make the file at ``path``; ``:memory:`` keeps nothing.

        Raises: DataError if it is no file of ours, or of another version, or another process has it.
        """
        self.path = str(path)
        self._write_lock, self._read_lock = Lock(), Lock()
        # What one process holds in memory knows nothing of what another writes.
        self._file_lock = None if self.path == ":memory:" else FileLock(self.path)
        try:
            self._writer = self._connect()
            self._make()
            # A second connection to memory would see another database.
            self._reader = self._writer if self.path == ":memory:" else self._connect()
        except (sqlite3.Error, DataError) as error:
            self._unlock()
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"state ({self.path}) must be a file that hpgr serve wrote ({error}); give another path, or move it away"
            ) from None
        if self._reader is self._writer:
            self._read_lock = self._write_lock

    def append(self, events: Sequence[Event], late_ms: int) -> list[Placed]:
        """See ``UserStates``; one transaction for all."""

        def write() -> list[Placed]:
            with self._transaction():
                known: dict[str, tuple[str, int, int]] = {}
                placed = [self._placed(event, known, late_ms) for event in events]
                rows = [(user, epoch, newest) for user, (epoch, newest, _) in known.items()]
                self._writer.executemany("INSERT OR REPLACE INTO users VALUES (?, ?, ?)", rows)
            return placed

        return self._guarded(self._write_lock, write, "written")

    def read(self, asked: Sequence[tuple[str, Mark | None]]) -> list[UserLog]:
        """See ``UserStates``."""
        return self._guarded(self._read_lock, lambda: [self._log(user, mark) for user, mark in asked], "read")

    def find(self, beginning: str, most: int) -> list[str]:
        """See ``UserStates``; in the order of the ids."""

        def read() -> list[str]:
            # Text is compared by its bytes, so those that begin alike lie together, before the largest sign there is.
            rows = self._reader.execute(
                "SELECT user FROM users WHERE user >= ? AND user <= ? AND substr(user, 1, ?) = ? ORDER BY user LIMIT ?",
                (beginning, beginning + _LAST_SIGN, len(beginning), beginning, most),
            )
            return [user for (user,) in rows.fetchall()]

        return self._guarded(self._read_lock, read, "read")

    def forget(self, user: str) -> int:
        """See ``UserStates``. Freed pages are overwritten and the write-ahead log, which held them too, is emptied."""

        def write() -> int:
            with self._transaction():
                gone = self._writer.execute("DELETE FROM events WHERE user = ?", (user,)).rowcount
                self._writer.execute("DELETE FROM users WHERE user = ?", (user,))
            with self._read_lock if self._reader is not self._writer else Lock():
                busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if busy:
                raise StateError(f"state ({self.path}) must not be read by other programs while a user is forgotten")
            return gone

        return self._guarded(self._write_lock, write, "written")

    def claim(self, fingerprint: str, item_type: str) -> str | None:
        """See ``UserStates``."""

        def write() -> str | None:
            had = dict(self._writer.execute("SELECT name, value FROM facts").fetchall())
            any_event = self._writer.execute("SELECT 1 FROM events LIMIT 1").fetchone()
            if any_event and had.get("item_type", item_type) != item_type:
                raise DataError(
                    f"state ({self.path}) must be of items whose ids are {item_type}s, as the bundle's are, and holds "
                    f"{had['item_type']}s; give another --state, or the bundle that it belongs to"
                )
            with self._transaction():
                facts = [("fingerprint", fingerprint), ("item_type", item_type)]
                self._writer.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts)
            before = had.get("fingerprint")
            return before if before != fingerprint else None

        return self._guarded(self._write_lock, write, "written")

    def generation(self, raise_it: bool = False) -> int:
        """Always 0: there is no other process to be told."""
        return 0

    def close(self) -> None:
        """Empty the write-ahead log and close."""
        with self._write_lock:
            for connection in {id(c): c for c in (self._reader, self._writer)}.values():
                connection.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._file_lock is not None:
            self._file_lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing. ``with`` a connection would begin none: it commits each statement."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    def _make(self) -> None:
        application, version = (
            self._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        tables = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and (application, version) != (_APPLICATION, SCHEMA):
            raise DataError(
                f"state ({self.path}) has schema {version} and this hpgr reads {SCHEMA}; give another path, or move it away"
            )
        self._writer.execute(f"PRAGMA application_id = {_APPLICATION}")
        self._writer.execute(f"PRAGMA user_version = {SCHEMA}")
        self._writer.executescript(_TABLES)

    def _placed(self, event: Event, known: dict[str, tuple[str, int, int]], late_ms: int) -> Placed:
        user, key = event.user, event.key()
        if user not in known:
            found = self._writer.execute("SELECT epoch, newest_ms FROM users WHERE user = ?", (user,)).fetchone()
            last = self._writer.execute("SELECT max(seq) FROM events WHERE user = ?", (user,)).fetchone()[0] or 0
            epoch, newest = found or (secrets.token_hex(8), event.time_ms)
            known[user] = epoch, newest, last
        epoch, newest, last = known[user]
        if self._writer.execute("SELECT 1 FROM events WHERE user = ? AND key = ?", (user, key)).fetchone():
            return Placed("duplicate")
        if event.time_ms < newest - late_ms:
            return Placed("too_late")
        stored = Stored(last + 1, event.time_ms, event.item, event.action, event.session)
        self._writer.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (user, last + 1, key, *_columns(event), checksum(user, last + 1, key, event)),
        )
        known[user] = epoch, max(newest, event.time_ms), last + 1
        return Placed("accepted", Mark(epoch, last + 1), stored)

    def _log(self, user: str, mark: Mark | None) -> UserLog:
        found = self._reader.execute("SELECT epoch FROM users WHERE user = ?", (user,)).fetchone()
        if found is None:
            return UserLog(mark=Mark("", 0), rows=[], whole=True)
        whole = mark is None or mark.epoch != found[0]
        after = 0 if mark is None or whole else mark.seq
        rows = self._reader.execute(
            "SELECT seq, key, time_ms, item, action, session, checksum FROM events WHERE user = ? AND seq > ? ORDER BY seq",
            (user, after),
        ).fetchall()
        kept = []
        for seq, key, *columns, written in rows:
            stored = Stored(seq, *columns)
            try:
                sound = written == checksum(user, seq, key, stored)
            except TypeError:  # a column that became bytes
                sound = False
            if sound:
                kept.append(stored)
        last = rows[-1][0] if rows else after
        return UserLog(mark=Mark(found[0], last), rows=kept, whole=whole, damaged=len(rows) - len(kept))

    def _guarded(self, lock: Lock, work: Callable[[], _Answer], done: str) -> _Answer:
        try:
            with lock:
                return work()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StateError(f"state ({self.path}) could not be {done} ({error}); nothing was acknowledged") from error


def _columns(event: Event) -> tuple[int, int | str, str | None, str | None]:
    return event.time_ms, event.item, event.action, event.session
