"""A small bundle with its store and cards, and the service with its page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest

from hpgr import EventLog, Recommender, SequenceStore
from hpgr.data.simulator import Simulator
from hpgr.serving.service import Service
from hpgr.serving.settings import EngineSettings, ServiceSettings
from hpgr.web.page import application
from hpgr.web.settings import PageSettings
from tests.serving.conftest import FAST, TestClient


@dataclass(frozen=True, slots=True)
class Road:
    """Where a log's store, bundles and cards lie."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def bundle(self, model: str = "hpgr") -> Path:
        return self.folder / model

    def settings(self, folder: Path, model: str = "hpgr") -> ServiceSettings:
        """Of a service with a state of its own in ``folder``; the prior does not mix into short histories."""
        state = f"sqlite:{folder / 'state.sqlite'}"
        return ServiceSettings(bundle=self.bundle(model), state=state, engine=EngineSettings(blend_events=0))


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """HPGR that picks 6 events, popularity, and a model that only ranks; cards of the first two."""
    made = Road(tmp_path_factory.mktemp("page"))
    simulator = Simulator(Simulator.Config(num_users=60, num_items=80, num_categories=6, days=20, seed=3))
    log = pl.concat(list(simulator.frames()))
    store = SequenceStore.build(EventLog.read(log), made.store, items=simulator.items())
    picks = ("model.ranker.encoder.selection.k=6",)
    # Four batches of training leave small layers small, and then no event moves an item of the list.
    wide = ("model.ranker.encoder.layer.init_std=none",)
    for model, changes in (
        ("hpgr", (*FAST, *picks, *wide)),
        ("popularity", FAST[-1:]),
        ("hstu-ranker", (*FAST[1:2], *FAST[3:])),
    ):
        trained = Recommender(model, changes=changes, seed=1).fit(store)
        trained.save(made.bundle(model))
        if model != "hstu-ranker":
            for question, card in trained.evaluate().items():
                card.save(made.folder / "cards" / f"{model}-{question}")
    return made


@pytest.fixture
def service(road: Road, tmp_path: Path) -> Service:
    return Service(road.settings(tmp_path))


@pytest.fixture
def client(service: Service, road: Road) -> Iterator[TestClient]:
    with TestClient(application(service, PageSettings(store=road.store)), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def other(road: Road, tmp_path: Path) -> Iterator[TestClient]:
    """The page of a bundle that ``use(model)`` names, without a store."""
    opened: list[TestClient] = []

    def use(model: str, key: str | None = None) -> TestClient:
        settings = replace(road.settings(tmp_path, model), api_key=key)
        made = TestClient(application(Service(settings), PageSettings()), raise_server_exceptions=False)
        opened.append(made.__enter__())
        return made

    yield use
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture
def moved(road: Road, tmp_path: Path) -> Road:
    """A copy that a test may change."""
    shutil.copytree(road.folder, tmp_path / "moved")
    return Road(tmp_path / "moved")
