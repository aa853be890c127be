from __future__ import annotations

import pytest
import torch
from torch import autograd

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.ops.block_attention import IMPLEMENTATIONS, block_attention


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_two_blocks_by_hand(impl, close):
    q, k = torch.ones(3, 1, 1), torch.tensor([[[1.0]], [[5.0]], [[2.0]]])
    v = torch.tensor([[[10.0]], [[1000.0]], [[100.0]]])
    rows = torch.tensor([[2, 0], [-1, 0]])
    visible = torch.tensor([[True, True], [False, True], [True, False]])
    got = block_attention(q, k, v, torch.tensor([0, 2, 3]), (rows, visible), normaliser=2.0, impl=impl)
    # silu(2) = 1.7615942, silu(1) = .7310586; the last query sees nothing but a gap.
    close(got.flatten(), torch.tensor([1.7615942 / 2 * 100 + 0.7310586 / 2 * 10, 0.7310586 / 2 * 10, 0.0]))


@pytest.mark.parametrize(
    ("lengths", "num_rows", "width"),
    [([0, 1, 7], 9, 5), ([4], 6, 3), ([2, 2], 3, 4), ([3], 5, 0), ([], 4, 3), ([2], 0, 2), ([16] * 40, 300, 79)],
    ids=str,
)
def test_vectorised_matches_the_reference_forward_and_backward(lengths, num_rows, width, close):
    count = sum(lengths)
    shapes = ((count, 2, 3), (num_rows, 2, 3), (num_rows, 2, 4))
    q, k, v = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    rows = torch.randint(-1, num_rows, (len(lengths), width)) if num_rows else torch.full((len(lengths), width), -1)
    lists = rows, torch.rand(count, width) < 0.7
    offsets = offsets_of(torch.tensor(lengths, dtype=torch.int64))
    got, want = (
        block_attention(q, k, v, offsets, lists, normaliser=8.0, scale=0.6, impl=i) for i in ("vectorised", "reference")
    )
    close(got, want)
    if not want.requires_grad or not got.requires_grad:
        assert (got == 0).all()
        return
    up = torch.randn_like(want)
    for mine, theirs in zip(*(autograd.grad(out, (q, k, v), up, allow_unused=True) for out in (got, want))):
        close(mine, theirs)


def test_bad_input_is_named():
    q, offsets = torch.randn(3, 1, 2), torch.tensor([0, 3])
    with pytest.raises(ValueError, match=r"rows \(2, 4\) and visible \(3, 4\) must be \(1, W\), a list for each block"):
        block_attention(q, q, q, offsets, (torch.zeros(2, 4).long(), torch.ones(3, 4).bool()), normaliser=1.0)
    with pytest.raises(ConfigError, match=r"normaliser \(0.0\) must be a positive constant with silu weights"):
        block_attention(q, q, q, offsets, (torch.zeros(1, 4).long(), torch.ones(3, 4).bool()), normaliser=0.0)
