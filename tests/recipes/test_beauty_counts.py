"""Counting on the real file of Beauty: the published figure, which hangs on how ties are broken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpgr.api.evaluating import Measure
from hpgr.api.recommender import Recommender
from hpgr.data.sources import sources
from hpgr.data.store import SequenceStore
from hpgr.recipes import recipes

DATA = os.environ.get("HPGR_DATA")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(DATA is None, reason="HPGR_DATA is not set: no real logs")
def test_markov_counts_meet_the_published_figures(tmp_path):
    recipe = recipes()["beauty_bert4rec"]()
    source = sources()[recipe.source](Path(str(DATA)) / recipe.folder, **recipe.view)
    store = SequenceStore.build(source.log, tmp_path / "store", items=source.items, **source.build)
    run = next(run for run in recipe.entries if run.name == "markov")
    how = Measure(question="retrieve", exclude_seen=recipe.exclude_seen, metrics=("HitRate@10", "NDCG@10"))
    card = Recommender(run).fit(store).evaluate(how=how)["retrieve"]
    assert card.certificate.facts["users"] == 40_226
    # By expectation the ties give .0404 and .0280.
    for metric, figure in recipe.published["markov"].metrics.items():
        assert card.metrics[metric].value == pytest.approx(figure, abs=1e-4), metric
