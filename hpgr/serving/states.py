"""Where user states are kept, by the words of the command line."""

from __future__ import annotations

from hpgr.core.errors import ConfigError
from hpgr.serving import UserStates
from hpgr.serving.redis_states import RedisStates
from hpgr.serving.sqlite_states import SqliteStates


def open_states(where: str) -> UserStates:
    """``sqlite:PATH`` (one process) or ``redis://HOST:PORT/DB`` (several).

    Raises: ConfigError for anything else; what the stores raise.
    """
    kind, _, path = where.partition(":")
    if kind == "sqlite" and path:
        return SqliteStates(path)
    if kind in ("redis", "rediss", "unix"):
        return RedisStates(where)
    raise ConfigError(f"state ({where}) must be sqlite:PATH or redis://HOST:PORT/DB")
