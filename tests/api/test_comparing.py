"""Many runs on one store: cards are kept, pre-training is shared, a changed run is run again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.api.comparing import compare_runs, fitted, training_name
from hpgr.api.recommender import Recommender
from hpgr.api.runs import run_for
from hpgr.core.errors import ConfigError
from hpgr.data.log import EventLog
from hpgr.data.requests import SampledRequests
from hpgr.data.sessions import IdleGap
from hpgr.data.simulator import Simulator
from hpgr.data.store import SequenceStore
from hpgr.data.windows import TrainWindows
from hpgr.evaluation.comparison import compare
from hpgr.models.popularity import popularity
from hpgr.training.settings import StageSettings


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    simulator = Simulator(Simulator.Config(num_users=60, num_items=80, num_categories=5, days=20, seed=5))
    log = EventLog.read(pl.concat(list(simulator.frames())).filter(pl.col("label").is_null()).drop("label"))
    return SequenceStore.build(log, tmp_path_factory.mktemp("comparing") / "store", ties="set")


def runs():
    whole = replace(
        run_for("hpgr", num_actions=1),
        windows=TrainWindows.Config(max_len=20, batch_tokens=1000),
        candidates=SampledRequests.Config(positives_per_user=1, batch_tokens=1000),
        stages={name: StageSettings(epochs=1, limit_batches=2) for name in ("retrieve", "rank")},
    )
    ranker = whole.model.ranker
    dense = replace(whole.model, ranker=replace(ranker, encoder=replace(ranker.encoder, selection=None)))
    return [whole, replace(whole, name="dense, pre-trained", model=dense)]


def test_runs_share_their_first_stage_and_are_not_repeated(store, tmp_path):
    said: list[str] = []
    cards = compare_runs(store, runs(), "rank", tmp_path, say=said.append)
    assert [card.model for card in cards] == ["hpgr", "dense, pre-trained"]
    assert len(list((tmp_path / "pre-training").iterdir())) == 1
    first, second = (
        torch.load(tmp_path / "training" / training_name(run) / "retrieve" / "done.pt", weights_only=True)
        for run in runs()
    )
    assert first.keys() == second.keys()
    assert cards[0].learning_curves["retrieve"] == cards[1].learning_curves["retrieve"]
    assert cards[0].learning_curves["rank"] != cards[1].learning_curves["rank"]
    assert {difference.metric for difference in compare(*cards)} >= {"GAUC[u20]", "NDCG@10[u20]"}
    assert all(name.endswith("[u20]") for card in cards for name in card.metrics)
    again = compare_runs(store, runs(), "rank", tmp_path, say=said.append)
    assert [card.created for card in again] == [card.created for card in cards]
    assert sum("fitting" in line for line in said) == 2


def test_a_changed_run_is_run_again(store, tmp_path):
    first = compare_runs(store, runs()[:1], "rank", tmp_path)
    other = replace(runs()[0], seed=7)
    second = compare_runs(store, [replace(other, name="hpgr, seed 7")], "rank", tmp_path)
    assert first[0].metrics != second[0].metrics


def test_a_changed_option_is_trained_anew_and_not_taken_from_the_old_training(store, tmp_path):
    (run, *_) = runs()
    changed = replace(run, model=replace(run.model, retriever=replace(
        run.model.retriever, objective=replace(run.model.retriever.objective, mask_prob=0.6))))  # fmt: skip
    assert training_name(run) != training_name(changed)
    before = fitted(store, run, tmp_path, "one").frame.retriever.items.weight
    with pytest.raises(ConfigError, match="config of the model"):
        fitted(store, changed, tmp_path, "one")
    assert not torch.equal(before, fitted(store, changed, tmp_path, "other").frame.retriever.items.weight)


def test_a_training_is_not_taken_up_on_another_store(store, tmp_path):
    run = runs()[0]
    fitted(store, run, tmp_path, "one")
    events = pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(store.num_users), np.diff(store.user_offsets)),
            "item_id": store.items.at(store.item_idx),
            "timestamp": store.time_ms,
        }
    )
    other = SequenceStore.build(EventLog.read(events), tmp_path / "other", sessions=IdleGap(gap_s=10**6))
    with pytest.raises(ConfigError, match=r"files of the store|batches an epoch"):
        fitted(other, run, tmp_path, "one")


def test_what_is_fitted_in_one_go_tells_its_time_and_has_no_stages(store, tmp_path):
    counting = replace(runs()[0], name="popularity", model=popularity())
    (card,) = compare_runs(store, [counting], "rank", tmp_path)
    assert list(card.wall_time_s) == ["fit", "evaluation"]
    assert 0 < card.wall_time_s["fit"] < 60
    assert card.learning_curves == {}
    recommender = fitted(store, counting, tmp_path, "one")
    recommender.save(tmp_path / "bundle")
    assert Recommender.load(tmp_path / "bundle").stages == recommender.stages


def test_a_card_of_another_log_is_not_kept(store, tmp_path):
    counting = replace(runs()[0], name="popularity", model=popularity())
    (first,) = compare_runs(store, [counting], "retrieve", tmp_path)
    Simulator.Config(num_users=50, num_items=60, num_categories=4, days=12, seed=8).build().write(
        tmp_path / "l.parquet"
    )
    other = SequenceStore.build(EventLog.read(tmp_path / "l.parquet"), tmp_path / "other")
    (second,) = compare_runs(other, [counting], "retrieve", tmp_path)
    assert first.certificate.hash != second.certificate.hash
