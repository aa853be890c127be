from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.nn.relative_bias import RelativeBias


def _numbered(**options):
    """Place rows 0 … 2N-2 hold -(N-1) … N-1, time rows hold 1000 times their number."""
    bias = RelativeBias.Config(**options).build()
    with torch.no_grad():
        if bias.place is not None:
            bias.place.copy_(torch.arange(len(bias.place)) - len(bias.place) // 2)
        if bias.time is not None:
            bias.time.copy_(torch.arange(129) * 1000)
    return bias


def test_tables_have_the_published_sizes():
    bias = RelativeBias.Config(num_positions=211).build()
    assert (bias.place.shape, bias.time.shape) == ((421,), (129,))


def test_pairs_by_hand():
    time_ms = torch.tensor([0, 60_000, 3_660_000])
    pairs = _numbered(num_positions=2).between(time_ms, time_ms, None)
    rows = torch.arange(3)
    # Differences of 60 s, 3,600 s and 3,660 s lie in buckets 13, 27 and 27; two places apart clamp to one.
    assert pairs.of(rows[:, None], rows[None]).tolist() == [[0, 13001, 27001], [12999, 0, 27001], [26999, 26999, 0]]
    assert pairs.own(rows).tolist() == [0, 0, 0]


def test_a_query_may_bring_the_time_of_what_it_predicts():
    time_ms = torch.tensor([0, 60_000])
    following = torch.tensor([60_000, 3_660_000])
    pairs = _numbered(num_positions=None).between(following, time_ms, None)
    assert pairs.of(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])).tolist() == [13000, 27000, 27000]


def test_candidates_stand_right_after_their_history_whatever_their_row():
    pairs = _numbered(num_positions=9, time=False).between(
        torch.zeros(3).long(), torch.zeros(5).long(), torch.tensor([2, 2, 5])
    )
    assert pairs.of(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 4])).tolist() == [-2, -2, -1]


def test_queries_that_are_not_the_keys_must_bring_their_places():
    with pytest.raises(ValueError, match=r"query_at \(5,\) must have a row for each query \(3,\)"):
        RelativeBias.Config().build().between(torch.zeros(3), torch.zeros(5), None)


def test_a_bias_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"time \(False\) must be True where num_positions is None"):
        RelativeBias.Config(num_positions=None, time=False)
    with pytest.raises(ConfigError, match=r"num_positions \(0\) must be at least 1, or None for time only"):
        RelativeBias.Config(num_positions=0)
