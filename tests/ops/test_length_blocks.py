from __future__ import annotations

import torch

from hpgr.core.jagged import offsets_of
from hpgr.ops.length_blocks import length_blocks, padded_index


def test_every_row_comes_once_and_blocks_hold_similar_lengths():
    lengths = torch.tensor([3, 0, 9, 16, 17, 200, 130, 8])
    offsets = offsets_of(lengths)
    blocks = list(length_blocks(offsets))
    assert sorted(torch.cat(blocks).tolist()) == list(range(8))
    assert [lengths[rows].tolist() for rows in blocks] == [[3, 0, 8], [9, 16], [17], [200, 130]]


def test_padding_is_marked():
    index, there = padded_index(torch.tensor([0, 2, 2, 5]), torch.tensor([2, 0, 1]))
    assert index.tolist() == [[2, 3, 4], [0, 1, 0], [0, 0, 0]]
    assert there.tolist() == [[True] * 3, [True, True, False], [False] * 3]


def test_many_rows_are_cut_into_blocks_of_bounded_size():
    blocks = list(length_blocks(torch.arange(0, 101) * 1000))
    assert len(blocks) == 100
