"""What a stage does before every epoch: when, on what, and that a resumed run has it again."""

from __future__ import annotations

import dataclasses
import signal

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.seeds import torch_generator
from hpgr.models.clusterseq import clusterseq
from hpgr.models.icsrec import icsrec
from hpgr.training.interrupts import TrainingInterrupted
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

SETTINGS = StageSettings(epochs=3, lr=0.02)


def centred(toy):
    """The toy with a buffer that each epoch sets from its batches, its weights and draws; the loss reads it."""
    net, stage = toy()
    net.register_buffer("centre", torch.zeros(16))
    calls: list[tuple] = []

    def each_epoch(epoch, batches, generator):
        passes = [[history.item_idx.tolist() for history in batches] for _ in range(2)]
        assert passes[0] == passes[1]
        calls.append((epoch, len(passes[0]), net.training, torch.is_grad_enabled()))
        vectors = [net.table(history.item_idx).mean(0) for history in batches]
        net.centre.copy_(torch.stack(vectors).mean(0) + torch.rand(16, generator=generator) + torch.rand(16))

    def loss(history, generator):
        found = net.loss(history, generator)
        pull = (net.table(history.item_idx) - net.centre).square().mean()
        return found | {"loss": found["loss"] + 0.1 * pull}

    return net, dataclasses.replace(stage, loss=loss, each_epoch=each_epoch), calls


@pytest.mark.parametrize("limit", [None, 2])
def test_runs_once_before_each_epoch_on_its_batches(toy, toy_batches, limit):
    net, stage, calls = centred(toy)
    settings = dataclasses.replace(SETTINGS, limit_batches=limit)
    fit_stage(stage, toy_batches(6), settings=settings, seed=5, validate=net.accuracy)
    assert calls == [(epoch, limit or 6, False, False) for epoch in range(3)]


def test_sees_the_weights_that_the_epoch_begins_with(toy, toy_batches):
    net, stage, _ = centred(toy)
    first, steps = {name: value.clone() for name, value in net.state_dict().items()}, []

    def each_epoch(epoch, batches, generator):
        same = all(torch.equal(value, first[name]) for name, value in net.state_dict().items())
        steps.append((epoch, same))

    fit_stage(dataclasses.replace(stage, each_epoch=each_epoch), toy_batches(2), settings=SETTINGS, seed=5)
    assert steps == [(0, True), (1, False), (2, False)]


def test_workers_change_nothing(toy, toy_batches):
    (one, stage, _), (two, other, _) = centred(toy), centred(toy)
    fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5)
    fit_stage(other, toy_batches(6), settings=SETTINGS, seed=5, keep=Housekeeping(workers=2))
    for name, value in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], value), name


@pytest.mark.parametrize("at_call", [1, 7, 9, 12], ids=["first step", "second epoch", "mid epoch", "end of epoch"])
def test_a_resumed_run_has_it_again(toy, toy_batches, tmp_path, at_call):
    whole, stage, _ = centred(toy)
    fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5)
    net, stage, first = centred(toy)
    count = iter(range(1, 100))

    def loss(history, generator):
        if next(count) == at_call:
            signal.raise_signal(signal.SIGINT)
        return stage.loss(history, generator)

    keep = Housekeeping(folder=tmp_path)
    with pytest.raises(TrainingInterrupted):
        fit_stage(dataclasses.replace(stage, loss=loss), toy_batches(6), settings=SETTINGS, seed=5, keep=keep)
    net, stage, second = centred(toy)
    fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=Housekeeping(folder=tmp_path, resume=True))
    for name, value in whole.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert [call[0] for call in first + second] == [0, 1, 2]


class Windows:
    """Three batches an epoch of random windows, in pairs with themselves where asked for; a Batches."""

    def __init__(self, pairs: bool) -> None:
        self.pairs, self.epoch = pairs, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 3

    def __iter__(self):
        for number in range(3):
            rows = torch.randint(10, (6, 5), generator=torch_generator(3, self.epoch, number)).tolist()
            yield (History.from_lists(rows), History.from_lists(rows[::-1])) if self.pairs else History.from_lists(rows)


CLUSTERING = {
    "icsrec": lambda: icsrec(dim=8, num_layers=1, num_prototypes=4),
    "clusterseq": lambda: replaced(clusterseq(dim=8, num_clusters=3)),
}


def replaced(config):
    return dataclasses.replace(config, adapter=dataclasses.replace(config.adapter, warm_epochs=1))


@pytest.mark.parametrize("name", CLUSTERING)
@pytest.mark.parametrize("at_call", [3, 5], ids=["end of epoch", "after the clustering"])
def test_a_model_that_clusters_is_resumed_to_the_same_bits(name, at_call, tmp_path):
    def made():
        torch.manual_seed(0)
        frame = CLUSTERING[name]().build(num_items=10)
        return frame, frame.stages()[0]

    (whole, stage), pairs = made(), name == "icsrec"
    fit_stage(stage, Windows(pairs), settings=SETTINGS, seed=5)
    _, stage = made()
    count = iter(range(1, 100))

    def loss(batch, generator):
        if next(count) == at_call:
            signal.raise_signal(signal.SIGINT)
        return stage.loss(batch, generator)

    with pytest.raises(TrainingInterrupted):
        fit_stage(
            dataclasses.replace(stage, loss=loss),
            Windows(pairs),
            settings=SETTINGS,
            seed=5,
            keep=Housekeeping(folder=tmp_path),
        )
    frame, stage = made()
    fit_stage(stage, Windows(pairs), settings=SETTINGS, seed=5, keep=Housekeeping(folder=tmp_path, resume=True))
    assert len(whole.state_dict()) > 10
    for key, value in whole.state_dict().items():
        assert torch.equal(frame.state_dict()[key], value), key
