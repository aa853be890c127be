"""The service's clock: UTC, in ms, never backwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Clock:
    """Where the machine's clock is set back, the service stays where it was until the machine has caught up."""

    def __init__(self, wall_s: Callable[[], float] = time.time, noticed: Callable[[], None] = lambda: None) -> None:
        """``noticed`` is called each time the clock begins to lie behind."""
        self._wall_s, self._noticed = wall_s, noticed
        self._latest, self._behind, self._lock = 0, False, Lock()

    def now_ms(self) -> int:
        """The latest time ever read."""
        with self._lock:
            now = int(self._wall_s() * 1000)
            behind = now < self._latest
            if behind and not self._behind:
                self._noticed()
            self._behind = behind
            self._latest = max(now, self._latest)
            return self._latest
