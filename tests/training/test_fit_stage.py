from __future__ import annotations

import dataclasses

import pytest
import torch

from hpgr.core.errors import DataError, UnknownNameError
from hpgr.training.module import TrainingDiverged
from hpgr.training.settings import StageSettings
from hpgr.training.stages import fit_stage


def test_learns_the_rule_and_reports_a_curve(toy, toy_batches):
    net, stage = toy()
    result = fit_stage(stage, toy_batches(20), settings=StageSettings(epochs=6, lr=0.03), seed=1, validate=net.accuracy)
    assert result.metric == "accuracy"
    assert result.best_value == 1.0
    assert net.eval().accuracy() == {"accuracy": 1.0}
    losses = [line["loss"] for line in result.curve]
    assert losses[-1] < losses[0] / 4
    assert [line["step"] for line in result.curve] == [20 * (n + 1) for n in range(len(losses))]
    assert 0 < result.curve[0]["noise"] < 0.01
    assert result.curve[0]["tokens_per_s"] > 0


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_draws_alone(toy, toy_batches):
    def weights(seed: int) -> torch.Tensor:
        net, stage = toy()
        fit_stage(stage, toy_batches(5), settings=StageSettings(epochs=2), seed=seed)
        return net.head.weight.detach()

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = weights(1)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))


def test_the_weights_are_those_of_a_plain_loop(toy, toy_batches):
    """Against AdamW by hand; without dropout and noise, whose seeds are the trainer's own."""
    net, stage = toy()
    net.dropout.p = 0.0
    stage = dataclasses.replace(
        stage, loss=lambda h, g: {"loss": net.loss(h, torch.Generator().manual_seed(0))["loss"]}
    )
    fit_stage(stage, toy_batches(8), settings=StageSettings(epochs=1, lr=0.01, weight_decay=0.1, clip=0.5), seed=1)

    by_hand, _ = toy()
    by_hand.dropout.p = 0.0
    optimiser = torch.optim.AdamW(by_hand.parameters(), lr=0.01, betas=(0.9, 0.98), weight_decay=0.1)
    for history in toy_batches(8):
        optimiser.zero_grad()
        by_hand.loss(history, torch.Generator().manual_seed(0))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
        optimiser.step()
    for name, weight in by_hand.state_dict().items():
        assert torch.allclose(net.state_dict()[name], weight, atol=1e-6), name


def test_an_inherited_part_moves_at_its_share_of_the_rate(toy, toy_batches):
    """AdamW's first step moves each weight with a gradient by its rate, whatever the gradient's size."""
    net, stage = toy(inherited=("head.",))
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    settings = StageSettings(epochs=1, limit_batches=1, lr=0.01, inherited_lr_ratio=0.1, clip=None)
    fit_stage(stage, toy_batches(4), settings=settings, seed=1)
    moved = {name: (weight - before[name]).abs().max().item() for name, weight in net.state_dict().items()}
    assert moved["head.weight"] == pytest.approx(0.001, rel=1e-3)
    assert moved["head.bias"] == pytest.approx(0.001, rel=1e-3)
    assert moved["table.weight"] == pytest.approx(0.01, rel=1e-3)


def test_a_frozen_parameter_stays(toy, toy_batches):
    net, stage = toy()
    net.table.weight.requires_grad_(False)
    before = net.table.weight.clone()
    fit_stage(stage, toy_batches(3), settings=StageSettings(epochs=1), seed=1)
    assert torch.equal(net.table.weight, before)


def test_warm_up_and_cosine_reach_the_optimiser(toy, toy_batches):
    _, stage = toy()
    settings = StageSettings(epochs=2, lr=0.1, warmup_steps=2, schedule="cosine")
    result = fit_stage(stage, toy_batches(3), settings=settings, seed=1)
    # Six steps, two of them warm-up; steps 2 and 5 are 0/4 and 3/4 of the way down the cosine.
    assert [line["lr"] for line in result.curve] == pytest.approx([0.1, 0.1 * 0.5 * (1 - 0.5**0.5)])


def test_stops_when_validation_does_not_improve_and_gives_back_the_best(toy, toy_batches):
    net, stage = toy()
    values, seen = iter([0.1, 0.5, 0.3, 0.5, 0.9]), []

    def validate() -> dict[str, float]:
        assert not net.training
        assert not torch.is_grad_enabled()
        seen.append(net.head.weight.clone())
        return {"ndcg": next(values), "coverage": 1.0}

    result = fit_stage(stage, toy_batches(3), settings=StageSettings(epochs=9, patience=2), seed=1, validate=validate)
    assert (result.best_epoch, result.best_value, result.stopped_early, result.steps) == (2, 0.5, True, 12)
    assert [line["valid.ndcg"] for line in result.curve] == [0.1, 0.5, 0.3, 0.5]
    assert torch.equal(net.head.weight, seen[1])
    assert not torch.equal(seen[1], seen[3])


def test_warm_epochs_are_not_the_best_and_cost_no_patience(toy, toy_batches):
    net, stage = toy()
    values, seen = iter([0.9, 0.8, 0.1, 0.3, 0.2, 0.2]), []

    def validate() -> dict[str, float]:
        seen.append(net.head.weight.clone())
        return {"ndcg": next(values)}

    settings = StageSettings(epochs=9, patience=2)
    result = fit_stage(
        dataclasses.replace(stage, warm_epochs=2), toy_batches(3), settings=settings, seed=1, validate=validate
    )
    assert (result.best_epoch, result.best_value, len(result.curve)) == (4, 0.3, 6)
    assert torch.equal(net.head.weight, seen[3])


def test_a_metric_named_loss_is_better_when_smaller(toy, toy_batches):
    _, stage = toy()
    values = iter([0.7, 0.4, 0.6])
    settings = StageSettings(epochs=3, metric="log_loss")
    result = fit_stage(
        stage, toy_batches(2), settings=settings, seed=1, validate=lambda: {"auc": 0.5, "log_loss": next(values)}
    )
    assert (result.best_epoch, result.best_value, result.stopped_early) == (2, 0.4, False)


def test_without_validation_the_last_weights_stay(toy, toy_batches):
    _, stage = toy()
    result = fit_stage(stage, toy_batches(2), settings=StageSettings(epochs=5, patience=1), seed=1)
    assert (result.metric, result.best_epoch, result.best_value) == (None, None, None)
    assert (result.steps, result.stopped_early, result.precision) == (10, False, "32-true")


def test_bf16_trains_full_weights(toy, toy_batches):
    net, stage = toy()
    result = fit_stage(stage, toy_batches(3), settings=StageSettings(epochs=1, precision="bf16"), seed=1)
    assert result.precision == "bf16-mixed"
    assert net.head.weight.dtype == torch.float32


def test_a_loss_that_is_not_finite_stops_with_a_remedy(toy, toy_batches):
    net, stage = toy()
    calls = []

    def loss(history, generator):
        calls.append(1)
        found = net.loss(history, generator)
        return {"loss": found["loss"] * float("nan")} if len(calls) == 3 else found

    with pytest.raises(TrainingDiverged) as caught:
        fit_stage(dataclasses.replace(stage, loss=loss), toy_batches(9), settings=StageSettings(lr=0.05), seed=1)
    assert str(caught.value) == (
        "loss of stage 'retrieve' (nan or infinite at step 3, lr 0.05) must be finite; "
        "set a lower stages.retrieve.lr or stages.retrieve.precision=32"
    )
    assert all(torch.isfinite(weight).all() for weight in net.state_dict().values())


def test_unusable_batches_and_metrics_are_refused(toy, toy_batches):
    _, stage = toy()
    with pytest.raises(DataError, match=r"training batches \(0\) must be at least 1"):
        fit_stage(stage, toy_batches(0), settings=StageSettings(), seed=1)
    with pytest.raises(UnknownNameError, match=r"no validation metric is named 'ndgc'; did you mean ndcg\?"):
        fit_stage(stage, toy_batches(1), settings=StageSettings(metric="ndgc"), seed=1, validate=lambda: {"ndcg": 1.0})
    with pytest.raises(DataError, match=r"validation metric auc \(nan\) must be finite"):
        fit_stage(stage, toy_batches(1), settings=StageSettings(), seed=1, validate=lambda: {"auc": float("nan")})


def test_nothing_is_printed_or_written_without_a_folder(toy, toy_batches, tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.chdir(tmp_path)
    _, stage = toy()
    fit_stage(stage, toy_batches(2), settings=StageSettings(epochs=1), seed=1)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
