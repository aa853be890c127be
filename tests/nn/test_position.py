from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.nn.position import TimeAwarePosition

OFFSETS, NOW = torch.tensor([0, 3, 3, 4]), torch.tensor([10_000, 0, 5_000])
TIMES = torch.tensor([0, 8_000, 10_000, 5_000])


def _numbered(**options):
    """Tables whose rows are their own numbers: ranks in the first column, ages in the second."""
    layer = TimeAwarePosition.Config(**options).build(dim=2)
    with torch.no_grad():
        for column, table in enumerate((layer.rank, layer.age)):
            if table is not None:
                table.weight.zero_()
                table.weight[:, column] = torch.arange(table.num_embeddings)
    return layer


def test_ranks_count_from_the_newest_event_and_ages_from_now():
    place = _numbered(num_positions=8, num_time_buckets=16).for_history(OFFSETS, TIMES, NOW)
    # Ages of 10, 2, 0 and 0 seconds: log2(10) = 3.32 gives bucket 1 + 6, log2(2) = 1 gives 1 + 2.
    assert place.tolist() == [[3, 7], [2, 3], [1, 0], [1, 0]]


def test_ranks_may_count_from_the_oldest_event_without_time():
    place = _numbered(num_positions=2, num_time_buckets=None, order="from_start").for_history(OFFSETS, TIMES, NOW)
    assert place[:, 0].tolist() == [1, 2, 2, 1]


def test_ranks_beyond_the_table_share_its_last_row():
    place = _numbered(num_positions=2).for_history(OFFSETS, TIMES, NOW)
    assert place[:, 0].tolist() == [2, 2, 1, 1]


def test_ages_may_go_by_the_root_of_minutes():
    now = torch.tensor([600_000])
    times = torch.tensor([0, 359_000, 360_000, 541_000, 600_000])
    place = _numbered(num_time_buckets=4, spacing="sqrt").for_history(torch.tensor([0, 5]), times, now)
    # 10 minutes, a second more than 4, 4, 59 seconds, none.
    assert place[:, 1].tolist() == [3, 2, 2, 0, 0]


def test_weights_start_as_wide_as_asked():
    layer = TimeAwarePosition.Config(num_positions=500, num_time_buckets=500, std=0.5).build(dim=64)
    for table in (layer.rank, layer.age):
        assert table.weight.std().item() == pytest.approx(0.5, rel=0.02)


def test_candidates_share_one_place_that_no_event_has():
    place = _numbered(num_positions=8).for_candidates(torch.zeros(3).long())
    assert place.tolist() == [[0, 0]] * 3
    assert _numbered(num_time_buckets=None).for_candidates(torch.zeros(0).long()).shape == (0, 2)


def test_no_events_have_no_places():
    assert _numbered().for_history(torch.tensor([0, 0]), TIMES[:0], NOW[:1]).shape == (0, 2)


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"num_positions \(0\) must be at least 1"):
        TimeAwarePosition.Config(num_positions=0)
    with pytest.raises(ConfigError, match=r"num_time_buckets \(1\) must be at least 2, or None for ranks only"):
        TimeAwarePosition.Config(num_time_buckets=1)
    with pytest.raises(ConfigError, match=r"order \(back\) must be from_end or from_start"):
        TimeAwarePosition.Config(order="back")
    with pytest.raises(ConfigError, match=r"spacing \(even\) must be log or sqrt"):
        TimeAwarePosition.Config(spacing="even")
    with pytest.raises(ConfigError, match=r"std \(0.0\) must be positive"):
        TimeAwarePosition.Config(std=0.0)
