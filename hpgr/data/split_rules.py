"""The ways to hold out events: by time, the last event, the last session, rolling windows, or as given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

import numpy as np

from hpgr.core.errors import ConfigError
from hpgr.core.units import seconds

Targets = Literal["first", "last", "successive", "all"]
_TARGETS = ("first", "last", "successive", "all")


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalTime:
    """Events from ``test_from`` on are tested, those from ``valid_from`` until then validated, earlier ones trained on.

    A border is an ISO date-time (UTC where it names no zone) or ms; left out, it is where ``test_share`` of all events,
    and ``valid_share`` of all events before them, begin. Events from ``test_until`` on are in no part.
    ``max_targets_per_user``: only so many held-out events of a user, the first ones, are targets.
    """

    test_share: float = 0.1
    valid_share: float = 0.1
    targets: Targets = "successive"
    max_targets_per_user: int | None = None
    valid_from: int | str | None = None
    test_from: int | str | None = None
    test_until: int | str | None = None

    def __post_init__(self) -> None:
        _check_targets(self.targets)
        for name, share in (("test_share", self.test_share), ("valid_share", self.valid_share)):
            if not 0 < share < 1:
                raise ConfigError(f"{name} ({share}) must lie between 0 and 1")
        held_out = self.test_share + self.valid_share
        if held_out >= 1:
            raise ConfigError(f"test_share + valid_share ({held_out:g}) must be below 1, to leave training events")
        limit = self.max_targets_per_user
        if limit is not None and limit < 1:
            raise ConfigError(f"max_targets_per_user ({limit}) must be at least 1")
        if limit is not None and self.targets in ("first", "last"):
            raise ConfigError(
                f"max_targets_per_user ({limit}) must be None where targets ({self.targets}) is one a user"
            )
        for name in ("valid_from", "test_from", "test_until"):
            border_ms(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaveOneOut:
    """Of each user the last event is tested, the one before it validated, the rest trained on.

    A user with no event before the last one is in no part. ``train_on_validation``: the event before the last one is trained
    on too and nothing is validated, as some published protocols have it; the test questions stay the same.
    """

    train_on_validation: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LastSession:
    """Of each user the last session is tested, the one before it validated, the rest trained on.

    A user of two sessions is not validated; one of a single session is only trained on.
    """

    targets: Targets = "successive"

    def __post_init__(self) -> None:
        _check_targets(self.targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A column of the log says for each event whether it is trained on (0), validated (1) or tested (2).

    Without a ``column``, ``split`` is given the parts as an array.
    """

    column: str | None = None
    targets: Targets = "successive"

    def __post_init__(self) -> None:
        _check_targets(self.targets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rolling:
    """``num_windows`` splits by time: the last ``window`` (a duration such as ``1d``) is tested, the one before it …

    Each is validated on the window before its test window and trained on everything earlier.
    """

    num_windows: int
    window: str
    targets: Targets = "successive"

    def __post_init__(self) -> None:
        _check_targets(self.targets)
        if self.num_windows < 1:
            raise ConfigError(f"num_windows ({self.num_windows}) must be at least 1")
        if seconds(self.window) <= 0:
            raise ConfigError(f"window ({self.window}) must be longer than 0")

    def splits(self, time_ms: np.ndarray) -> tuple[GlobalTime, ...]:
        """The splits of a log with these event times ``[N]``, oldest first; each goes to ``split``."""
        size = round(seconds(self.window) * 1000)
        end = int(np.max(time_ms)) + 1
        return tuple(
            GlobalTime(
                targets=self.targets,
                valid_from=end - (i + 1) * size,
                test_from=end - i * size,
                test_until=end - (i - 1) * size,
            )
            for i in range(self.num_windows, 0, -1)
        )


SplitRule = GlobalTime | LeaveOneOut | LastSession | Given


def border_ms(name: str, border: int | str | None) -> int | None:
    """A border in ms, UTC.

    Raises: ConfigError if it is text that is no date-time.

    >>> border_ms("test_from", "2024-01-01T01:00+01:00")
    1704067200000
    """
    if not isinstance(border, str):
        return border
    try:
        moment = datetime.fromisoformat(border.removesuffix("Z") + ("+00:00" if border.endswith("Z") else ""))
    except ValueError:
        raise ConfigError(f"{name} ({border}) must be an ISO date-time such as 2024-01-31T08:00, or ms") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)


def _check_targets(targets: str) -> None:
    if targets not in _TARGETS:
        raise ConfigError(f"targets ({targets}) must be one of {', '.join(_TARGETS)}")
