"""Recommendations through an index: exact ones are those of all scores, others tell their recall."""

from __future__ import annotations

import polars as pl
import pytest

from hpgr.answering.answerer import Wanted
from hpgr.api.recommender import Recommender
from hpgr.core.errors import ConfigError, UnknownNameError, UnsupportedError
from hpgr.data.log import EventLog
from hpgr.data.simulator import Simulator
from hpgr.data.store import SequenceStore
from hpgr.retrieval.faiss_index import Hnsw

FAST = (
    "stages.retrieve.epochs=1",
    "stages.rank.epochs=1",
    "stages.retrieve.limit_batches=4",
    "stages.rank.limit_batches=4",
    "windows.max_len=30",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    simulator = Simulator(Simulator.Config(num_users=60, num_items=120, num_categories=6, days=20, seed=3))
    log = EventLog.read(pl.concat(list(simulator.frames())))
    return SequenceStore.build(log, tmp_path_factory.mktemp("index") / "store", items=simulator.items(), ties="set")


@pytest.fixture(scope="module", params=["sasrec", "hpgr", "comirec"])
def fitted(store, request):
    # hpgr's scores are cosines divided by a temperature; its ranker is asked for what the index finds. comirec asks with
    # several vectors.
    return Recommender(request.param, changes=FAST).fit(store)


def lists(found: pl.DataFrame) -> list:
    return found.select("user_id", "item_id", "rank").rows()


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("by", ["retrieve", "auto"])
@pytest.mark.parametrize("kind", ["exact", "flat"])
def test_an_exact_index_recommends_what_all_scores_do(fitted, store, kind, by, exclude_seen):
    if kind != "exact":
        pytest.importorskip("faiss")
    index = fitted.index(kind)
    assert index.recall == 1
    users = store.users.at(range(12)).to_list()
    plain, searched = (
        fitted.recommend(users, wanted=Wanted(k=7, by=by, exclude_seen=exclude_seen, index=given)).table
        for given in (None, index)
    )
    assert lists(searched) == lists(plain)
    assert searched["score"].to_list() == pytest.approx(plain["score"].to_list(), abs=1e-5)


def test_who_has_no_history_gets_what_is_popular(fitted):
    index = fitted.index("exact")
    plain, searched = (
        fitted.recommend(histories=[], wanted=Wanted(index=given, by="retrieve")).table for given in (None, index)
    )
    assert lists(searched) == lists(plain)


def test_recall_is_measured_on_users_of_the_store(fitted):
    pytest.importorskip("faiss")
    rough = fitted.index(Hnsw(links=4, build_effort=8, effort=4), k=10, num_queries=30)
    assert 0 < rough.recall <= 1
    assert fitted.index("hnsw").recall > 0.8


def test_what_cannot_be_indexed_is_named(fitted, store):
    with pytest.raises(UnknownNameError, match="no index is named 'hsnw'; did you mean hnsw"):
        fitted.index("hsnw")
    counting = Recommender("popularity").fit(store)
    with pytest.raises(UnsupportedError) as caught:
        counting.index("exact")
    assert str(caught.value) == "index must have vectors to search, which this model has not; leave it out"
    with pytest.raises(ConfigError, match=r"index \(given\) must be None where candidates are given"):
        Wanted(candidates=["a"], index=fitted.index("exact"))
