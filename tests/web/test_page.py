"""The page's files, the map, the cards and the counters over HTTP."""

from __future__ import annotations

import importlib
import json
import shutil

import numpy as np
import pytest
from fastapi.testclient import TestClient

from hpgr.core.config import to_tree
from hpgr.core.errors import DataError
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.comparison import compare
from hpgr.serving.running import _texts
from hpgr.serving.service import Service
from hpgr.web.files import SCRIPTS, STYLES, document, single_file, text
from hpgr.web.item_map import first_space_before, principal
from hpgr.web.page import application
from hpgr.web.settings import FACTORY, PageSettings


def test_the_page_and_its_files_are_served_under_a_strict_policy(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name in (*STYLES, *SCRIPTS):
        assert f'"page/{name}"' in page.text
        file = client.get(f"/page/{name}")
        assert (file.status_code, file.text) == (200, text(name))
        for answer in (page, file):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(SCRIPTS) == 11
    for name in ("none.js", "..%2f..%2fsetup.py", "index.html"):
        assert client.get(f"/page/{name}").status_code == 404


def test_no_text_becomes_markup_and_nothing_comes_from_elsewhere():
    for name in SCRIPTS:
        assert not [
            word
            for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(")
            if word in text(name)
        ]
    for name in (*SCRIPTS, *STYLES):
        assert "http" not in text(name).replace("http://www.w3.org/2000/svg", "")
    whole = single_file({"title": "</script><script>alert(1)</script><!--"}, "<b>")
    assert "<script>alert" not in whole
    assert "<title>&lt;b&gt;</title>" in whole
    assert "default-src 'none'" in whole
    assert document().count("<script") == len(SCRIPTS)


def test_data_want_the_key_and_the_page_asks_for_it(other):
    locked = other("hpgr", key="secret-key")
    assert locked.get("/").status_code == locked.get("/page/main.js").status_code == 200
    for path in ("about", "users", "items", "map", "quality", "live"):
        assert locked.get(f"/v1/page/{path}").status_code == 401
    assert locked.post("/v1/page/look", json={}).status_code == 401
    assert locked.get("/page/nothing").status_code == 401
    assert locked.get("/v1/page/about", headers={"X-API-Key": "secret-key"}).json()["model"] == "hpgr"


def test_the_map_holds_every_item_of_the_catalogue_in_both_spaces(client, service):
    found = client.get("/v1/page/map").json()
    catalogue = service.engine.answerer.catalogue
    assert found["num_items"] == len(found["points"]) == len(catalogue)
    assert found["has_second"]
    places = np.array([[one["first"], one["second"]] for one in found["points"]])
    assert np.abs([[one[space] for space in ("before", "first", "second")] for one in found["points"]]).max() == 1000
    assert 0 < sum(found["spread"]) < 1
    assert [one["count"] for one in found["points"]] == sorted(catalogue.train_count.tolist(), reverse=True)
    assert (places[:, 0] != places[:, 1]).any()
    assert found["has_before"]
    assert (np.array([one["before"] for one in found["points"]]) != places[:, 0]).any()
    # A short training leaves each item near the vector that it began with, and far from those of other items.
    began_VD, learnt_VD = first_space_before(service.engine), service.engine.shelf.likeness
    alike_VV = began_VD @ learnt_VD[: len(began_VD)].T
    assert alike_VV.diagonal().mean() > abs(alike_VV.mean()) + 0.3
    near = client.post("/v1/page/near", json={"item_id": found["points"][0]["item_id"], "k": 3}).json()["items"]
    assert [one["score"] for one in near] == sorted((one["score"] for one in near), reverse=True)


def test_principal_axes_are_those_of_a_singular_value_decomposition():
    points = np.random.default_rng(0).normal(size=(50, 5)) @ np.diag([3.0, 2.0, 1.0, 0.5, 0.1])
    _, axes, share = principal(points)
    _, values, rows = np.linalg.svd(points - points.mean(0), full_matrices=False)
    assert np.abs(axes.T @ rows[:2].T) == pytest.approx(np.eye(2), abs=1e-9)
    assert share == pytest.approx((values**2 / (values**2).sum())[:2])
    assert principal(np.ones((3, 1)))[1].shape == (1, 2)


def test_cards_beside_the_bundle_are_shown_and_compared(client, road):
    found = client.get("/v1/page/quality").json()
    assert [group["question"] for group in found["groups"]] == ["rank", "retrieve"]
    for group in found["groups"]:
        assert [(card["model"], card["own"]) for card in group["cards"]] == [("hpgr", True), ("popularity", False)]
    cards = {name: ResultCard.load(road.folder / "cards" / name) for name in ("popularity-rank", "hpgr-rank")}
    told = client.post("/v1/page/compare", json={"first": "popularity-rank", "second": "hpgr-rank"}).json()[
        "differences"
    ]
    want = compare(cards["popularity-rank"], cards["hpgr-rank"])
    assert [(one["metric"], one["interval"]["value"]) for one in told] == [(d.metric, d.interval.value) for d in want]
    unlike = client.post("/v1/page/compare", json={"first": "hpgr-rank", "second": "hpgr-retrieve"})
    assert "must be that of" in unlike.json()["error"]
    shown = next(group for group in found["groups"] if group["question"] == "rank")["cards"][0]
    assert shown["calibration"]["bins"]
    assert {part["kind"] for part in found["groups"][1]["cards"][0]["slices"]} >= {"history length", "item popularity"}


def test_cards_of_another_split_are_counted_and_not_shown(moved, tmp_path):
    path = moved.folder / "cards" / "popularity-rank" / "card.json"
    ours = ResultCard.load(path).certificate.hash
    path.write_text(path.read_text().replace(ours, "0" * 64))
    with TestClient(application(Service(moved.settings(tmp_path)), PageSettings())) as client:
        found = client.get("/v1/page/quality").json()
        assert (found["elsewhere"], sum(len(group["cards"]) for group in found["groups"])) == (1, 3)
        shutil.rmtree(moved.folder / "cards")
        assert client.get("/v1/page/quality").json()["groups"] == []
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        assert "schema of" in client.get("/v1/page/quality").json()["error"]


def test_counters_are_those_of_the_service(client, service):
    for _ in range(3):
        client.post("/v1/recommend", json={"history": ["i00001"], "k": 3})
    client.post("/v1/recommend", json={"history": ["i00001"], "k": 0})
    found = client.get("/v1/page/live").json()
    rows = {(row["route"], row["status"]): row["count"] for row in found["requests"]}
    assert (rows["/v1/recommend", 200], rows["/v1/recommend", 422]) == (3, 1)
    timed = found["seconds"]["/v1/recommend"]
    assert timed["count"] == 4 == timed["buckets"][-1][1]
    assert timed["buckets"][-1][0] is None
    assert (found["answers"], found["model"], found["fingerprint"]) == (
        {"model": 3},
        "hpgr",
        service.engine.fingerprint,
    )


def test_the_page_follows_a_reload(moved, tmp_path):
    service = Service(moved.settings(tmp_path))
    with TestClient(application(service, PageSettings(store=moved.store)), client=("127.0.0.1", 5)) as client:
        assert client.get("/v1/page/about").json()["model"] == "hpgr"
        shutil.rmtree(moved.bundle())
        shutil.copytree(moved.bundle("popularity"), moved.bundle())
        assert client.post("/v1/reload").status_code == 200
        assert client.get("/v1/page/about").json()["model"] == "popularity"


def test_a_store_or_cards_that_do_not_fit_are_refused_before_anything_is_served(service, moved, tmp_path):
    with pytest.raises(DataError, match="must be a folder of result cards"):
        application(service, PageSettings(cards=(tmp_path / "none",)))
    with pytest.raises(DataError):
        application(service, PageSettings(store=tmp_path / "none"))
    service.close()


def test_each_worker_has_the_page(monkeypatch, road, tmp_path):
    monkeypatch.setattr("hpgr.serving.running.log_as_json", lambda: None)
    monkeypatch.setenv("HPGR_SERVICE_SETTINGS", json.dumps(to_tree(_texts(road.settings(tmp_path)))))
    monkeypatch.setenv("HPGR_SERVICE_KEY_FILE", "")
    monkeypatch.setenv("HPGR_PAGE_SETTINGS", "")
    PageSettings(store=road.store).to_environment()
    module, _, name = FACTORY.partition(":")
    with TestClient(getattr(importlib.import_module(module), name)()) as client:
        assert client.get("/").status_code == 200
        assert len(client.get("/v1/page/users", params={"q": "u0"}).json()["users"]) == 20


def test_settings_reach_workers(monkeypatch, tmp_path):
    monkeypatch.setenv("HPGR_PAGE_SETTINGS", "")
    settings = PageSettings(store=tmp_path / "store", cards=(tmp_path / "a", tmp_path / "b"))
    settings.to_environment()
    assert PageSettings.of_environment() == settings
    PageSettings().to_environment()
    assert PageSettings.of_environment() == PageSettings()
