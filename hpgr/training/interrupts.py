"""Ctrl-C and termination: finish the step, keep a checkpoint, say how to go on."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from hpgr.core.errors import HpgrError


class TrainingInterrupted(HpgrError):
    """Training was asked to stop; the text says how to go on."""


class StopRequest:
    """While entered, the first SIGINT or SIGTERM only sets ``asked``; a second one interrupts at once.

    Outside the main thread, where Python gives no signals, it never asks.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
