"""The service over HTTP: what it answers, what it refuses, and that it goes on."""

from __future__ import annotations

import json
import logging
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from hpgr.serving.app import create_app
from hpgr.serving.running import JsonLines
from hpgr.serving.service import Service
from hpgr.serving.settings import Limits

MINUTE = 60_000
JSON = {"Content-Type": "application/json"}


def now_ms() -> int:
    return int(time.time() * 1000)


def view(user, item, back_ms=0, **more):
    return {"user_id": user, "item_id": item, "timestamp": now_ms() - back_ms, "event": "view"} | more


@pytest.fixture
def items(client):
    return client.app.state.service.engine.reading.ids


def tell(client, events):
    answer = client.post("/v1/events", json={"events": events})
    assert answer.status_code == 200, answer.text
    return answer.json()


def recommend(client, **body):
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_events_are_told_and_the_user_is_answered_from_them(client, items):
    events = [view(7, items[i], 100 * MINUTE - i * MINUTE, event_id=i) for i in range(20)]
    assert tell(client, events)["accepted"] == 20
    again = tell(
        client, [*events, view(7, "no such item"), view(7, items[0], -3_600_000), view(7, items[0], 9 * 86_400_000)]
    )
    assert (again["accepted"], again["duplicate"], again["unknown_items"]) == (1, 20, ["no such item"])
    assert (again["too_early"], again["too_late"]) == ([21], [22])
    answer = recommend(client, user_id=7, k=5, exclude_seen=True)
    assert (answer["user_id"], answer["source"], answer["history_length"]) == (7, "model", 21)
    assert answer["unknown_items"] == ["no such item"]
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5]
    assert not {item["item_id"] for item in answer["items"]} & set(items[:20])
    state = client.get("/v1/users/7/state").json()
    assert (state["events"], state["damaged_rows"], state["unknown_items"]) == (21, 0, ["no such item"])
    ranked = client.post("/v1/rank", json={"user_id": "7", "candidates": [*items[:30], "gone"]}).json()
    assert (len(ranked["items"]), ranked["ordered_by"], ranked["unknown_candidates"]) == (30, "rank", ["gone"])
    alike = client.post("/v1/similar", json={"item_id": items[3], "k": 4}).json()
    assert len(alike["items"]) == 4


def test_a_forgotten_user_is_nobody(client, items):
    tell(
        client, [view("a", items[i], MINUTE) for i in range(9)] + [view("b", items[0]), view("http://x/y?z", items[0])]
    )
    assert client.get(f"/v1/users/{quote('http://x/y?z', safe='')}/state").json()["events"] == 1
    recommend(client, user_id="a")
    assert client.delete("/v1/users/a").json() == {"user_id": "a", "events": 9}
    answer = recommend(client, user_id="a")
    assert (answer["source"], answer["history_length"]) == ("prior", 0)
    assert client.get("/v1/users/a/state").json()["events"] == 0
    assert client.get("/v1/users/b/state").json()["events"] == 1


def test_what_is_told_outlives_the_service(settings):
    with TestClient(create_app(Service(settings))) as client:
        items = client.app.state.service.engine.reading.ids
        tell(client, [view("a", items[i], MINUTE * (9 - i)) for i in range(9)])
        before = recommend(client, user_id="a", at=now_ms() + 1000)
    with TestClient(create_app(Service(settings))) as client:
        after = recommend(client, user_id="a", at=before["at_ms"])
    assert after == before


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
    fields = [one["field"].split(".")[0] for one in told["fields"]] if "fields" in told else [told["detail"]["field"]]
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
    """Values of every kind in every field; each is answered, by 2xx or 4xx, and the service is as before."""
    draw = random.Random(0)
    odd = [
        None,
        True,
        -1,
        0,
        1.5,
        2**63,
        10**30,
        "",
        "x",
        "\x00",
        "ж" * 300,
        [],
        {},
        [[]],
        [None],
        {"a": 1},
        items[0],
        "nan",
    ]
    fields = {
        "/v1/recommend": [
            "user_id",
            "history",
            "k",
            "candidates",
            "at",
            "exclude_seen",
            "by",
            "available",
            "categories",
            "weights",
            "pool",
        ],
        "/v1/rank": ["user_id", "history", "candidates", "at"],
        "/v1/similar": ["item_id", "k", "available", "categories"],
        "/v1/events": ["events"],
    }
    statuses: dict[int, int] = {}
    for i in range(500):
        path = draw.choice(list(fields))
        body = {"user_id": "a"} if draw.random() < 0.5 and path in ("/v1/recommend", "/v1/rank") else {}
        body |= {
            field: draw.choice(odd) for field in draw.sample(fields[path], min(draw.randint(0, 2), len(fields[path])))
        }
        if path == "/v1/events" and draw.random() < 0.8:
            one = view("a", items[0], event_id=str(i)) | {
                draw.choice([*view("a", 1), "session_id", "extra"]): draw.choice(odd)
            }
            body = {"events": [one]}
        content = json.dumps(body).encode()
        if draw.random() < 0.1:
            cut = draw.randrange(len(content) + 1)
            content = content[:cut] + bytes([draw.randrange(256)]) + content[cut + 1 :]
        answer = client.post(path, content=content, headers=JSON)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 400, 422), (path, body, answer.text)
    assert statuses[200] > 20
    assert statuses[422] > 150
    assert recommend(client, user_id="nobody")["source"] == "prior"


def test_a_key_is_asked_for_everywhere_but_for_health(settings):
    with TestClient(create_app(Service(replace(settings, api_key="secret-key")))) as client:
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        for path in ("/metrics", "/docs", "/v1/users/a/state", "/nowhere"):
            assert client.get(path).status_code == 401
        assert client.get("/metrics", headers={"X-API-Key": "secret-keY"}).status_code == 401
        assert client.get("/metrics", headers={"X-API-Key": "secret-key"}).status_code == 200
        assert client.get("/v1/users/a/state", headers={"Authorization": "Bearer secret-key"}).status_code == 200
        assert client.post("/v1/reload", headers={"X-API-Key": "secret-key"}).status_code == 200


def test_without_a_key_reload_is_for_this_machine_only(client, settings):
    assert client.post("/v1/reload").status_code == 403
    with TestClient(create_app(Service(settings)), client=("127.0.0.1", 5)) as local:
        assert local.post("/v1/reload").status_code == 200


def swap(settings, new) -> None:
    shutil.rmtree(settings.bundle)
    shutil.copytree(new, settings.bundle)


def test_a_broken_bundle_is_refused_and_the_old_one_goes_on(settings, other_bundle):
    with TestClient(create_app(Service(settings)), client=("127.0.0.1", 5)) as client:
        before = recommend(client, history=["i00003", "i00004"])
        weights = settings.bundle / "model.safetensors"
        sound = weights.read_bytes()
        weights.write_bytes(sound[:-100])
        answer = client.post("/v1/reload")
        assert answer.status_code == 409
        assert "bundle refused, the old one goes on: bundle" in answer.json()["error"]
        shutil.rmtree(settings.bundle)
        assert client.post("/v1/reload").status_code == 409
        assert recommend(client, history=["i00003", "i00004"]) == before
        shutil.copytree(other_bundle, settings.bundle)
        assert client.post("/v1/reload").json()["fingerprint"] != before["fingerprint"]
        assert recommend(client, history=["i00003", "i00004"]) != before
        text = client.get("/metrics").text
        assert 'hpgr_reloads_total{outcome="refused"} 2.0' in text
        assert 'hpgr_reloads_total{outcome="done"} 1.0' in text


def test_reloading_under_load_drops_and_misreads_nothing(settings, bundle, other_bundle):
    service = Service(settings)
    with TestClient(create_app(service), client=("127.0.0.1", 5)) as client:
        items = service.engine.reading.ids
        tell(client, [view("a", items[i], MINUTE * (20 - i)) for i in range(20)])
        at, wanted, stop = now_ms() + 1000, {}, threading.Event()
        for which in (other_bundle, bundle):
            swap(settings, which)
            client.post("/v1/reload")
            answer = recommend(client, user_id="a", at=at)
            wanted[answer["fingerprint"]] = [item["item_id"] for item in answer["items"]]

        def load():
            found = []
            while not stop.is_set():
                found.append(recommend(client, user_id="a", at=at))
            return found

        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(load) for _ in range(3)]
            for which in (other_bundle, bundle, other_bundle):
                swap(settings, which)
                assert client.post("/v1/reload").status_code == 200
            stop.set()
            answers = [answer for one in running for answer in one.result()]
    assert len({answer["fingerprint"] for answer in answers}) == 2
    assert all(wanted[a["fingerprint"]] == [item["item_id"] for item in a["items"]] for a in answers)


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


def test_the_shadow_is_compared_and_changes_no_answer(settings, other_bundle):
    with TestClient(create_app(Service(settings))) as client:
        alone = recommend(client, history=["i00003", "i00004"])
    service = Service(replace(settings, shadow=other_bundle, shadow_share=1.0))
    with TestClient(create_app(service)) as client:
        assert recommend(client, history=["i00003", "i00004"]) == alone
        for _ in range(100):
            text = client.get("/metrics").text
            if "hpgr_shadow_answers_total 1.0" in text:
                break
            time.sleep(0.05)
        assert "hpgr_shadow_overlap_count 1.0" in text


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


def test_the_clock_set_back_loses_no_event(settings):
    service = Service(settings)
    with TestClient(create_app(service)) as client:
        items = service.engine.reading.ids
        tell(client, [view("a", items[0])])
        service.clock._wall_s = lambda: time.time() - 7200
        assert tell(client, [view("a", items[1])])["accepted"] == 1
        assert recommend(client, user_id="a")["history_length"] == 2
        assert "hpgr_clock_backwards_total 1.0" in client.get("/metrics").text


def test_logs_have_no_ids(client, items, caplog):
    logging.getLogger("hpgr.serving").propagate = True
    with caplog.at_level(logging.INFO, "hpgr.serving.requests"):
        tell(client, [view("secret-user", items[0])])
        client.get("/v1/users/secret-user/state")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name.startswith("hpgr")]
    assert [line["route"] for line in lines] == ["/v1/events", "/v1/users/{user_id:path}/state"]
    assert all(line["status"] == 200 and line["ms"] > 0 for line in lines)
    assert "secret-user" not in json.dumps(lines)
    assert items[0] not in json.dumps(lines)


def test_metrics_tell_of_latency_cache_queue_and_model(client, items):
    tell(client, [view("a", items[i]) for i in range(3)])
    for _ in range(3):
        recommend(client, user_id="a")
    text = client.get("/metrics").text
    assert 'hpgr_requests_total{route="/v1/recommend",status="200"} 3.0' in text
    assert 'hpgr_request_seconds_count{route="/v1/recommend"} 3.0' in text
    assert 'hpgr_now{what="cache_hits"} 2.0' in text
    assert 'hpgr_now{what="ask_queue"} 0.0' in text
    assert 'hpgr_events_total{status="accepted"} 3.0' in text
    assert 'hpgr_model{fingerprint="' in text


def test_the_openapi_has_examples_that_are_right(client):
    document = client.get("/openapi.json").json()
    examples = {
        path: document["components"]["schemas"][name]["examples"]
        for path, name in (("events", "Events"), ("recommend", "Recommend"), ("rank", "Rank"), ("similar", "Similar"))
    }
    assert sum(map(len, examples.values())) == 5
    for path, bodies in examples.items():
        for body in bodies:
            answer = client.post(f"/v1/{path}", json=body)
            assert (
                answer.status_code == 200 or "must" in answer.json()["error"] or "no category" in answer.json()["error"]
            )


def test_random_answers_are_finite(client, items):
    generator = np.random.default_rng(0)
    for length in (0, 1, 7, 40):
        history = [str(item) for item in generator.choice(items, length)]
        assert all(np.isfinite(item["score"]) for item in recommend(client, history=history)["items"])
