from __future__ import annotations

import math

import pytest
import torch

from hpgr.objectives.losses.info_nce import info_nce_loss

FIRST, SECOND = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 2.0]])
E = math.e


def test_four_rows_by_hand(close):
    """Dot products: 1·1' 1, 2·2' 2, 1·2 0, 1·2' 0, 2·1' 1, 1'·2' 2."""
    rows = [math.log(E + 2) - 1, math.log(E**2 + 1 + E) - 2, math.log(2 * E + E**2) - 1, math.log(2 * E**2 + 1) - 2]
    close(info_nce_loss(FIRST, SECOND, torch.tensor([3, 5])), torch.tensor(sum(rows) / 4))


def test_temperature_divides_the_scores(close):
    found = info_nce_loss(FIRST, SECOND, torch.tensor([0, 1]), temperature=0.5)
    close(found, info_nce_loss(FIRST * 2**0.5, SECOND * 2**0.5, torch.tensor([0, 1])))


def test_rows_of_one_id_are_no_negatives(close):
    assert info_nce_loss(FIRST, SECOND, torch.tensor([4, 4])).item() == 0.0
    # The third pair meets the first two only, and they meet it only.
    first, second = torch.cat([FIRST, FIRST[:1]]), torch.cat([SECOND, SECOND[:1]])
    z = torch.cat([first, second])
    ids = torch.tensor([4, 4, 9])
    rows = []
    for i in range(6):
        j = (i + 3) % 6
        positive = (z[i] * z[j]).sum()
        others = [(z[i] * z[k]).sum() for k in range(6) if ids[k % 3] != ids[i % 3]]
        rows.append(torch.stack([positive, *others]).logsumexp(0) - positive)
    close(info_nce_loss(first, second, ids), torch.stack(rows).mean())


def test_unlike_ids_give_nt_xent(close):
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 7, 5, generator=generator)
    z = torch.cat([first, second])
    scores = (z @ z.T / 0.7).fill_diagonal_(-torch.inf)
    want = torch.nn.functional.cross_entropy(scores, torch.arange(14).roll(7))
    close(info_nce_loss(first, second, torch.arange(7), temperature=0.7), want)


def test_nothing_costs_nothing_and_gradients_are_finite():
    empty = torch.zeros(0, 3, requires_grad=True)
    assert info_nce_loss(empty, empty, torch.zeros(0, dtype=torch.int64)).item() == 0.0
    first, second = FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()
    info_nce_loss(first, second, torch.tensor([1, 1])).backward()
    assert first.grad.abs().max() == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert info_nce_loss(FIRST.bfloat16(), SECOND.bfloat16(), torch.tensor([0, 1])).dtype == torch.float32


def test_unlike_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must have one shape \(N, D\) and N ids; got \(2, 2\), \(1, 2\) and \(2,\)"):
        info_nce_loss(FIRST, SECOND[:1], torch.tensor([0, 1]))
