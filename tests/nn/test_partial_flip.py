from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.nn.partial_flip import PartialFlip

LENGTHS = [0, 1, 4, 9, 5, 6]
OFFSETS, SIZE = offsets_of(torch.tensor(LENGTHS)), sum(LENGTHS)


def test_old_events_are_turned_round_and_the_newest_stay():
    order = PartialFlip(keep=2).order(torch.tensor([0, 3, 8]), 8)
    assert order.tolist() == [0, 1, 2, 5, 4, 3, 6, 7]


@pytest.mark.parametrize("keep", [0, 1, 5, 100])
def test_twice_is_not_at_all_and_rows_stay_apart(keep):
    order = PartialFlip(keep=keep).order(OFFSETS, SIZE)
    assert torch.equal(order[order], torch.arange(SIZE))
    for start, stop in zip(OFFSETS[:-1].tolist(), OFFSETS[1:].tolist()):
        assert sorted(order[start:stop].tolist()) == list(range(start, stop))
        fixed = min(keep, stop - start)
        assert order[stop - fixed : stop].tolist() == list(range(stop - fixed, stop))


def test_nothing_is_turned_where_no_row_is_longer_than_what_is_kept():
    assert torch.equal(PartialFlip(keep=9).order(OFFSETS, SIZE), torch.arange(SIZE))
    assert not torch.equal(PartialFlip(keep=7).order(OFFSETS, SIZE), torch.arange(SIZE))


def test_a_negative_count_is_named():
    with pytest.raises(ConfigError, match=r"keep \(-1\) must not be negative"):
        PartialFlip(keep=-1)
