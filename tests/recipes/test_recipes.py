"""Every recipe is whole: its source exists, its entries build, are comparable and have the features that they name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from hpgr.api.comparing import compare_runs
from hpgr.api.evaluating import RETRIEVAL_METRICS
from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.data.features import FEATURES
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.simulator import Simulator
from hpgr.data.sources import sources
from hpgr.data.split_rules import GlobalTime, LeaveOneOut
from hpgr.data.store import SequenceStore
from hpgr.recipes import Recipe, recipes

NAMES = recipes().names()
TWINS = [name for name in NAMES if "permuted" not in name and not name.endswith("refit")]
DATA = os.environ.get("HPGR_DATA")


def test_how_many_there_are():
    assert len(NAMES) == 32, NAMES


@pytest.mark.parametrize("name", NAMES)
def test_entries_build_and_survive_the_card(name):
    recipe = recipes()[name]()
    assert recipe.source in sources()
    for run in recipe.entries:
        frame = run.model.build(num_items=7)
        for stage in frame.stages():
            assert run.settings(stage.name).epochs >= 1
        assert from_tree(to_tree(run)) == run
        features = getattr(getattr(frame, "ranker", frame).config, "features", ())
        assert set(features) <= set(FEATURES)


def test_entries_must_be_comparable():
    recipe = recipes()[NAMES[0]]()
    with pytest.raises(ConfigError, match="must have different names"):
        replace(recipe, entries=recipe.entries[:1] * 2)
    other = replace(recipes()["thirty_music_sampled"]().entries[0], name="of another split")
    with pytest.raises(ConfigError, match="must share one split"):
        replace(recipe, entries=(recipe.entries[0], other))


def test_published_figures_belong_to_entries_and_metrics():
    told = {name: recipes()[name]().published for name in NAMES}
    assert sum(map(len, told.values())) > 5
    for published in told.values():
        for figures in published.values():
            assert set(figures.metrics) <= set(RETRIEVAL_METRICS)
    recipe = recipes()["ml1m_published"]()
    with pytest.raises(UnknownNameError, match="no entry is named 'sasrec'"):
        replace(recipe, published={"sasrec": recipe.published["sasrec ce"]})


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    simulator = Simulator(Simulator.Config(num_users=300, num_items=90, num_categories=6, days=10, seed=5))
    log = EventLog.read(pl.concat(list(simulator.frames())))
    history = HistoryRule(labels="all")
    return SequenceStore.build(log, tmp_path_factory.mktemp("twin") / "store", items=simulator.items(), history=history)


@pytest.mark.parametrize("name", TWINS)
def test_tiny_twins_run_on_a_simulated_log(name, simulated, tmp_path):
    """Six batches of the last entry that trains, under the recipe's own windows, candidates and settings."""
    recipe: Recipe = recipes()[name]()
    run = [run for run in recipe.entries if run.model.build(num_items=7).stages()][-1]
    tiny = replace(
        run,
        split=GlobalTime() if recipe.question == "rank" else LeaveOneOut(),
        stages={k: replace(v, epochs=1, limit_batches=6, questions=20) for k, v in run.stages.items()},
    )
    (card,) = compare_runs(simulated, [tiny], recipe.question, tmp_path, limit=20)
    assert card.config["stages"]
    assert 0 <= next(iter(card.metrics.values())).value <= 1


@pytest.mark.real_data
@pytest.mark.skipif(DATA is None, reason="HPGR_DATA is not set: no real logs")
@pytest.mark.parametrize("name", ["ebnerd_impressions", "ebnerd_sessionrec", "thirty_music_last_session"])
def test_tiny_twins_run_on_the_real_log(name, tmp_path):
    """Two batches an epoch of the flagship, and one counting entry, on the whole log: the road holds, the numbers do not count."""
    recipe: Recipe = recipes()[name]()
    source = sources()[recipe.source](Path(str(DATA)) / recipe.folder, **recipe.view)
    store = SequenceStore.build(source.log, tmp_path / "store", items=source.items, **source.build)
    chosen = [recipe.entries[0], next(run for run in recipe.entries if run.name == "popularity")]
    tiny = [
        replace(
            run,
            windows=replace(run.windows, max_len=20, batch_tokens=1000),
            stages={k: replace(v, epochs=1, limit_batches=2) for k, v in run.stages.items()},
        )
        for run in chosen
    ]
    cards = compare_runs(store, tiny, recipe.question, tmp_path, limit=100)
    assert cards[0].comparable(cards[1])
    assert cards[0].certificate.facts["users"] > 1000
    value = cards[0].metrics["GAUC" if recipe.question == "rank" else "HitRate@10"].value
    assert 0 <= value <= 1
