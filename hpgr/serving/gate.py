"""What every request passes through: the key, the size and pace of its body, a line of log and a measurement."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from uuid import uuid4

from hpgr.serving.service import Service

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger("hpgr.serving.requests")
OPEN = ("/healthz", "/readyz")
"""Answered without a key."""


class Gate:
    """ASGI middleware. A log line has the route, never the path, which may hold a user's id, and never a body."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], service: Service, also_open: Sequence[str] = ()
    ) -> None:
        """``also_open``: further paths that are answered without a key; they must tell nothing of users or items."""
        self._app, self._service, self._open = app, service, frozenset((*OPEN, *also_open))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._through(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - begun
            self._service.metrics.requests.labels(route, status).inc()
            self._service.metrics.seconds.labels(route).observe(seconds)
            if logger.isEnabledFor(logging.INFO):
                facts = {
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 2),
                    "request": uuid4().hex[:12],
                }
                logger.info("request", extra={"facts": facts})

    async def _through(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits, headers = self._service.settings.limits, dict(scope["headers"])
        if not self._has_key(scope["path"], headers):
            await refuse(send, 401, "api key (absent or wrong) must be sent as X-API-Key or Authorization: Bearer")
            return
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limits.body_bytes:
            await refuse(send, 413, f"body ({declared.decode('latin-1')} bytes) must have at most {limits.body_bytes}")
            return
        try:
            body = await asyncio.wait_for(_whole(receive, limits.body_bytes), limits.body_s)
        except asyncio.TimeoutError:
            await refuse(send, 408, f"body must arrive within {limits.body_s:g} s")
            return
        if body is None:
            await refuse(send, 413, f"body must have at most {limits.body_bytes} bytes")
            return
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)

    def _has_key(self, path: str, headers: dict[bytes, bytes]) -> bool:
        key = self._service.settings.api_key
        if key is None or path in self._open:
            return True
        bearer = headers.get(b"authorization", b"")
        given = headers.get(b"x-api-key", bearer[7:] if bearer[:7].lower() == b"bearer " else b"")
        return hmac.compare_digest(given, key.encode())


async def _whole(receive: Receive, most: int) -> bytes | None:
    """The body; None where it is larger than ``most`` bytes, and then its rest is not read."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def refuse(send: Send, status: int, sentence: str) -> None:
    """A short answer that ends the connection, so that an unread body is not taken for the next request."""
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
