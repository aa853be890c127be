"""The service over HTTP: what it answers, to whom, from which bundle."""

from __future__ import annotations

import json
import logging
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
from tests.serving.conftest import now_ms, recommend, tell, view

MINUTE = 60_000
JSON = {"Content-Type": "application/json"}


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


@pytest.mark.parametrize("user", ["\n", "a\nb", "/", "a/state", "ж", " "])
def test_any_user_who_can_be_told_of_can_be_forgotten(client, items, user):
    assert tell(client, [view(user, items[0])])["accepted"] == 1
    path = f"/v1/users/{quote(user, safe='')}"
    assert client.get(f"{path}/state").json()["events"] == 1
    assert client.delete(path).json() == {"user_id": user, "events": 1}


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


def test_a_key_is_asked_for_everywhere_but_for_health(settings):
    with TestClient(create_app(Service(replace(settings, api_key="secret-key")))) as client:
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        for path in ("/metrics", "/docs", "/v1/users/a/state", "/nowhere"):
            assert client.get(path).status_code == 401
        assert client.get("/metrics", headers={"X-API-Key": "secret-keY"}).status_code == 401
        assert client.get("/metrics", headers={"X-API-Key": "secret-key"}).status_code == 200
        assert client.get("/v1/users/a/state", headers={"Authorization": "Bearer secret-key"}).status_code == 200
        assert client.post("/v1/reload", headers={"X-API-Key": "secret-key"}).status_code == 200


def test_without_a_key_reload_is_for_this_machine_only(settings):
    with TestClient(create_app(Service(settings))) as far:
        assert far.post("/v1/reload").status_code == 403
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


def test_logs_have_no_ids(client, items, caplog):
    logging.getLogger("hpgr.serving").propagate = True
    with caplog.at_level(logging.INFO, "hpgr.serving.requests"):
        tell(client, [view("secret-user", items[0])])
        client.get("/v1/users/secret-user/state")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name.startswith("hpgr")]
    assert [line["route"] for line in lines] == ["/v1/events", "/v1/users/{user_id:anytext}/state"]
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
