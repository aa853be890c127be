"""Jagged rows and their padded twin."""

import pytest
import torch

from hpgr.core.jagged import Jagged, position_in_row


def test_padding_holds_every_value_once():
    rows = Jagged.from_lengths(torch.arange(8.0), [0, 1, 7])
    padded, mask = rows.to_padded()
    assert padded.shape == (3, 7)
    assert torch.equal(padded[mask], rows.values)
    assert padded[~mask].abs().sum() == 0


def test_rows_positions_and_last():
    rows = Jagged.from_lengths(torch.arange(4), [3, 0, 1])
    assert rows.row_of().tolist() == [0, 0, 0, 2]
    assert position_in_row(rows.offsets, 4).tolist() == [0, 1, 2, 0]
    assert rows.last().tolist() == [2, 2, 3]


def test_lengths_must_add_up():
    with pytest.raises(ValueError, match=r"lengths \(sum 3\) must add up to the values \(4\)"):
        Jagged.from_lengths(torch.arange(4), [1, 2])
