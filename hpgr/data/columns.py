"""Which columns of a log mean what, under the names of the user's file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from hpgr.core.errors import ConfigError, DataError, UnknownNameError

REQUIRED = ("user", "item", "time")
OPTIONAL = ("event", "weight", "session", "label", "request", "tie")


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Names in the user's file; of the optional ones, a default name is used where present, a given one must be.

    ``event`` kinds of action, ``weight`` ≥ 0, ``session`` the log's own sessions, ``label`` 0 or 1 for an item that was
    shown, ``request`` the list it was shown in, ``tie`` the order of simultaneous events, ``features`` numeric columns.
    """

    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    event: str = "event"
    weight: str = "weight"
    session: str = "session_id"
    label: str = "label"
    request: str = "request_id"
    tie: str | None = None
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [getattr(self, role) for role in REQUIRED]
        if len(set(names)) < len(names):
            raise ConfigError(f"columns ({', '.join(names)}) must be three different ones for user, item and time")
        if len(set(self.features)) < len(self.features):
            raise ConfigError(f"features ({', '.join(self.features)}) must not repeat")

    def present(self, names: Sequence[str], log: str) -> dict[str, str]:
        """Role to column for what a table with ``names`` has; features have roles ``feature:NAME``.

        Raises: DataError that lists every column missing, with the nearest present one.
        """
        wanted = {role: getattr(self, role) for role in REQUIRED}
        for role in OPTIONAL:
            name = getattr(self, role)
            if name is not None and (name != getattr(DEFAULT_COLUMNS, role) or name in names):
                wanted[role] = name
        wanted |= {f"feature:{name}": name for name in self.features}
        missing = [name for name in wanted.values() if name not in names]
        if missing:
            hints = "; ".join(str(UnknownNameError.of("column", name, names)) for name in missing)
            plural = "a column" if len(missing) == 1 else "columns"
            raise DataError(f"{plural} of {log} ({', '.join(missing)}) must be present; {hints}; name it with Columns")
        return wanted

    def named(self) -> tuple[str, ...]:
        """Every column that may be read."""
        single = (getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "features")
        return tuple(name for name in single if name is not None) + self.features


DEFAULT_COLUMNS = Columns()
