"""A model whose tokens are sessions, from a log with exposures to live answers: fitted, saved, loaded, explained, served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hpgr import EventLog, Recommender, SequenceStore, Wanted
from hpgr.data.simulator import Simulator
from hpgr.serving.engine import Engine
from hpgr.serving.events import Event
from hpgr.serving.questions import Question
from hpgr.serving.settings import EngineSettings
from hpgr.serving.sqlite_states import SqliteStates

FAST = (
    "stages.retrieve.epochs=1",
    "stages.retrieve.limit_batches=6",
    "windows.max_len=40",
    "model.objective.cut_prob=0.5",
)
MINUTE = 60_000


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Recommender:
    simulator = Simulator(Simulator.Config(num_users=60, num_items=80, num_categories=6, days=20, seed=3))
    log = EventLog.read(pl.concat(list(simulator.frames())))
    store = SequenceStore.build(log, tmp_path_factory.mktemp("sessions") / "store", items=simulator.items())
    return Recommender("sessionrec", changes=FAST).fit(store)


@pytest.fixture(scope="module")
def bundle(fitted, tmp_path_factory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("sessions") / "bundle")


def test_what_was_shown_reaches_its_training_and_both_questions_have_a_card(fitted):
    (row,) = fitted.stages["retrieve"].curve
    assert row["exposed_sessions"] > 10
    assert 0.3 < row["exposed_ranking"] < 1.0
    cards = fitted.evaluate()
    assert sorted(cards) == ["rank", "retrieve"]
    assert "Recall@10" in cards["retrieve"].metrics


def test_loaded_it_answers_and_explains_the_same(fitted, bundle):
    users = fitted.store().users.ids[:3].to_list()
    loaded = Recommender.load(bundle)
    mine, theirs = (r.recommend(users=users, wanted=Wanted(k=3), explained_events=2) for r in (fitted, loaded))
    assert mine.table.equals(theirs.table)
    assert mine.explanations.equals(theirs.explanations)
    assert len(mine.explanations) == 3 * 3 * 2
    assert mine.explanations["change"].abs().max() > 0


def test_live_events_inside_and_after_a_session_are_answered_as_bare_histories(bundle):
    states = SqliteStates(":memory:")
    engine = Engine(bundle, states, EngineSettings(blend_events=0))
    end_ms, ids = engine.log.end_ms, engine.reading.ids
    answers = []
    for n, minute in enumerate((0, 2, 4, 300, 301)):
        [placed] = states.append([Event(user="u", item=str(ids[3 * n]), time_ms=end_ms + minute * MINUTE)], 10**15)
        engine.histories.appended("u", [placed.stored], placed.mark)
        rows, at_ms = states.read([("u", None)])[0].rows, end_ms + (minute + 1) * MINUTE
        live, again, bare = (
            engine.answer([question], at_ms)[0]
            for question in (
                Question(user="u", at_ms=at_ms, k=8),
                Question(user="u", at_ms=at_ms, k=8),
                Question(events=tuple(rows), at_ms=at_ms, k=8),
            )
        )
        assert (live.source, live.history_length) == ("model", n + 1)
        assert live.items == again.items
        assert [i for i, _ in live.items] == [i for i, _ in bare.items]
        np.testing.assert_allclose([s for _, s in live.items], [s for _, s in bare.items], rtol=1e-5, atol=1e-5)
        answers.append(tuple(live.items))
    assert len(set(answers)) == 5
    states.close()
