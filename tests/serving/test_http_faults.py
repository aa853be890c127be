"""What the service refuses over HTTP, and that it goes on."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from hpgr.core.errors import DataError
from hpgr.serving import app as door
from hpgr.serving.app import create_app
from hpgr.serving.events import StateError
from hpgr.serving.service import Service
from hpgr.serving.settings import Limits
from tests.serving.conftest import recommend, tell, view
from tests.serving.fuzzing import described, hand_made

MINUTE = 60_000
JSON = {"Content-Type": "application/json"}


WRONG = [
    ({"k": 5}, "body"),
    ({"user_id": "a", "history": []}, "body"),
    ({"user_id": "a", "k": 0}, "k"),
    ({"user_id": "a", "k": 10**6}, "k"),
    ({"user_id": "a", "k": "ten"}, "k"),
    ({"user_id": "a", "candidates": []}, "candidates"),
    ({"user_id": 1.5}, "user_id"),
    ({"user_id": True}, "user_id"),
    ({"user_id": ""}, "user_id"),
    ({"user_id": "\ud800"}, "user_id"),
    ({"user_id": 2**70}, "user_id"),
    ({"user_id": "a", "at": "soon"}, "at"),
    ({"user_id": "a", "at": -5}, "at"),
    ({"user_id": "a", "by": "magic"}, "by"),
    ({"user_id": "a", "weights": [{"item_id": "i", "weight": -1}]}, "weights.0.weight"),
    ({"user_id": "a", "diversity": 2}, "diversity"),
    ({"user_id": "a", "limit": 3}, "limit"),
    ({"history": ["i"] * 6000}, "history"),
    ({"history": [{"item_id": "a", "timestamp": 5}, "b"]}, "body"),
]


@pytest.mark.parametrize(("body", "field"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_body_is_told_by_its_field(client, body, field):
    answer = client.post("/v1/recommend", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422
    told = answer.json()
    fields = [one["field"].split(".")[0] for one in told["fields"]]
    assert field.split(".")[0] in fields, told


def test_bodies_that_are_no_json_or_too_large_are_refused(client):
    assert client.post("/v1/recommend", content=b"{", headers=JSON).status_code == 422
    assert client.post("/v1/recommend", content=b"\xff\xfe", headers=JSON).status_code in (400, 422)
    assert client.post("/v1/recommend", content=b"[" * 100_000, headers=JSON).status_code in (400, 422)
    told = client.post("/v1/recommend", content=b'{"user_id": "a"}').json()
    assert told["error"] == "body: Content-Type (none) must be application/json"
    assert client.post("/v1/events", content=b"x" * 10_000_000).status_code == 413

    def pieces():
        for _ in range(200):
            yield b"x" * 50_000

    answer = client.post("/v1/events", content=pieces())
    assert answer.status_code == 413
    assert "body must have at most 1048576 bytes" in answer.json()["error"]
    assert client.get("/healthz").json() == {"status": "ok"}


def test_thousands_of_malformed_requests_crash_nothing(client, items):
    """Values of every kind in every field, and broken bytes; each is answered, by 2xx or 4xx, and the service is as before."""
    statuses = Counter(hand_made(client, 500, items[0]))
    assert set(statuses) <= {200, 400, 422}
    assert statuses[200] > 20
    assert statuses[422] > 150
    assert recommend(client, user_id="nobody")["source"] == "prior"


def test_what_the_description_allows_and_what_it_forbids_is_answered_as_it_says(client):
    """Requests that schemathesis draws from our own OpenAPI: no server error, and every answer as described."""
    pytest.importorskip("schemathesis", reason="schemathesis (extra dev, Python 3.11) is not installed")
    statuses = Counter(described(client.app, 8))
    assert statuses.total() >= 80
    assert not any(status >= 500 for status in statuses)
    assert statuses[422] > 20
    assert recommend(client, user_id="nobody")["source"] == "prior"


def test_other_routes_and_methods_are_refused_in_the_same_words(client):
    for answer, status in (
        (client.get("/v1/nowhere"), 404),
        (client.get("/v1/recommend"), 405),
        (client.post("/v1/reload"), 403),
    ):
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]


def test_more_than_it_can_do_is_turned_away_and_what_is_late_is_said_to_be(settings):
    limits = Limits(queue=2, batch=1, timeout_s=0.4)
    service = Service(replace(settings, limits=limits))
    answer, may_go = service.engine.answer, threading.Event()
    with TestClient(create_app(service)) as client, ThreadPoolExecutor(6) as pool:
        service.engine.answer = lambda *given: (may_go.wait(5), answer(*given))[1]
        asked = [pool.submit(client.post, "/v1/recommend", json={"user_id": "a"}) for _ in range(6)]
        found = [one.result() for one in asked]
        assert sorted({one.status_code for one in found}) == [429, 504]
        assert all(one.headers["retry-after"] == "1" for one in found if one.status_code == 429)
        assert client.get("/healthz").status_code == 200
        may_go.set()
        time.sleep(0.1)
        assert recommend(client, user_id="a")["source"] == "prior"


def test_a_full_disk_is_said_and_the_service_goes_on(client, items):
    writer = client.app.state.service.states._writer
    tell(client, [view("a", items[0])])
    writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
    answer = client.post("/v1/events", json={"events": [view("a", "x" * 200, i) for i in range(900)]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert recommend(client, user_id="a")["history_length"] == 1
    writer.execute("PRAGMA max_page_count = 1000000")
    assert tell(client, [view("a", items[1], 5)])["accepted"] == 1
    assert recommend(client, user_id="a")["history_length"] == 2


def test_a_damaged_row_costs_its_event_and_nothing_else(settings):
    """Found when a history is read anew, as after a restart; said in the state and counted."""
    service = Service(settings)
    with TestClient(create_app(service)) as client:
        items = service.engine.reading.ids
        tell(client, [view(user, items[i], 1000 * i) for i in range(4) for user in "ab"])
        before = recommend(client, user_id="b")
        service.states._writer.execute("UPDATE events SET item = 'i99999' WHERE user = 'a' AND seq = 2")
        service.engine.histories.forget("a")
        answer = recommend(client, user_id="a")
        assert (answer["history_length"], answer["unknown_items"]) == (3, [])
        assert client.get("/v1/users/a/state").json()["damaged_rows"] == 1
        assert 'hpgr_now{what="damaged_rows"} 1.0' in client.get("/metrics").text
        after = recommend(client, user_id="b", at=before["at_ms"])
        assert [after[k] for k in ("items", "history_length")] == [before[k] for k in ("items", "history_length")]
        assert tell(client, [view("a", items[7])])["accepted"] == 1


def test_a_body_that_does_not_arrive_is_given_up(settings):
    """A caller who sends one byte and waits is told so, and is not waited for."""
    service = Service(replace(settings, limits=Limits(body_s=0.2)))
    sent: list[dict[str, object]] = []

    async def slow():
        parts = iter([{"type": "http.request", "body": b"{", "more_body": True}])

        async def receive():
            return next(parts, None) or await asyncio.sleep(30)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": [], "query_string": b""}
        await create_app(service)(scope, receive, send)

    begun = time.monotonic()
    asyncio.run(slow())
    assert time.monotonic() - begun < 5
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"]) == {"error": "body must arrive within 0.2 s"}
    service.close()


def test_the_clock_set_back_loses_no_event(settings):
    service = Service(settings)
    with TestClient(create_app(service)) as client:
        items = service.engine.reading.ids
        tell(client, [view("a", items[0])])
        service.clock._wall_s = lambda: time.time() - 7200
        assert tell(client, [view("a", items[1])])["accepted"] == 1
        assert recommend(client, user_id="a")["history_length"] == 2
        assert "hpgr_clock_backwards_total 1.0" in client.get("/metrics").text


@pytest.mark.parametrize(("error", "status"), [(DataError("of another type"), 409), (StateError("away"), 503)])
def test_a_bundle_that_may_not_have_the_states_does_not_take_over(settings, error, status):
    service = Service(settings)
    with TestClient(create_app(service), client=("127.0.0.1", 1)) as client:
        old, claim = service.engine, service.states.claim

        def refused(*given):
            raise error

        service.states.claim = refused
        assert client.post("/v1/reload").status_code == status
        assert service.engine is old
        assert service._engines == [old]
        assert service.metrics.reloads.labels("refused")._value.get() == 1
        service.states.claim = claim
        assert client.post("/v1/reload").status_code == 200
        assert service._engines == [service.engine] != [old]


def test_whatever_a_bundle_raises_is_a_refusal(settings, monkeypatch):
    service = Service(settings)
    with TestClient(create_app(service), client=("127.0.0.1", 1)) as client:
        old = service.engine

        def unfit(engine):
            raise TypeError("NoneType is not callable")

        monkeypatch.setattr("hpgr.serving.service.self_test", unfit)
        answer = client.post("/v1/reload")
        assert answer.status_code == 409
        assert "(TypeError: NoneType is not callable); write it again" in answer.json()["error"]
        assert service._engines == [service.engine] == [old]
        assert service.metrics.reloads.labels("refused")._value.get() == 1


def test_a_service_that_cannot_begin_lets_its_states_go(settings, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("hpgr.serving.service.self_test", lambda engine: 1 / 0)
        with pytest.raises(DataError, match=r"must be one that hpgr train wrote \(ZeroDivisionError") as kept_alive:
            Service(settings)
    Service(settings).close()
    assert kept_alive.value is not None


def test_a_refused_reload_of_another_process_is_tried_again_later(service, monkeypatch):
    tried: list[str] = []

    def reload():
        tried.append("refused" if len(tried) == 0 else "done")
        if tried == ["refused"]:
            raise StateError("away")

    service.reload, service.states.generation = reload, lambda: 1
    service.follow()
    service.follow()
    assert tried == ["refused"]
    service._retry_at_s = 0.0
    service.follow()
    service.follow()
    assert tried == ["refused", "done"]


def test_following_outlives_an_error_and_the_end_closes_the_service(settings, monkeypatch):
    monkeypatch.setattr(door, "_FOLLOW_S", 0.001)
    service, followed, closed = Service(settings), threading.Event(), []
    calls: list[int] = []

    def follow():
        calls.append(1)
        if len(calls) == 3:
            followed.set()
        raise TypeError("unexpected")

    close = service.close
    service.states.shared, service.follow, service.close = True, follow, lambda: (closed.append(1), close())

    async def life():
        app = create_app(service)
        async with app.router.lifespan_context(app):
            assert await asyncio.to_thread(followed.wait, 5)
            raise KeyError("the server fell")

    with pytest.raises(KeyError, match="the server fell"):
        asyncio.run(life())
    assert closed == [1]
