"""Routes of the page: its files, and the data that it shows. Nothing here writes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import JSONResponse, Response

from hpgr.serving.questions import Question
from hpgr.web import messages as m
from hpgr.web.files import HEADERS, document, served
from hpgr.web.live import counters
from hpgr.web.microscope import look
from hpgr.web.page import Page, Shown
from hpgr.web.reasons import explain

_FOUND = 20
_TIMEOUT_S = 30.0
Text = Annotated[str, Query(max_length=256)]


def open_paths() -> tuple[str, ...]:
    """Paths that need no key: the page itself, which asks for one and tells nothing without it."""
    return ("/", *(f"/page/{name}" for name in served()))


def routes(page: Page) -> APIRouter:
    """The page's own routes."""
    router = APIRouter(tags=["page"])
    _add_files(router)
    _add_looks(router, page)
    _add_facts(router, page)
    return router


async def _told(page: Page, job: Callable[[Shown], Any]) -> Response:
    found = await asyncio.wait_for(asyncio.wrap_future(page.ask(job)), _TIMEOUT_S)
    return JSONResponse(found, headers={"Cache-Control": "no-store"})


def _add_files(router: APIRouter) -> None:
    files, whole = served(), document()

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response(whole, media_type="text/html; charset=utf-8", headers=HEADERS)

    @router.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "no such file of the page")
        text, kind = files[name]
        return Response(text, media_type=kind, headers=HEADERS)


def _add_looks(router: APIRouter, page: Page) -> None:
    @router.get("/v1/page/users")
    async def users(q: Text = "") -> Response:
        """Users whose ids begin with a text."""
        return await _told(page, lambda shown: {"users": shown.people.find(q, _FOUND)})

    @router.get("/v1/page/items")
    async def items(q: Text = "") -> Response:
        """Items whose titles or ids hold a text."""
        return await _told(page, lambda shown: {"items": shown.names.find(q, _FOUND)})

    @router.post("/v1/page/look")
    async def looked(body: m.Ask) -> Response:
        """A history in sessions, and what is recommended to it."""
        return await _told(page, lambda shown: look(shown.engine, shown.names, _past(page, shown, body), body))

    @router.post("/v1/page/explain")
    async def explained(body: m.Explain) -> Response:
        """Which events and sessions an item's score comes from."""
        return await _told(page, lambda shown: explain(shown.engine, shown.names, _past(page, shown, body), body))


def _add_facts(router: APIRouter, page: Page) -> None:
    @router.get("/v1/page/about")
    async def about() -> Response:
        """The bundle that answers."""
        return await _told(page, Shown.about)

    @router.get("/v1/page/map")
    async def item_map() -> Response:
        """The items on a plane."""
        return await _told(page, lambda shown: shown.map)

    @router.post("/v1/page/near")
    async def near(body: m.Near) -> Response:
        """Items like one."""
        return await _told(page, lambda shown: {"items": nearest(shown, body)})

    @router.get("/v1/page/quality")
    async def quality() -> Response:
        """Result cards of the bundle's split."""
        return await _told(page, lambda shown: shown.quality.tree())

    @router.post("/v1/page/compare")
    async def compare(body: m.Compare) -> Response:
        """Two result cards, paired by user."""
        return await _told(page, lambda shown: {"differences": shown.quality.compared(body.first, body.second)})

    @router.get("/v1/page/live")
    async def live() -> Response:
        """What this process has counted."""
        found = counters(page.service, page.service.clock.now_ms())
        return JSONResponse(found, headers={"Cache-Control": "no-store"})


def nearest(shown: Shown, body: m.Near) -> list[dict[str, Any]]:
    """The items whose vectors point the same way, with the cosine as ``score``."""
    found = shown.engine.similar(body.item_id, Question(k=body.k)).items
    return [shown.names.of(item) | {"score": score} for item, score in found]


def _past(page: Page, shown: Shown, body: m.Ask) -> Any:
    return shown.people.past(body, page.service.clock.now_ms(), shown.engine.log.end_ms)
