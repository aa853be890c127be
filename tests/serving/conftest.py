"""One small trained bundle and what a service is made with."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from hpgr import EventLog, Recommender, SequenceStore
from hpgr.data.simulator import Simulator
from hpgr.serving.app import create_app
from hpgr.serving.service import Service
from hpgr.serving.settings import EngineSettings, ServiceSettings

with warnings.catch_warnings():
    # Starlette has begun to ask for httpx2, a young successor of httpx; both do.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

FAST = (
    "stages.retrieve.epochs=1",
    "stages.rank.epochs=1",
    "stages.retrieve.limit_batches=4",
    "stages.rank.limit_batches=4",
    "windows.max_len=30",
)


def train(folder: Path, *, seed: int, model: str = "hpgr") -> Path:
    """A bundle of a few steps."""
    simulator = Simulator(Simulator.Config(num_users=60, num_items=80, num_categories=6, days=20, seed=3))
    log, items = pl.concat(list(simulator.frames())), simulator.items()
    store = SequenceStore.build(EventLog.read(log), folder / "store", items=items)
    return Recommender(model, changes=FAST, seed=seed).fit(store).save(folder / "bundle")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("served"), seed=1)


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the same log, from another seed."""
    return train(tmp_path_factory.mktemp("other"), seed=2)


@pytest.fixture
def settings(bundle: Path, tmp_path: Path) -> ServiceSettings:
    """Of a bundle that the test may replace, and a state of its own; the prior does not mix into short histories."""
    shutil.copytree(bundle, tmp_path / "bundle")
    return ServiceSettings(
        bundle=tmp_path / "bundle", state=f"sqlite:{tmp_path / 'state.sqlite'}", engine=EngineSettings(blend_events=0)
    )


@pytest.fixture
def service(settings: ServiceSettings) -> Iterator[Service]:
    made = Service(settings)
    yield made
    made.close()


@pytest.fixture
def client(settings: ServiceSettings) -> Iterator[TestClient]:
    with TestClient(create_app(Service(settings)), raise_server_exceptions=False) as made:
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A server of our own, that syncs every write."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = ["--port", str(self.port), "--dir", str(self.folder), "--save", "", "--bind", "127.0.0.1"]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"]
        self.process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("redis-server did not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_settings(settings: ServiceSettings, redis_server: RedisServer) -> ServiceSettings:
    """An empty Redis for each test."""
    import redis

    with redis.Redis.from_url(redis_server.url) as connection:
        connection.flushall()
    return replace(settings, state=redis_server.url)


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
