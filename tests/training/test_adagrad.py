"""Adagrad against numbers worked out by hand, and as a stage's optimiser."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.training.adagrad import Adagrad
from hpgr.training.interrupts import TrainingInterrupted
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

SETTINGS = StageSettings(optimiser="adagrad", lr=0.1, momentum=0.5, epochs=3)


def moved(gradients: list[float], **options) -> list[float]:
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimiser = Adagrad([{"params": [weight], "lr": 0.1}], **options)
    found = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimiser.step()
        found.append(weight.item())
    return found


def test_steps_by_hand():
    # Sums of squares are 9 and 25: the steps are 0.1 · 3 / 3 and 0.1 · 4 / 5.
    assert moved([3.0, 4.0], eps=0.0) == pytest.approx([0.9, 0.82])
    # With momentum the second step takes half of the first besides.
    assert moved([3.0, 4.0], eps=0.0, momentum=0.5) == pytest.approx([0.9, 0.9 - 0.08 - 0.05])
    # eps stands under the root: 0.1 · 3 / √(9 + 7).
    assert moved([3.0], eps=7.0) == pytest.approx([1 - 0.3 / 4])
    assert moved([3.0], eps=0.0, weight_decay=0.2) == pytest.approx([1 * (1 - 0.1 * 0.2) - 0.1])
    assert moved([0.0, 1.0]) == pytest.approx([1.0, 0.9], abs=1e-6)


def test_a_row_without_gradient_stays():
    table = torch.nn.Parameter(torch.ones(3, 2))
    optimiser = Adagrad([{"params": [table], "lr": 0.1}])
    torch.nn.functional.embedding(torch.tensor([1]), table).sum().backward()
    optimiser.step()
    assert torch.equal(table[[0, 2]], torch.ones(2, 2))
    assert table[1].tolist() == pytest.approx([0.9, 0.9])


def test_a_stage_is_trained_with_it_and_taken_up_with_its_state(toy, toy_batches, tmp_path):
    net, stage = toy()
    result = fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5)
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]

    def stopping(stage):
        calls = []

        def loss(history, generator):
            calls.append(1)
            if len(calls) == 9:
                raise KeyboardInterrupt
            return stage.loss(history, generator)

        return dataclasses.replace(stage, loss=loss)

    _, stage = toy()
    keep = Housekeeping(folder=tmp_path, checkpoint_every_steps=1)
    with pytest.raises(TrainingInterrupted):
        fit_stage(stopping(stage), toy_batches(6), settings=SETTINGS, seed=5, keep=keep)
    again, stage = toy()
    fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=Housekeeping(folder=tmp_path, resume=True))
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in net.state_dict().items())
    adam, stage = toy()
    fit_stage(stage, toy_batches(6), settings=dataclasses.replace(SETTINGS, optimiser="adamw", momentum=0.0), seed=5)
    assert not torch.equal(adam.head.weight, net.head.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimiser": "sgd"}, "optimiser (sgd) must be one of adamw, adagrad"),
        ({"optimiser": "adagrad", "momentum": 1.0}, "momentum (1.0) must lie in [0, 1)"),
        ({"momentum": 0.5}, "momentum (0.5) must be 0 with adamw, which has betas; set optimiser to adagrad"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError) as caught:
        StageSettings(**options)
    assert str(caught.value) == message
