"""HTTP over a service: routes, what they say when something is wrong, and the life of the process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException as StarletteHTTPException

from hpgr.core.errors import HpgrError
from hpgr.serving import messages as m
from hpgr.serving.batching import OverCapacity
from hpgr.serving.events import StateError
from hpgr.serving.gate import Gate
from hpgr.serving.questions import Answer
from hpgr.serving.service import Service
from hpgr.version import __version__


class AnyText(Convertor[str]):
    """A part of a path with whatever is in it: an id may hold slashes and line breaks, and its user must be forgotten too."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anytext", AnyText())
_SAYS = {
    400: "what is no HTTP",
    401: "key",
    408: "body too slow",
    413: "body too large",
    422: "a field",
    429: "capacity",
    503: "states",
    504: "late",
}
router = APIRouter(responses={status: {"model": m.Refused, "description": what} for status, what in _SAYS.items()})
logger = logging.getLogger("hpgr.serving")
_Result = TypeVar("_Result")
_FOLLOW_S = 1.0
_LISTED = 5
_LOOPBACK = ("127.0.0.1", "::1")


def _service(request: Request) -> Service:
    return request.app.state.service


Served = Annotated[Service, Depends(_service)]
UserId = Annotated[str, Path(min_length=1, max_length=256)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Addition:
    """What a floor above adds: ``router``; paths of it that are ``open``, answered without a key; ``close``, called at the end."""

    router: APIRouter
    open: tuple[str, ...] = ()
    close: Callable[[], None] = lambda: None


def create_app(service: Service, addition: Addition | None = None) -> FastAPI:
    """The application; it closes the service when it ends, after what is in flight."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(service)) if service.states.shared else None
        try:
            yield
        finally:
            if following is not None:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
            if addition is not None:
                await asyncio.to_thread(addition.close)
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="hpgr",
        version=__version__,
        lifespan=life,
        description="Events in, recommendations out. Ids are your own: integers or strings.",
    )
    app.state.service = service
    app.include_router(router)
    if addition is not None:
        app.include_router(addition.router)
    app.add_middleware(Gate, service=service, also_open=() if addition is None else addition.open)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(TooLarge, _too_large)
    app.add_exception_handler(StarletteHTTPException, _not_so)
    for kind in (HpgrError, OverCapacity, StateError, asyncio.TimeoutError):
        app.add_exception_handler(kind, _failed)
    return app


@router.post("/v1/events", response_model=m.Told)
async def events(body: m.Events, service: Served) -> Response:
    """Tell what users did. When this answers, what it counts as accepted is safe on the disk."""
    _within(service, events=body.events)
    told = [event.event_of() for event in body.events]
    placed = await _waited(service.tell(told), service)
    reading = service.engine.reading
    unknown = dict.fromkeys(event.item for event in told if reading.row(event.item) < 0)
    actions = dict.fromkeys(e.action for e in told if e.action is not None and e.action not in reading.action_code)
    service.metrics.unknown_items.inc(len(unknown))
    status = [one.status for one in placed] if not isinstance(placed, int) else []
    return JSONResponse(
        {
            "accepted": status.count("accepted"),
            "duplicate": status.count("duplicate"),
            "too_late": [i for i, one in enumerate(status) if one == "too_late"],
            "too_early": [i for i, one in enumerate(status) if one == "too_early"],
            "unknown_items": list(unknown),
            "unknown_events": list(actions) if reading.action_code else [],
        }
    )


@router.post("/v1/recommend", response_model=m.Answered)
async def recommend(body: m.Recommend, service: Served) -> Response:
    """The best items for a user, or for a bare history."""
    _within(
        service,
        k=body.k,
        pool=body.pool,
        history=body.history,
        candidates=body.candidates,
        available=body.available,
        weights=body.weights,
    )
    return _answered(await _waited(service.ask(body.question()), service), body.user_id)


@router.post("/v1/rank", response_model=m.Answered)
async def rank(body: m.Rank, service: Served) -> Response:
    """Candidates in order, every one of them."""
    _within(service, history=body.history, candidates=body.candidates, weights=body.weights)
    return _answered(await _waited(service.ask(body.question()), service), body.user_id)


@router.post("/v1/similar", response_model=m.Answered)
async def similar(body: m.Similar, service: Served) -> Response:
    """Items whose vectors point the same way as an item's."""
    _within(service, k=body.k, available=body.available)
    return _answered(await asyncio.to_thread(service.similar, body.item_id, body.question()), None)


@router.get("/v1/users/{user_id:anytext}/state", response_model=m.State)
async def state(user_id: UserId, service: Served) -> Response:
    """What is kept of a user."""
    history = await asyncio.to_thread(service.history, user_id)
    return JSONResponse(
        {
            "user_id": user_id,
            "events": len(history),
            "sessions": len(history.session_offsets) - 1,
            "newest_ms": int(history.time_ms[-1]) if len(history) else None,
            "unknown_items": list(history.unknown),
            "damaged_rows": history.damaged,
            "fingerprint": history.fingerprint,
        }
    )


@router.delete("/v1/users/{user_id:anytext}", response_model=m.Forgotten)
async def forget(user_id: UserId, service: Served) -> Response:
    """Forget a user: every event, on the disk and in memory."""
    return JSONResponse({"user_id": user_id, "events": await _waited(service.forget(user_id), service)})


@router.post("/v1/reload", response_model=m.Reloaded, responses={s: {"model": m.Refused} for s in (403, 409)})
async def reload(request: Request, service: Served) -> Response:
    """Read the configured bundle again, test it, and answer with it. Without an API key, from this machine only."""
    if service.settings.api_key is None and (request.client is None or request.client.host not in _LOOPBACK):
        raise HTTPException(403, "reload must come from this machine, or the service must have an API key")
    try:
        return JSONResponse({"fingerprint": await asyncio.to_thread(service.reload_everywhere)})
    except StateError:
        raise
    except HpgrError as error:
        sentence = f"bundle refused, the old one goes on: {_sentence(error)}"
        return JSONResponse({"error": sentence}, status_code=409)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(service: Served) -> Response:
    """It can answer and keep events."""
    await asyncio.to_thread(service.states.generation)
    return JSONResponse({"status": "ok", "model": service.engine.model, "fingerprint": service.engine.fingerprint})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Served) -> Response:
    """For Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _follow(service: Service) -> None:
    while True:
        await asyncio.sleep(_FOLLOW_S)
        try:
            await asyncio.to_thread(service.follow)
        except Exception:  # whatever it is, the next reload is to be heard of
            logger.exception("following other processes failed; it goes on")


async def _waited(future: Future[_Result], service: Service) -> _Result:
    """Raises: TimeoutError; a job that nobody waits for any more is not begun."""
    return await asyncio.wait_for(asyncio.wrap_future(future), service.settings.limits.timeout_s)


def _answered(answer: Answer, user: int | str | None) -> Response:
    items = [{"item_id": item, "score": score, "rank": i} for i, (item, score) in enumerate(answer.items, start=1)]
    return JSONResponse(
        {
            "user_id": user,
            "items": items,
            "source": answer.source,
            "ordered_by": answer.ordered_by,
            "at_ms": answer.at_ms,
            "history_length": answer.history_length,
            "dropped_events": answer.dropped_events,
            "unknown_items": list(answer.unknown_items),
            "unknown_candidates": list(answer.unknown_candidates),
            "fingerprint": answer.fingerprint,
        }
    )


class TooLarge(Exception):
    """A ``field`` of a body is larger than its limit."""

    def __init__(self, field: str, size: int, limit: int) -> None:
        super().__init__(f"{field} ({size}) must be at most {limit}")
        self.field = field


def _within(service: Service, **given: int | Sequence[Any] | None) -> None:
    """Raises: TooLarge."""
    limits = service.settings.limits
    most = {"pool": limits.candidates, "weights": limits.candidates}
    for field, value in given.items():
        size = len(value) if isinstance(value, Sequence) else value or 0
        limit = most[field] if field in most else getattr(limits, field)
        if size > limit:
            raise TooLarge(field, size, limit)


async def _too_large(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooLarge)
    return JSONResponse({"error": str(error), "fields": [{"field": error.field, "error": str(error)}]}, status_code=422)


async def _not_so(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: no such route, another method, a body that is no JSON."""
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": str(error.detail)}, status_code=error.status_code, headers=error.headers)


async def _unfit(request: Request, error: Exception) -> Response:
    """What a body must be, field by field; the value given is not sent back."""
    assert isinstance(error, RequestValidationError)
    found = [
        {"field": ".".join(str(part) for part in one["loc"] if part != "body") or "body", "error": one["msg"]}
        for one in error.errors()[:_LISTED]
    ]
    kind = request.headers.get("content-type", "none")
    if found[0]["field"] == "body" and "json" not in kind:
        found[0]["error"] = f"Content-Type ({kind}) must be application/json"
    return JSONResponse({"error": f"{found[0]['field']}: {found[0]['error']}", "fields": found}, status_code=422)


async def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, OverCapacity):
        return JSONResponse({"error": str(error)}, status_code=429, headers={"Retry-After": "1"})
    if isinstance(error, StateError):
        return JSONResponse({"error": str(error)}, status_code=503, headers={"Retry-After": "1"})
    if isinstance(error, asyncio.TimeoutError):
        return JSONResponse({"error": "the answer (late) must be ready in time; ask again"}, status_code=504)
    return JSONResponse({"error": _sentence(error)}, status_code=422)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())
