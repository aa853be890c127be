from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpgr.api.monitors import selection_monitors
from hpgr.core.batch import Candidates, History
from hpgr.models.hpgr import hpgr_live


@pytest.mark.parametrize(
    "options",
    [{}, {"learn_sigma": True}, {"recency": 0.1}, {"weighting": "score", "learn_query": True}, {"by": "last"}],
)
def test_every_selection_is_held_against_the_newest_and_random_events(options):
    config = hpgr_live(dim=8, k=2).ranker
    encoder = replace(config.encoder, selection=replace(config.encoder.selection, **options))
    ranker = replace(config, encoder=encoder, features=()).build(num_items=6)
    with torch.no_grad():
        ranker.items.weight.zero_()
        ranker.items.weight[:6, :6] = torch.eye(6)
    # The clicked candidate is the oldest event, the other one was never seen.
    history = History.from_lists([[0, 1, 2, 3], [3, 0, 1, 2]])
    candidates = Candidates.from_lists([[0, 5], [3, 5]], now_ms=history.now_ms, labels=[[1, 0], [1, 0]])
    told = selection_monitors(ranker, [(history, candidates, np.arange(2))])
    assert told["zero_shot_auc"] == 1.0
    assert told["lift_over_last"] == 0.5
    assert set(told) == {"zero_shot_auc", "lift_over_last", "lift_over_random"}
