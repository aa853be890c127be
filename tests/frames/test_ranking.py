"""A ranker beside what its encoder does: features, options that are texts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.models.hpgr import hpgr_paper
from hpgr.models.hstu import hstu_ranker
from hpgr.models.sasrec import sasrec
from hpgr.nn.position import TimeAwarePosition


def test_a_batch_of_one_candidate_trains_by_what_came_before():
    ranker = hstu_ranker(features=("age", "popularity")).build(num_items=9)
    history, generator = History.from_lists([[1, 2, 3]]), torch.Generator()

    def loss(items, labels, features):
        asked = Candidates.from_lists(items, now_ms=history.now_ms, labels=labels, features=torch.tensor(features))
        return ranker.loss((history, asked), generator)["loss"]

    loss([[1, 2, 3]], [[0, 1, 0]], [[1.0, 0.0], [2.0, 5.0], [3.0, 1.0]])
    before = [x.clone() for x in (ranker.feature_norm.running_mean, ranker.feature_norm.running_var)]
    one = loss([[4]], [[1]], [[2.0, 3.0]])
    one.backward()
    assert one.isfinite()
    assert ranker.feature_in.weight.grad.abs().sum() > 0
    for now, then in zip((ranker.feature_norm.running_mean, ranker.feature_norm.running_var), before):
        assert torch.equal(now, then)


def test_texts_that_name_nothing_are_refused():
    config = hpgr_paper()
    with pytest.raises(ConfigError, match=r"gate \(aditive\) must be multiplicative or additive"):
        replace(config.ranker.encoder, gate="aditive")
    with pytest.raises(ConfigError, match=r"mask_at \(inputs\) must be input or fusion"):
        replace(config.retriever, mask_at="inputs")


def test_a_position_that_tells_the_last_moment_is_refused_where_every_event_is_asked_at():
    config = sasrec()
    place = TimeAwarePosition.Config(num_time_buckets=64)
    with pytest.raises(
        ConfigError, match=r"clock of the position in encoder \(now, .*\) must be previous under NextItem"
    ):
        replace(config, encoder=replace(config.encoder, position=place))
    for honest in (replace(place, clock="previous"), replace(place, num_time_buckets=None)):
        replace(config, encoder=replace(config.encoder, position=honest))
