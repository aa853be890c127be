"""Tables moved by rows: steps by hand, sparse gradients as dense ones, and a stage that is trained and taken up with it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from hpgr.core.errors import ConfigError
from hpgr.models.sasrec import sasrec
from hpgr.training.by_rows import ByRows, clip_sparse
from hpgr.training.interrupts import TrainingInterrupted
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

SETTINGS = StageSettings(epochs=2, lr=0.01, table_optimiser="rowwise", table_lr_ratio=10.0, clip=0.05, precision="32")


def rowwise(table: nn.Parameter, lr: float = 0.1) -> ByRows:
    rest = nn.Parameter(torch.ones(2, dtype=table.dtype))
    return ByRows(torch.optim.SGD([{"params": [rest], "lr": 1.0}]), [{"params": [table], "lr": lr}], eps=0.0)


def sparse_step(table: nn.Parameter, optimiser: ByRows, rows: list[int], factor: torch.Tensor) -> None:
    optimiser.zero_grad()
    (nn.functional.embedding(torch.tensor(rows), table, sparse=True) * factor).sum().backward()
    optimiser.step()


def test_steps_by_hand_and_untouched_rows_stay():
    table = nn.Parameter(torch.ones(4, 2, dtype=torch.float64))
    optimiser = rowwise(table)
    sparse_step(table, optimiser, [1], torch.tensor([1.0, 7.0], dtype=torch.float64))
    # The mean of the squares is 25: the step is 0.1 · g / 5.
    assert table[1].tolist() == pytest.approx([1 - 0.1 / 5, 1 - 0.7 / 5])
    # Row 1 comes twice, its gradient is (2, 14): 25 + 100, a root of 11.18; row 3 begins anew.
    before = table.detach().clone()
    sparse_step(table, optimiser, [1, 3, 1], torch.tensor([1.0, 7.0], dtype=torch.float64))
    assert (before[1] - table[1]).tolist() == pytest.approx([0.2 / 125**0.5, 1.4 / 125**0.5])
    assert (before[3] - table[3]).tolist() == pytest.approx([0.1 / 5, 0.7 / 5])
    assert torch.equal(table[[0, 2]], torch.ones(2, 2, dtype=torch.float64))
    assert optimiser.state[table]["squares"].tolist() == [0, 125, 0, 25], "one number a row"


@pytest.mark.parametrize("shape", [(7,), (7, 3)], ids=str)
def test_a_dense_gradient_moves_as_a_sparse_one(monkeypatch, close, shape):
    monkeypatch.setattr("hpgr.training.by_rows._ROWS_AT_ONCE", 2)
    tables = [nn.Parameter(torch.ones(shape, dtype=torch.float64)) for _ in range(2)]
    optimisers = [ByRows(torch.optim.SGD([torch.zeros(1)]), [{"params": [t], "lr": 0.1}]) for t in tables]
    for rows in ([0, 5, 5], [5, 6], []):
        gradient = torch.zeros(shape, dtype=torch.float64)
        gradient.index_add_(0, torch.tensor(rows, dtype=torch.int64), torch.randn(len(rows), *shape[1:]).double())
        for table, optimiser, given in zip(tables, optimisers, (gradient, gradient.to_sparse(1))):
            table.grad = given
            optimiser.step()
    close(tables[1].detach(), tables[0].detach())
    assert torch.equal(tables[0][[1, 2, 3, 4]], torch.ones(4, *shape[1:], dtype=torch.float64))


def test_clipping_sees_what_a_row_was_given_in_all():
    table = nn.Parameter(torch.zeros(5, 2))
    nn.functional.embedding(torch.tensor([2, 2]), table, sparse=True).mul(torch.tensor([1.5, 2.0])).sum().backward()
    # The row's gradient is (3, 4), the other 12: a norm of 13.
    sparse, dense = clip_sparse([table.grad, torch.tensor([12.0])], 1.3)
    assert sparse.to_dense()[2].tolist() == pytest.approx([0.3, 0.4])
    assert dense.item() == pytest.approx(1.2)
    whole = clip_sparse([sparse, dense], 2.0)
    assert whole[1].item() == pytest.approx(1.2), "what is within the limit stays"


def stage(*, sparse: bool):
    torch.manual_seed(0)
    config = sasrec(dim=8, dropout=0.0, loss="sampled")
    items = dataclasses.replace(config.items, sparse=sparse, unknown_prob=0.0, output="separate", output_bias=True)
    cost = dataclasses.replace(config.objective.cost, num_negatives=3)
    objective = dataclasses.replace(config.objective, cost=cost)
    model = dataclasses.replace(config, items=items, objective=objective).build(num_items=500)
    return model, model.stages()[0]


def test_a_stage_with_sparse_gradients_reaches_the_weights_of_one_with_dense_ones(toy_batches):
    weights = []
    for sparse in (False, True):
        model, asked = stage(sparse=sparse)
        # In double: a gradient near 0 has another sign from processor to processor, and Adam makes a step of it.
        model.double()
        first = model.items.weight.detach().clone()
        fit_stage(asked, toy_batches(4), settings=SETTINGS, seed=3)
        weights.append(model.state_dict())
        assert torch.equal(model.items.weight[10:], first[10:]), "only ten items are ever told"
        assert not torch.equal(model.items.weight[:10], first[:10])
    for name, dense in weights[0].items():
        torch.testing.assert_close(weights[1][name], dense, rtol=1e-6, atol=1e-9, msg=name)


def test_it_is_taken_up_with_its_state(toy_batches, tmp_path):
    whole, asked = stage(sparse=True)
    fit_stage(asked, toy_batches(6), settings=SETTINGS, seed=5)

    def stopping(asked):
        calls = []

        def loss(history, generator):
            calls.append(1)
            if len(calls) == 9:
                raise KeyboardInterrupt
            return asked.loss(history, generator)

        return dataclasses.replace(asked, loss=loss)

    _, asked = stage(sparse=True)
    keep = Housekeeping(folder=tmp_path, checkpoint_every_steps=1)
    with pytest.raises(TrainingInterrupted):
        fit_stage(stopping(asked), toy_batches(6), settings=SETTINGS, seed=5, keep=keep)
    again, asked = stage(sparse=True)
    fit_stage(asked, toy_batches(6), settings=SETTINGS, seed=5, keep=Housekeeping(folder=tmp_path, resume=True))
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in whole.state_dict().items())


def test_sparse_items_need_it(toy_batches):
    _, asked = stage(sparse=True)
    settings = dataclasses.replace(SETTINGS, table_optimiser="same", table_lr_ratio=1.0)
    with pytest.raises(ConfigError) as caught:
        fit_stage(asked, toy_batches(1), settings=settings, seed=1)
    assert str(caught.value) == (
        "sparse (True) of the items must be False where stages.retrieve.table_optimiser is same; "
        "set stages.retrieve.table_optimiser=rowwise"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table_optimiser": "sgd"}, "table_optimiser (sgd) must be one of same, rowwise"),
        ({"table_lr_ratio": 0.0}, "table_lr_ratio (0.0) must be positive and finite"),
        (
            {"table_lr_ratio": 2.0},
            "table_lr_ratio (2.0) must be 1 where table_optimiser is same; set it to rowwise",
        ),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError) as caught:
        StageSettings(**options)
    assert str(caught.value) == message
