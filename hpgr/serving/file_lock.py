"""One process at a time for a file, as long as it lives: the system lets go of the lock when a process ends, killed or not."""

from __future__ import annotations

import os
import sys

from hpgr.core.errors import DataError


class FileLock:
    """The lock on the file ``PATH.lock`` beside a state, which stays there. Without ``flock`` (Windows) nothing is locked."""

    def __init__(self, path: str) -> None:
        """Take it; two names of one file are one lock.

        Raises: DataError if another store has it, or nothing can be written there.
        """
        try:
            self._descriptor: int | None = os.open(os.path.realpath(path) + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataError(
                f"state ({path}) must be a file in a folder that can be written to ({error.strerror}); give another path"
            ) from None
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise DataError(
                f"state ({path}) must belong to one process, and another has it; stop that one, or give "
                "redis://HOST:PORT/DB, which is for several"
            ) from None
        except OSError:  # a file system without locks
            return

    def release(self) -> None:
        """Let go; again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
