"""The page in a real browser, without a window: what a person does with it, by mouse and by keys alone."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import hpgr
from hpgr.serving.client import Client
from hpgr.serving.events import Event
from hpgr.serving.service import Service
from hpgr.web.page import application
from hpgr.web.report import ReportRequest, write_page
from hpgr.web.settings import PageSettings
from tests.serving.conftest import free_port, now_ms
from tests.web.conftest import Road
from tests.web.test_looking import longest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; apt-get install chromium")
SHOTS = Path(hpgr.__file__).parents[1] / "out" / "page"
_PLACES = "[...document.querySelectorAll('.point')].map(point => point.style.transform).sort()"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield made
        made.close()


@dataclass(slots=True)
class Watched:
    """A page, what it said to the console, and what it asked for."""

    page: Any
    name: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def shot(self, what: str) -> None:
        self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=SHOTS / f"{self.name}-{what}.png", full_page=True)

    @property
    def titles(self) -> list[str]:
        return self.page.locator("#list .title").all_inner_texts()


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """``opened(url, name, scheme, width)``; at the end, nothing may have gone wrong in the console."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    contexts, pages = [], []

    def open_(url: str, name: str, scheme: str = "light", width: int = 1280) -> Watched:
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        watched = Watched(page, name)
        page.on("console", lambda message: watched.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: watched.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (watched.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: watched.asked.append(request.url))
        pages.append(watched)
        page.goto(url)
        return watched

    yield open_
    for context in contexts:
        context.close()
    assert [line for watched in pages for line in watched.said] == []


@pytest.fixture(scope="module")
def served(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service]]:
    """The address of a running service, and the service."""
    service = Service(road.settings(tmp_path_factory.mktemp("state")))
    app, port = application(service, PageSettings(store=road.store)), free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service ended before it began"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/", service
    server.should_exit = True
    thread.join(20)


def choose_user(watched: Watched, user: str) -> None:
    watched.page.get_by_role("combobox", name="Find a user by id").fill(user)
    watched.page.get_by_role("option", name=user).click()
    watched.page.wait_for_selector("#why .lead")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)], ids=str)
def test_a_person_sees_why_and_what_would_be(opened, served, road, scheme, width):
    url, _ = served
    watched = opened(url, f"{scheme}-{width}", scheme, width)
    page = watched.page
    choose_user(watched, longest(road))
    watched.shot("1-user")
    before = watched.titles
    assert len(before) == 10
    assert before[0] in page.locator("#why h2").inner_text()

    page.locator("#list button").nth(2).click()
    page.wait_for_function("title => document.querySelector('#why h2').textContent.includes(title)", arg=before[2])
    assert "picked the 6 that are most alike" in page.locator("#why .lead").inner_text()
    assert page.locator(".event .bar").count() >= 6
    assert page.locator(".event .pick").count() == 6
    assert page.locator(".reasons li").count() == 6

    events = page.locator(".event").count()
    page.locator(".event").nth(-2).click()
    page.locator("#leave-out").click()
    page.wait_for_selector("#changes, .tag")
    page.wait_for_function(
        "titles => JSON.stringify([...document.querySelectorAll('#list .title')].map(e => e.innerText)) !== titles",
        arg=_json(before),
    )
    assert page.locator(".event.out").count() == 1
    assert page.locator(".event").count() == events
    assert page.locator("#list .moved").count() > 0
    page.wait_for_selector("#why .lead")
    watched.shot("2-without")

    page.get_by_role("button", name="Undo all").click()
    page.wait_for_function(
        "titles => JSON.stringify([...document.querySelectorAll('#list .title')].map(e => e.innerText)) === titles",
        arg=_json(before),
    )
    page.get_by_role("combobox", name="Add an event with an item").fill(before[-1])
    page.locator(".picker li:visible").first.click()
    page.wait_for_selector(".event .new")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
    assert {address.startswith((url, "data:")) for address in watched.asked} == {True}


def _json(texts: list[str]) -> str:
    return json.dumps(texts, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_other_views_draw_themselves(opened, served, width):
    url, _ = served
    watched = opened(url, f"views-{width}", width=width)
    page = watched.page
    page.get_by_role("tab", name="Items").click()
    page.locator(".map circle:visible").first.wait_for()
    page.get_by_role("combobox", name="Find an item").fill("a")
    page.locator(".picker li:visible").first.click()
    page.wait_for_selector("#near ol li")
    assert page.locator("#near ol li").count() == 10
    places = page.evaluate(_PLACES)
    for label in ("After learning to rank (stage 2)", "Before training"):
        page.get_by_label(label).check()
        assert page.evaluate(_PLACES) != places
    page.locator(".legend button").first.click()
    assert page.locator(".point.faint").count() > 20
    watched.shot("3-items")
    page.get_by_role("tab", name="Quality").click()
    page.wait_for_selector("#view-quality .plot")
    page.get_by_role("button", name="Compare").first.click()
    page.wait_for_selector("text=hpgr minus popularity, over the same users")
    watched.shot("4-quality")
    page.get_by_role("tab", name="Live").click()
    page.wait_for_selector(".tile")
    with Client(url) as client:
        for _ in range(5):
            client.recommend(history=["i00001", "i00002"], k=3)
    page.wait_for_selector("text=/^[1-9].* since it began/")
    page.wait_for_selector(".tile .trace", state="attached")
    watched.shot("5-live")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"


def test_keys_alone_reach_everything(opened, served, road):
    url, _ = served
    watched = opened(url, "keys")
    page, user = watched.page, longest(road)
    page.get_by_role("combobox", name="Find a user by id").wait_for()

    def focused() -> str:
        return page.evaluate("(e => e.getAttribute('aria-label') || e.textContent)(document.activeElement)")

    def tab_to(name: str, most: int = 40) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if name in focused():
                assert page.evaluate(
                    "getComputedStyle(document.activeElement).outlineStyle !== 'none' || !!document.activeElement.closest('svg')"
                )
                return
        raise AssertionError(f"{name} is not reached by the Tab key")

    tab_to("Skip to the content", 1)
    tab_to("User")
    page.keyboard.press("ArrowRight")
    assert focused() == "Items"
    tab_to("Find a user by id")
    page.keyboard.type(user)
    page.get_by_role("option", name=user).wait_for()
    page.keyboard.press("Enter")
    page.wait_for_selector("#why .lead")
    before = watched.titles
    tab_to("Enter: look closer")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Delete")
    page.wait_for_selector(".event.out")
    assert "put back" in focused()
    page.wait_for_function(
        "titles => JSON.stringify([...document.querySelectorAll('#list .title')].map(e => e.innerText)) !== titles",
        arg=_json(before),
    )
    tab_to("Undo all")
    page.keyboard.press("Enter")
    page.wait_for_selector(".event.out", state="detached")
    assert "Enter: look closer" in focused(), "what the keys stood on is gone, and they stand nowhere"


def test_hostile_names_are_shown_as_they_are(opened, served):
    url, service = served
    at = now_ms()
    told = [Event(user=HOSTILE, item=HOSTILE + str(i), time_ms=at - 1000 * i, action="<b>view</b>") for i in range(3)]
    service.tell(told).result(10)
    watched = opened(url, "hostile")
    page = watched.page
    choose_user(watched, HOSTILE)
    assert HOSTILE in page.locator("#view-user h2").nth(1).inner_text()
    page.locator(".event").last.click()
    assert HOSTILE + "0" in page.locator(".detail").inner_text()
    assert page.locator("img, main script, main b:text-is('view')").count() == 0
    page.reload()
    page.wait_for_selector("#why .lead")
    assert HOSTILE in page.locator("#view-user h2").nth(1).inner_text()


def test_a_visitor_is_made_up_on_the_page(opened, served):
    watched = opened(served[0], "visitor")
    page = watched.page
    page.get_by_role("button", name="Make up a visitor").click()
    page.wait_for_selector("text=Nothing is known of this visitor yet")
    popular = watched.titles
    page.get_by_role("combobox", name="Add an event with an item").fill("i00004")
    page.locator(".picker li:visible").first.click()
    page.wait_for_selector(".event")
    page.wait_for_selector("text=may pick up to 6")
    assert watched.titles != popular


def test_a_locked_service_asks_for_its_key(opened, road, tmp_path):
    service = Service(replace(road.settings(tmp_path), api_key="secret-key"))
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            application(service, PageSettings(store=road.store)), host="127.0.0.1", port=port, log_config=None
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        watched = opened(f"http://127.0.0.1:{port}/", "locked")
        watched.page.get_by_label("This service asks for a key.").fill("secret-key")
        watched.page.keyboard.press("Enter")
        choose_user(watched, longest(road))
        assert len(watched.titles) == 10
        # A browser tells its console of every 401.
        assert all("401" in line for line in watched.said)
        watched.said.clear()
    finally:
        server.should_exit = True
        thread.join(20)


def test_the_single_file_works_without_any_service(opened, road, tmp_path):
    user, path = longest(road), tmp_path / "why.html"
    data = write_page(road.bundle(), ReportRequest(user=user, store=road.store), path)
    watched = opened(path.as_uri(), "file")
    page = watched.page
    page.wait_for_selector("#why .lead")
    before = watched.titles
    assert before == [one["title"] for one in data["look"]["items"]]
    watched.shot("1-user")
    page.locator("#list button").nth(4).click()
    page.wait_for_function("title => document.querySelector('#why h2').textContent.includes(title)", arg=before[4])
    page.locator(".event").last.click()
    page.locator("#leave-out").click()
    page.wait_for_selector(".event.out")
    last = data["look"]["events"][-1]["seq"]
    assert watched.titles == [one["title"] for one in data["without"][last]]
    assert "put the event back" in page.locator("#why").inner_text()
    for tab, sign in (("Items", ".map circle"), ("Quality", ".plot"), ("Live", "text=This page is a file")):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(f"#view-{tab.lower()} {sign}" if "=" not in sign else sign)
    assert {address for address in watched.asked if not address.startswith("data:")} == {path.as_uri()}
