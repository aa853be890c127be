"""The service beside a notebook answers from its bundle, and ends with whoever started it."""

from __future__ import annotations

import socket
from pathlib import Path

import polars as pl
import pytest

from hpgr.answering.answerer import Wanted
from hpgr.api.local_service import LocalService
from hpgr.api.recommender import Recommender
from hpgr.core.errors import ConfigError, UnsupportedError
from hpgr.data.log import EventLog
from hpgr.data.simulator import Simulator
from hpgr.data.store import SequenceStore

pytest.importorskip("uvicorn", reason="the service needs the extra serve")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    simulator = Simulator(Simulator.Config(num_users=30, num_items=40, num_categories=4, days=10, seed=3))
    folder = tmp_path_factory.mktemp("local")
    log = EventLog.read(pl.concat(list(simulator.frames())))
    store = SequenceStore.build(log, folder / "store", ties="set")
    return Recommender("popularity").fit(store).save(folder / "bundle")


def test_it_answers_from_the_bundle_and_is_gone_afterwards(bundle):
    made = Recommender.load(bundle)
    known = made.recommend(histories=[], wanted=Wanted(k=4)).table["item_id"].to_list()
    with made.serve() as service, service.client() as client:
        assert client.ready()["model"] == "popularity"
        found = client.rank(history=known[:2], candidates=known[::-1])
        assert sorted(item["item_id"] for item in found["items"]) == sorted(known)
        client.events([{"user_id": "u", "item_id": known[0], "timestamp": "2026-05-01T12:00:00Z"}])
        assert client.state("u")["events"] == 1
        port = int(service.url.rsplit(":", 1)[1])
        state = Path(service._end.peek()[2][1])
        assert state.exists()
    assert not service.running
    assert "stopped" in repr(service)
    assert not state.exists()
    assert bundle.exists()
    service.stop()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_what_does_not_start_is_told_in_its_own_sentence(bundle, tmp_path):
    with pytest.raises(
        UnsupportedError, match=r"service at .* must start: state \(mysql:x\) must be sqlite:PATH or redis"
    ):
        LocalService(bundle, state="mysql:x")
    with pytest.raises(ConfigError, match=r"port \(70000\) must lie in"):
        LocalService(bundle, port=70000)


def test_a_port_that_is_taken_is_refused(bundle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^port \({port}, .*\) must be free; 0 takes one that is$"):
            LocalService(bundle, port=port)


def test_a_model_that_is_not_trained_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigError):
        Recommender("popularity").serve()
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_on_disk_is_served_from_a_copy_that_goes(bundle):
    made = Recommender.load(bundle)
    made._folder = None
    service = made.serve()
    copy = service._end.peek()[2][1] / "bundle"
    with service.client() as client:
        assert client.ready()["model"] == "popularity"
    assert copy.exists()
    service.stop()
    assert not copy.exists()
