"""Each published system from end to end: fitted, saved, loaded, asked with reasons, and served with the same answer."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hpgr import EventLog, Recommender, SequenceStore, Wanted
from hpgr.data.simulator import Simulator
from hpgr.frames.registry import MODELS
from hpgr.serving.engine import Engine
from hpgr.serving.events import Event
from hpgr.serving.questions import Question
from hpgr.serving.settings import EngineSettings
from hpgr.serving.sqlite_states import SqliteStates

# A model of each system, and one more where it has several shapes; with what makes it small.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "hpgr": (),
    "cape": (),
    "cape-hstu": (),
    "cape-din": (),
    "sigma": (),
    "mqsa_ted": (),
    "rearec": (),
    "sessionrec": (),
    "icsrec": ("model.auxiliary.bank.num_prototypes=4",),
    "comirec": (),
    "ada_retrieval": ("model.rounds=2", "model.per_round=5"),
    "clusterseq": ("model.adapter.warm_epochs=0", "model.adapter.clusters.num_clusters=2"),
    "pisa": (),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    simulator = Simulator(Simulator.Config(num_users=50, num_items=60, num_categories=6, days=20, seed=3))
    log = EventLog.read(pl.concat(list(simulator.frames())))
    return SequenceStore.build(log, tmp_path_factory.mktemp("systems") / "store", items=simulator.items(), ties="set")


def small(name: str) -> list[str]:
    """Two batches a stage."""
    stages = [stage.name for stage in MODELS[name]().build(num_items=4).stages()]
    settings = ("epochs=1", "limit_batches=2")
    changes = [f"stages.{stage}.{setting}" for stage in stages for setting in settings]
    return [*changes, "windows.max_len=12", *SYSTEMS[name]]


def served(folder, store, row: int, question: Question):
    """The engine's answer; it has been told what the store holds of the user in ``row``."""
    events = np.arange(*store.user_offsets[row : row + 2])
    states = SqliteStates(":memory:")
    told = [
        Event(
            user=question.user,
            item=str(store.items.at(store.item_idx[[at]])[0]),
            time_ms=int(store.time_ms[at]),
            action=store.manifest["actions"][store.action[at] - 1],
        )
        for at in events
    ]
    states.append(told, 10**15)
    [answer] = Engine(folder, states, EngineSettings(blend_events=0)).answer([question], question.at_ms)
    states.close()
    return answer


def test_every_system_is_among_them():
    assert len(SYSTEMS) == 13
    assert {name.split("-")[0] for name in SYSTEMS} == {
        *("hpgr", "cape", "sigma", "mqsa_ted", "rearec", "sessionrec", "icsrec", "comirec", "ada_retrieval"),
        *("clusterseq", "pisa"),
    }


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_is_fitted_saved_loaded_asked_with_reasons_and_served_alike(name, store, tmp_path):
    made = Recommender(name, changes=small(name)).fit(store)
    folder = made.save(tmp_path / "bundle")
    loaded = Recommender.load(folder)
    row, at_ms = 4, int(store.time_ms.max()) + 1
    # A model that only ranks is told what to order.
    some = None if hasattr(made.frame, "scores") else tuple(store.items.ids[:25].to_list())
    user, wanted = store.users.ids[row], Wanted(k=6, exclude_seen=True, candidates=some)
    before = made.recommend(users=[user], wanted=wanted, at=at_ms)
    found = loaded.recommend(users=[user], wanted=wanted, at=at_ms, store=store, explained_events=2)
    assert found.table.equals(before.table)
    assert found.table["rank"].to_list() == [1, 2, 3, 4, 5, 6]
    assert found.explanations["item_id"].unique().is_in(found.table["item_id"].implode()).all()
    assert found.explanations["item_id"].n_unique() == 6
    question = Question(user=str(user), at_ms=at_ms, k=6, exclude_seen=True, candidates=some)
    answer = served(folder, store, row, question)
    assert answer.source == "model"
    assert [item for item, _ in answer.items] == found.table["item_id"].cast(pl.String).to_list()
    np.testing.assert_allclose([score for _, score in answer.items], found.table["score"], rtol=1e-4, atol=1e-5)
