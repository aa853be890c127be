"""A small client of the service, on the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from hpgr.core.errors import ConfigError, HpgrError


class ServiceError(HpgrError, RuntimeError):
    """The service refused; ``status`` is that of HTTP, ``retry_after_s`` when to come back, where it says."""

    def __init__(self, status: int, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"service answered {status}: {sentence}")
        self.status, self.retry_after_s = status, retry_after_s


class Client:
    """One connection that is kept; not to be shared by threads. Answers are the JSON objects of the service."""

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, api_key: str | None = None, timeout_s: float = 10
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"url ({url}) must begin with http:// or https:// and name a host")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._headers = {"Content-Type": "application/json"} | ({"X-API-Key": api_key} if api_key else {})

    def events(self, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Tell events: ``user_id, item_id, timestamp`` and optionally ``event_id, event, session_id``."""
        return self._ask("POST", "/v1/events", {"events": [_plain(event) for event in events]})

    def recommend(self, user_id: int | str | None = None, **wanted: Any) -> dict[str, Any]:
        """For a user, or for ``history=[...]``; further options as in the service's ``/docs``."""
        return self._ask("POST", "/v1/recommend", _plain({"user_id": user_id} | wanted))

    def rank(
        self, user_id: int | str | None = None, *, candidates: Sequence[int | str], **wanted: Any
    ) -> dict[str, Any]:
        """Candidates in order."""
        return self._ask("POST", "/v1/rank", _plain({"user_id": user_id, "candidates": list(candidates)} | wanted))

    def similar(self, item_id: int | str, **wanted: Any) -> dict[str, Any]:
        """Items like one item."""
        return self._ask("POST", "/v1/similar", _plain({"item_id": item_id} | wanted))

    def state(self, user_id: int | str) -> dict[str, Any]:
        """What is kept of a user."""
        return self._ask("GET", f"/v1/users/{quote(str(user_id), safe='')}/state")

    def forget(self, user_id: int | str) -> dict[str, Any]:
        """Forget a user."""
        return self._ask("DELETE", f"/v1/users/{quote(str(user_id), safe='')}")

    def reload(self) -> dict[str, Any]:
        """Have the service read its bundle again."""
        return self._ask("POST", "/v1/reload", {})

    def ready(self) -> dict[str, Any]:
        """The name and fingerprint of the bundle that answers."""
        return self._ask("GET", "/readyz")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Raises: ServiceError; OSError where nothing answers. A connection that the service had closed is opened again."""
        content = None if body is None else json.dumps(body).encode()
        for attempt in (1, 2):
            try:
                self._connection.request(method, path, content, self._headers)
                response = self._connection.getresponse()
                text = response.read()
                break
            except (HTTPException, ConnectionError):
                self._connection.close()
                if attempt == 2:
                    raise
        answer = json.loads(text) if text else {}
        if response.status >= 400:
            wait = response.headers.get("Retry-After")
            sentence = answer.get("error") or str(answer.get("detail", response.reason))
            raise ServiceError(response.status, sentence, None if wait is None else float(wait))
        return answer


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }
