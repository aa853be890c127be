"""Sets become one row each: by hand, whatever their order, and with some kinds of rows apart."""

from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.nn.set_pool import SetPool
from hpgr.nn.transformer_layer import TransformerLayer

X_TD = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0], [0.0, 4.0], [2.0, 0.0], [4.0, 2.0]])
OFFSETS = torch.tensor([0, 2, 3, 6])


def test_mean_and_last_by_hand():
    assert SetPool.Config().build(dim=2)(X_TD, OFFSETS).tolist() == [[2.0, 1.0], [5.0, 5.0], [2.0, 2.0]]
    assert SetPool.Config(kind="last").build(dim=2)(X_TD, OFFSETS).tolist() == [[3.0, 2.0], [5.0, 5.0], [4.0, 2.0]]


def test_attention_begins_as_the_mean_and_is_a_softmax_over_the_set(close):
    pool = SetPool.Config(kind="attention").build(dim=2)
    close(pool(X_TD, OFFSETS), SetPool.Config().build(dim=2)(X_TD, OFFSETS))
    pool.query.data.copy_(torch.tensor([100.0, -40.0]))
    close(pool(X_TD, OFFSETS)[0], X_TD[1])
    pool.query.data.copy_(torch.tensor([0.5, -0.2]))
    for got, rows in zip(pool(X_TD, OFFSETS), X_TD.split([2, 1, 3])):
        close(got, (rows @ pool.query).softmax(0) @ rows)
    pool(X_TD, OFFSETS).square().sum().backward()
    assert pool.query.grad.abs().min() > 0


@pytest.mark.parametrize("kind", ["mean", "attention"])
@pytest.mark.parametrize("layer", [None, TransformerLayer.Config(ffn_dim=4)], ids=["bare", "layer"])
def test_the_order_of_a_set_tells_nothing_and_other_sets_tell_nothing(kind, layer, close):
    pool = SetPool.Config(kind=kind, layer=layer, num_layers=2).build(dim=2)
    if kind == "attention":
        torch.nn.init.normal_(pool.query)
    order = torch.tensor([1, 0, 2, 5, 3, 4])
    close(pool(X_TD[order], OFFSETS), pool(X_TD, OFFSETS))
    other = X_TD.clone()
    other[3:] = 7.0
    close(pool(other, OFFSETS)[:2], pool(X_TD, OFFSETS)[:2])
    assert not torch.equal(pool(other, OFFSETS)[2], pool(X_TD, OFFSETS)[2])


def test_rows_of_a_set_that_read_each_other_are_not_their_plain_mean():
    torch.manual_seed(1)
    pool = SetPool.Config(layer=TransformerLayer.Config(ffn_dim=4)).build(dim=2)
    assert (pool(X_TD, OFFSETS) - SetPool.Config().build(dim=2)(X_TD, OFFSETS)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_negatives_begin_as_if_they_were_not_there_and_enter_by_a_matrix(kind, close):
    """The second set is all negatives: nothing is left of it at the start."""
    pool = SetPool.Config(kind=kind, negatives=(2, 4)).build(dim=2)
    action = torch.tensor([1, 2, 4, 0, 1, 2])
    left = SetPool.Config(kind=kind).build(dim=2)(X_TD[[0, 3, 4]], torch.tensor([0, 1, 3]))
    got = pool(X_TD, OFFSETS, action)
    close(got[[0, 2]], left)
    assert got[1].tolist() == [0.0, 0.0]
    pool.apart.weight.data.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    close(pool(X_TD, OFFSETS, action) - got, torch.tensor([[2.0, 6.0], [5.0, 10.0], [2.0, 8.0]]))


def test_attention_weighs_what_was_chosen_without_regard_to_what_was_not():
    pool = SetPool.Config(kind="attention", negatives=(2,)).build(dim=1)
    pool.query.data.fill_(1.0)
    assert pool(torch.tensor([[1.0], [40.0]]), torch.tensor([0, 2]), torch.tensor([0, 2])).item() == 1.0


def test_a_set_of_negatives_alone_has_a_gradient():
    pool, x_TD = SetPool.Config(negatives=(2,)).build(dim=2), X_TD.clone().requires_grad_()
    pool(x_TD, OFFSETS, torch.full((6,), 2)).sum().backward()
    assert x_TD.grad.isfinite().all()
    assert pool.apart.weight.grad.abs().min() > 0


def test_bad_options_are_refused():
    with pytest.raises(UnknownNameError, match="no kind of pooling is named 'max'"):
        SetPool.Config(kind="max")
    with pytest.raises(ConfigError, match=r"^num_layers \(0\) must be at least 1; set layer to None for none$"):
        SetPool.Config(num_layers=0)
    for options in ({"kind": "last", "negatives": (2,)}, {"negatives": (-1,)}):
        with pytest.raises(ConfigError, match=r"^negatives \(.*\) must be codes of 0 and above, and none where kind"):
            SetPool.Config(**options)
