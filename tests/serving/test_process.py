"""The command ``hpgr serve`` as a process of its own: signals, slow callers, several workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from hpgr.core.errors import ConfigError, HpgrError
from hpgr.serving.app import create_app
from hpgr.serving.client import Client, ServiceError
from hpgr.serving.events import Event
from hpgr.serving.running import read_key, run
from hpgr.serving.service import Service
from tests.serving.conftest import free_port

CANDIDATES = [f"i{i:05d}" for i in range(1, 30, 3)]


@contextmanager
def served(bundle: Path, *words: str, log: Path | None = None) -> Iterator[tuple[subprocess.Popen, int]]:
    """The running command and its port."""
    port = free_port()
    command = [
        sys.executable,
        "-c",
        "from hpgr.cli.main import main; main()",
        "serve",
        str(bundle),
        "--port",
        str(port),
    ]
    with open(log or os.devnull, "w") as errors, subprocess.Popen([*command, *words], stderr=errors) as process:
        try:
            for _ in range(600):
                try:
                    with Client(f"http://127.0.0.1:{port}") as client:
                        client.ready()
                    break
                except OSError:
                    assert process.poll() is None, "the command ended before it was ready"
                    time.sleep(0.1)
            yield process, port
        finally:
            if process.poll() is None:
                process.kill()


def event(user: str, item: str, event_id: int) -> dict[str, object]:
    now = int(time.time() * 1000)
    return {"user_id": user, "item_id": item, "timestamp": now, "event_id": event_id}


def test_nothing_acknowledged_is_lost_when_the_service_is_killed(bundle, tmp_path):
    state = f"sqlite:{tmp_path / 'state.sqlite'}"
    told: set[tuple[str, int]] = set()
    with served(bundle, "--state", state) as (process, port):

        def tell(user: str) -> None:
            client = Client(f"http://127.0.0.1:{port}")
            try:
                for i in range(10_000):
                    if client.events([event(user, "i00001", i)])["accepted"]:
                        told.add((user, i))
            except (OSError, HpgrError, ValueError):
                pass
            client.close()

        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(tell, user) for user in "abc"]
            while len(told) < 60:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            for one in running:
                one.result()
    with served(bundle, "--state", state) as (process, port):
        client = Client(f"http://127.0.0.1:{port}")
        for user in "abc":
            mine = sorted(i for who, i in told if who == user)
            again = client.events([event(user, "i00001", i) for i in mine])
            assert again["duplicate"] == len(mine)
            assert client.state(user)["events"] >= len(mine)
        client.close()


def test_it_finishes_what_was_begun_and_slow_callers_hold_up_nobody(bundle, tmp_path):
    log = tmp_path / "log"
    with served(bundle, "--state", f"sqlite:{tmp_path / 'state'}", log=log) as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(
                b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\nContent-Type: application/json\r\n\r\n{"
            )
            client = Client(f"http://127.0.0.1:{port}")
            assert client.recommend(history=["i00001"], k=3)["source"] == "blend"
            client.close()
        found: list[object] = []

        def ask() -> None:
            one = Client(f"http://127.0.0.1:{port}")
            try:
                while True:
                    found.append(one.recommend(history=["i00001", "i00002"], k=3))
            except ConnectionError:
                pass
            except (ServiceError, OSError, ValueError) as error:
                found.append(error)
            one.close()

        asking = threading.Thread(target=ask)
        asking.start()
        while len(found) < 5:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        asking.join(20)
        assert process.wait(20) in (0, -signal.SIGTERM)
    assert all(isinstance(one, dict) for one in found), found[-1]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(line["event"] == "request" and line["status"] == 200 for line in lines)
    assert "i00001" not in log.read_text()


@pytest.mark.usefixtures("redis_server")
def test_two_workers_on_redis_answer_as_one_on_sqlite(bundle, tmp_path, redis_settings):
    with (
        served(bundle, "--state", f"sqlite:{tmp_path / 'state'}") as (_, one_port),
        served(bundle, "--state", redis_settings.state, "--workers", "2") as (_, two_port),
    ):
        one = Client(f"http://127.0.0.1:{one_port}")
        events = [event("abc"[i % 3], f"i{i % 40:05d}", i) for i in range(90)]
        at = int(time.time() * 1000) + 1000
        for start in range(0, 90, 9):
            one.events(events[start : start + 9])
            # A new connection each time, so that now one worker, now the other is told and asked.
            two = Client(f"http://127.0.0.1:{two_port}")
            assert two.events(events[start : start + 9])["accepted"] == 9
            two.close()
            for user in "abc":
                two = Client(f"http://127.0.0.1:{two_port}")
                ours, theirs = (c.recommend(user, k=5, at=at) for c in (one, two))
                assert [i["item_id"] for i in ours["items"]] == [i["item_id"] for i in theirs["items"]]
                assert [i["score"] for i in ours["items"]] == pytest.approx(
                    [i["score"] for i in theirs["items"]], abs=1e-5
                )
                assert ours["history_length"] == theirs["history_length"] == (start + 9) // 3
                ours, theirs = (c.rank(user, candidates=CANDIDATES, at=at)["items"] for c in (one, two))
                assert [i["item_id"] for i in ours] == [i["item_id"] for i in theirs]
                assert [i["score"] for i in ours] == pytest.approx([i["score"] for i in theirs], abs=1e-4)
                two.close()
        assert one.forget("a") == {"user_id": "a", "events": 30}
        one.close()


def test_one_service_sees_what_another_was_told_and_follows_its_reload(redis_settings, other_bundle):
    one, two = (Service(redis_settings) for _ in range(2))
    one.tell([Event(user="a", item="i00001", time_ms=1000)]).result(5)
    assert len(two.history("a")) == 1
    two.tell([Event(user="a", item="i00002", time_ms=2000)]).result(5)
    assert len(one.history("a")) == 2
    one.forget("a").result(5)
    assert len(two.history("a")) == 0
    shutil.rmtree(redis_settings.bundle)
    shutil.copytree(other_bundle, redis_settings.bundle)
    new = one.reload_everywhere()
    assert two.engine.fingerprint != new
    two.follow()
    assert two.engine.fingerprint == new
    for service in (one, two):
        service.close()


def test_redis_killed_in_mid_load_loses_nothing_acknowledged_and_the_workers_recover_alone(
    bundle, redis_settings, redis_server
):
    told: dict[str, set[int]] = {user: set() for user in "abc"}
    refused: list[int] = []
    stop = threading.Event()
    with served(bundle, "--state", redis_settings.state, "--workers", "2") as (_, port):

        def tell(user: str) -> None:
            client = Client(f"http://127.0.0.1:{port}", timeout_s=20)
            for i in range(100_000):
                if stop.is_set():
                    break
                try:
                    assert client.events([event(user, f"i{i % 40:05d}", i)])["accepted"] == 1
                    told[user].add(i)
                    assert client.recommend(user, k=3)["history_length"] >= len(told[user])
                except ServiceError as error:
                    refused.append(error.status)
                    time.sleep(0.02)
            client.close()

        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(tell, user) for user in told]
            try:
                wait_for(lambda: all(len(mine) > 5 for mine in told.values()))
                redis_server.process.kill()
                redis_server.process.wait(10)
                wait_for(lambda: len(refused) > 3)
                before = {user: len(mine) for user, mine in told.items()}
                redis_server.start()
                wait_for(lambda: all(len(mine) > before[user] + 5 for user, mine in told.items()))
            finally:
                stop.set()
            for one in running:
                one.result()
        assert set(refused) == {503}
        with Client(f"http://127.0.0.1:{port}") as client:
            for user, mine in told.items():
                again = client.events([event(user, "i00001", i) for i in sorted(mine)])
                assert (again["accepted"], again["duplicate"]) == (0, len(mine))


def wait_for(happens) -> None:
    for _ in range(1500):
        if happens():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen within half a minute")


def test_redis_away_is_503_and_comes_back(redis_settings, redis_server):
    with TestClient(create_app(Service(redis_settings))) as client:
        told = {"events": [event("a", "i00001", 1)]}
        assert client.post("/v1/events", json=told).json()["accepted"] == 1
        redis_server.stop()
        for answer in (
            client.post("/v1/events", json={"events": [event("a", "i00001", 2)]}),
            client.post("/v1/recommend", json={"user_id": "a"}),
            client.get("/readyz"),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.post("/v1/recommend", json={"history": ["i00001"]}).status_code == 200
        redis_server.start()
        assert client.post("/v1/recommend", json={"user_id": "a"}).json()["history_length"] == 1
        assert client.get("/readyz").status_code == 200


def test_what_cannot_be_served_is_one_sentence(settings, tmp_path):
    with pytest.raises(ConfigError, match=r"workers \(2\) must be 1 with a state in SQLite; give --state redis://"):
        run(settings, host="127.0.0.1", port=1, workers=2)
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ConfigError, match=r"api_key_file \(.*key\) must hold a key in its first line"):
        read_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="api_key \\(hidden\\) must have at least 8 characters"):
        replace(settings, api_key="short")
    with pytest.raises(ConfigError, match=r"url \(here\) must begin with http:// or https:// and name a host"):
        Client("here")
