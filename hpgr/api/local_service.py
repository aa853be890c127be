"""A service beside a notebook: ``hpgr serve`` in a process of its own, stopped with the notebook."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from hpgr.core.errors import ConfigError, UnsupportedError
from hpgr.serving.client import Client, ServiceError

_POLL_S = 0.1
_FINISH_S = 15


class LocalService:
    """``url``: where it answers, and where its page is; ``stop()``, or the end of a ``with`` or of Python, ends it."""

    def __init__(
        self,
        bundle: Path | Callable[[Path], object],
        *,
        port: int = 0,
        state: str | None = None,
        store: Path | None = None,
        start_s: float = 120.0,
    ) -> None:
        """Returns when it is ready. ``bundle``: a folder, or what writes one, which is then removed at the end. ``port`` 0: a free
        one. ``state`` None: forgotten at the end. ``store``: whose users the page shows too.

        Raises: ConfigError for no such port, or one that is taken; UnsupportedError with the service's own sentence if it does not start in
        ``start_s`` seconds.
        """
        if not 0 <= port < 65536:
            raise ConfigError(f"port ({port}) must lie in 0 … 65535; 0 takes a free one")
        port = _free_port(port)
        self.url = f"http://127.0.0.1:{port}"
        folder = Path(tempfile.mkdtemp(prefix="hpgr-service-"))
        try:
            if not isinstance(bundle, Path):
                bundle(folder / "bundle")
                bundle = folder / "bundle"
            self._process = _begun(bundle, port, folder, state, store)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._end = weakref.finalize(self, _ended, self._process, folder)
        try:
            self._wait(start_s, folder / "log")
        except BaseException:
            self.stop()
            raise

    def client(self) -> Client:
        """A client of its own for each thread."""
        return Client(self.url)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Finish what was begun, then end; a second time does nothing."""
        self._end()

    def __enter__(self) -> LocalService:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<hpgr service at {self.url}{'' if self.running else ', stopped'}>"

    def _wait(self, start_s: float, log: Path) -> None:
        end_s = time.monotonic() + start_s
        while time.monotonic() < end_s:
            if not self.running:
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                said = next(
                    (x for x in reversed(lines) if x.startswith("error: ")), lines[-1] if lines else "it said nothing"
                )
                said = said.removeprefix("error: ")
                raise UnsupportedError(f"service at {self.url} (ended) must start: {said}")
            try:
                with self.client() as client:
                    client.ready()
                return
            except (OSError, HTTPException, ServiceError, ValueError):
                time.sleep(_POLL_S)
        raise UnsupportedError(
            f"service at {self.url} (not ready after {start_s:g} s) must start in time; give start_s"
        )


def _free_port(port: int) -> int:
    """``port``, or one that is free where it is 0; nothing else may answer there."""
    with socket.socket() as found:
        # As a server takes it: what a connection of before has left does not hinder.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port ({port}, {error.strerror}) must be free; 0 takes one that is") from None
        return int(found.getsockname()[1])


def _begun(bundle: Path, port: int, folder: Path, state: str | None, store: Path | None) -> subprocess.Popen[bytes]:
    words = ["serve", str(bundle), "--port", str(port), "--state", state or f"sqlite:{folder / 'state.sqlite'}"]
    words += [] if store is None else ["--store", str(store)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from hpgr.cli.main import main; main()", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def _ended(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.terminate()
    try:
        process.wait(_FINISH_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
