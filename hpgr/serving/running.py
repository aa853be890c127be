"""Starting the service: one process or several, lines of JSON for a log, an end that finishes what was begun."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError, HpgrError, UnsupportedError
from hpgr.serving.heap import keep_freed_memory
from hpgr.serving.service import Service
from hpgr.serving.settings import ServiceSettings

_SETTINGS, _KEY_FILE = "HPGR_SERVICE_SETTINGS", "HPGR_SERVICE_KEY_FILE"
_FINISH_S = 10
HERE = "hpgr.serving.running:from_environment"
"""Gives the application of one worker among several; in the words of uvicorn."""

logger = logging.getLogger("hpgr.serving")


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, event and the record's ``facts``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def run(
    settings: ServiceSettings,
    *,
    host: str,
    port: int,
    workers: int = 1,
    key_file: Path | None = None,
    announce: Callable[[dict[str, str]], None] = lambda facts: None,
    application: Callable[[Service], Any] | None = None,
    factory: str = HERE,
) -> None:
    """Serve until told to stop. ``announce`` hears of the ``url``, ``model`` and ``fingerprint`` before it begins.

    ``application`` makes the application, by default ``create_app``; with several workers each has it from ``factory``.

    Raises: UnsupportedError without the extra ``serve``; ConfigError for several workers on a state for one; what ``Service``
    raises, before anything is listened to.
    """
    try:
        import uvicorn

        import hpgr.serving.app
    except ImportError as error:
        raise UnsupportedError(
            f"hpgr serve must have {error.name}, which is not installed; install it with: pip install 'hpgr[serve]'"
        ) from None
    if workers < 1:
        raise ConfigError(f"workers ({workers}) must be at least 1")
    if workers > 1 and settings.state.startswith("sqlite:"):
        raise ConfigError(f"workers ({workers}) must be 1 with a state in SQLite; give --state redis://HOST:PORT/0")
    listening: dict[str, Any] = {
        "host": host,
        "port": port,
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": _FINISH_S,
        "server_header": False,
    }
    keep_freed_memory()
    # With several workers too: a bundle that cannot be used is to be told of here, not by each of them again and again.
    service = Service(settings)
    engine = service.engine
    log_as_json()
    if service.taken_over is not None:
        facts = {"from": service.taken_over, "to": engine.fingerprint}
        logger.info("the states of another bundle are read anew from their events", extra={"facts": facts})
    try:
        app = (application or hpgr.serving.app.create_app)(service)
    except HpgrError:
        service.close()
        raise
    announce({"url": f"http://{host}:{port}", "model": engine.model, "fingerprint": engine.fingerprint})
    if workers == 1:
        uvicorn.run(app, **listening)
        return
    service.close()
    del service, engine, app  # the workers read the bundle themselves
    os.environ[_SETTINGS] = json.dumps(to_tree(_texts(settings)))
    os.environ[_KEY_FILE] = "" if key_file is None else str(key_file)
    uvicorn.run(factory, factory=True, workers=workers, **listening)


def from_environment() -> Any:
    """The application of one worker among several."""
    from hpgr.serving.app import create_app

    return create_app(service_from_environment())


def service_from_environment() -> Service:
    """The service of one worker among several."""
    keep_freed_memory()
    log_as_json()
    settings = from_tree(json.loads(os.environ[_SETTINGS]))
    key_file = os.environ[_KEY_FILE]
    shadow = None if settings.shadow is None else Path(settings.shadow)
    settings = replace(
        settings, bundle=Path(settings.bundle), shadow=shadow, api_key=read_key(Path(key_file) if key_file else None)
    )
    return Service(settings)


def read_key(path: Path | None) -> str | None:
    """The first line of a file.

    Raises: ConfigError if it is empty.
    """
    if path is None:
        return None
    lines = path.read_text().split("\n", 1)
    if not lines[0].strip():
        raise ConfigError(f"api_key_file ({path}) must hold a key in its first line")
    return lines[0].strip()


def log_as_json() -> None:
    """Our lines and uvicorn's, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("hpgr.serving", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def _texts(settings: ServiceSettings) -> Any:
    """The settings without paths and key, which no JSON holds."""
    shadow = None if settings.shadow is None else str(settings.shadow)
    return replace(settings, bundle=str(settings.bundle), shadow=shadow, api_key=None)  # type: ignore[arg-type]
