"""Facts of ClusterSeq: without clusters it is MetaTL, its inner step, and what clusters do for the few."""

from __future__ import annotations

import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.models.clusterseq import clusterseq
from hpgr.training.interrupts import TrainingInterrupted
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

NUM_ITEMS = 10


def asked(rows, *, training: bool = False) -> History:
    history = History.from_lists(rows)
    return replace(history, now_ms=history.now_ms - 1000) if training else history


def relation_by_hand(adapter, vectors: torch.Tensor) -> torch.Tensor:
    pairs = torch.cat([vectors[:-1], vectors[1:]], 1)
    return adapter.relation(pairs).mean(0)


def step_by_hand(adapter, vectors, pool, relation, allowed) -> torch.Tensor:
    """One gradient step of one user's ``r`` by autograd, pair by pair."""
    r = relation.detach().requires_grad_()
    costs = []
    for head, tail in pairwise(vectors):
        for negative, may in zip(pool, allowed):
            if may:
                costs.append((1 + (head + r - tail).norm() - (head + r - negative).norm()).clamp(min=0))
    (slope,) = torch.autograd.grad(torch.stack(costs).mean(), r)
    return relation - adapter.log_rate.exp() * slope


@pytest.mark.parametrize("num_clusters", [None, 1])
def test_with_one_start_it_is_metatl(num_clusters, close):
    """Relation mean, one step against the support's margin ranking, distance to the head moved by it; for each user alone."""
    torch.manual_seed(3)
    frame = clusterseq(dim=6, num_support=3, num_clusters=num_clusters).build(num_items=NUM_ITEMS).eval()
    adapter = frame.adapter
    if num_clusters:
        adapter.clusters.begun.fill_(True)
    rows = [[1, 2, 3], [4, 9], [0, 5, 5], [7, 7, 1, 2, 8]]
    with torch.no_grad():
        query = frame.query(asked(rows))
        scores = frame.scores(asked(rows))
    pool_rows = adapter.pool_M % NUM_ITEMS
    for user, row in enumerate(rows):
        support = torch.tensor(row[-3:])
        vectors, pool = frame.items.weight[support].detach(), frame.items.weight[pool_rows].detach()
        allowed = [item not in row[-3:] for item in pool_rows.tolist()]
        moved = step_by_hand(adapter, vectors, pool, relation_by_hand(adapter, vectors), allowed)
        close(query[user], (vectors[-1] + moved).detach())
        by_distance = (frame.items.table() - query[user]).norm(dim=1).detach()
        assert torch.equal(scores[user].argsort(descending=True), by_distance.argsort())


def test_the_loss_weighs_predictions_by_cluster_and_adds_what_keeps_clusters_apart(close):
    torch.manual_seed(3)
    frame = clusterseq(dim=6, num_clusters=3, predict="last").build(num_items=NUM_ITEMS).eval()
    rows = asked([[1, 2, 3, 4], [4, 9, 1], [0, 5, 6, 7], [7, 3, 1, 2, 8]], training=True)
    task = frame.objective.training_task(rows, torch_generator(1))
    before = frame.loss(rows, torch_generator(2))["loss"]
    close(before, frame.objective.loss(frame._read(task), task, frame.targets, torch_generator(2)))
    frame.adapter.clusters.begun.fill_(True)
    with torch.no_grad():
        frame.adapter.offset_CD.normal_()
    found = frame.adapter(frame._encoded(task), task, frame.items)
    known = frame.adapter._known(frame._encoded(task), task, frame.items)
    share = frame.adapter.clusters(known).detach()
    weight = (share / share.sum(0)).sum(1) / 3
    cost = frame.objective.cost.costs(found.state_ND, task.target_N, frame.targets, torch_generator(2))
    close(frame.loss(rows, torch_generator(2))["loss"], (weight * cost).sum() + found.cost)


def test_what_is_asked_in_inference_mode_is_what_is_asked_without_gradients(close):
    frame = clusterseq(dim=6).build(num_items=NUM_ITEMS).eval()
    history = asked([[1, 2, 3], [], [4]])
    with torch.no_grad():
        quiet = frame.query(history)
    with torch.inference_mode():
        close(frame.query(history).clone(), quiet)
    candidates = Candidates.from_lists([[1, 2], [3], [4]], now_ms=history.now_ms)
    with torch.no_grad():
        scores = frame.scores(history)
        close(frame.candidate_scores(history, candidates)[[0, 1, 3]], scores[[0, 0, 2], [1, 2, 4]])


def fitted(keep: Housekeeping | None = None, *, stop_at: int | None = None, precision="32"):
    """The frame after six epochs of ten steps, the last three with clusters, and the steps that were made."""
    torch.manual_seed(2)
    frame, steps = clusterseq(dim=8, num_clusters=2, predict="last").build(num_items=NUM_ITEMS), []

    def loss(batch, generator):
        steps.append(1)
        if len(steps) == stop_at:
            signal.raise_signal(signal.SIGINT)
        return frame.loss(batch, generator)

    stage, settings = replace(frame.stages()[0], loss=loss), StageSettings(epochs=6, precision=precision)
    result = fit_stage(stage, Walks(20, 3, 1, noise=0.0), settings=settings, seed=1, keep=keep)
    return frame, len(steps), result


def test_bf16_trains():
    torch.manual_seed(2)
    pool = clusterseq(dim=8, num_clusters=2, predict="last").build(num_items=NUM_ITEMS).adapter.pool_M
    frame, _, result = fitted(precision="bf16")
    assert result.precision == "bf16-mixed"
    assert bool(frame.adapter.clusters.begun)
    assert not torch.equal(frame.adapter.pool_M, pool)


def test_a_run_that_was_stopped_within_an_epoch_goes_on_with_its_pool_and_its_centres(tmp_path):
    whole, steps, _ = fitted()
    with pytest.raises(TrainingInterrupted):
        fitted(Housekeeping(folder=tmp_path), stop_at=45)
    again, rest, _ = fitted(Housekeeping(folder=tmp_path, resume=True))
    assert (steps, rest) == (60, 15)
    assert torch.equal(again.adapter.pool_M, whole.adapter.pool_M)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_centres_are_placed_once_and_epochs_without_them_are_not_judged():
    whole = clusterseq(dim=8, num_clusters=2)
    whole = replace(whole, adapter=replace(whole.adapter, warm_epochs=2))
    frame, single = (config.build(num_items=NUM_ITEMS) for config in (whole, clusterseq(dim=8, num_clusters=None)))
    (stage,), (other,) = frame.stages(), single.stages()
    assert (stage.warm_epochs, other.warm_epochs) == (2, 0)
    batches, placed = Walks(20, 3, 1, noise=0.0), []
    for epoch in (0, 1, 2, 3, 0, 2):
        with torch.no_grad():
            stage.each_epoch(epoch, batches, torch_generator(1, epoch))
        placed.append(frame.adapter.clusters.centres_CD.detach().clone())
    assert not torch.equal(placed[1], placed[2])
    for later in placed[3:]:
        assert torch.equal(later, placed[2])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"num_support \(1\) must be at least 2"):
        clusterseq(num_support=1)


class Walks:
    """Ten batches of ``num_users`` tasks: one user of ten goes down the line of items, the others up; a Batches.

    ``noise``: so often an event that is neither the last of the support nor the target is any item. ``down``: the share that
    goes down.
    """

    def __init__(self, num_users: int, support: int, seed: int, noise: float, down: float = 0.1) -> None:
        self.num_users, self.support, self.seed, self.noise, self.epoch = num_users, support, seed, noise, 0
        self.down = down

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 10

    def __iter__(self):
        for number in range(10):
            seed = (self.seed, (10 * self.epoch + number) % 20)
            rows, _ = walks(self.num_users, self.support, seed, self.noise, self.down)
            yield asked(rows, training=True)


def walks(num_users: int, support: int, seed, noise: float, down: float):
    rng = np.random.default_rng(seed)
    falls = np.arange(num_users) < num_users * down
    rows = []
    for start, fall in zip(rng.integers(0, NUM_ITEMS - support, num_users), falls):
        row = start + (np.arange(support, -1, -1) if fall else np.arange(support + 1))
        stray = rng.random(support + 1) < noise
        stray[-2:] = False
        rows.append(np.where(stray, rng.integers(0, NUM_ITEMS, support + 1), row).tolist())
    return rows, falls


def on_a_line(num_clusters: int | None, seed: int, *, support: int = 3, warm_epochs: int = 10):
    """The model with item vectors that are given: items stand on a line, so that a way of walking is one translation."""
    torch.manual_seed(seed)
    config = clusterseq(dim=8, num_support=support, num_clusters=num_clusters, dropout=0.0, predict="last")
    config = replace(config, adapter=replace(config.adapter, warm_epochs=warm_epochs))
    frame = config.build(num_items=NUM_ITEMS)
    generator = torch_generator(5, "line")
    along = torch.nn.functional.normalize(torch.randn(8, generator=generator), dim=0)
    with torch.no_grad():
        frame.items.weight.copy_(0.1 * torch.randn(NUM_ITEMS + 1, 8, generator=generator))
        frame.items.weight[:NUM_ITEMS] += (torch.arange(NUM_ITEMS) - NUM_ITEMS / 2)[:, None] * along
    frame.items.weight.requires_grad_(False)
    return frame


def reciprocal_ranks(frame, rows) -> np.ndarray:
    frame.eval()
    with torch.no_grad():
        scores = frame.scores(asked([row[:-1] for row in rows]))
    of_target = scores.gather(1, torch.tensor([[row[-1]] for row in rows]))
    return (1 / ((scores > of_target).sum(1) + 1)).numpy()


def test_clusters_find_the_planted_populations():
    frame = on_a_line(2, 1, warm_epochs=8)
    fit_stage(frame.stages()[0], Walks(40, 3, 1, 0.0), settings=StageSettings(epochs=12, lr=5e-3), seed=1)
    rows, falls = walks(400, 3, 999, 0.0, 0.5)
    task = frame.eval().objective.request_task(asked([row[:-1] for row in rows]))
    with torch.no_grad():
        share = frame.adapter.clusters(frame.adapter._known(frame._encoded(task), task, frame.items))
    found = share.argmax(1).numpy() == 1
    purity = max((found == falls).mean(), (found != falls).mean())
    assert purity > 0.9
    assert 0.1 < found.mean() < 0.9


def late_ranks(num_clusters: int | None, rows, *, down: float) -> np.ndarray:
    """``[len(rows)]``: reciprocal ranks, a mean over the last ten of 32 epochs and over two seeds."""
    values: list[np.ndarray] = []
    for seed in (1, 2):
        frame = on_a_line(num_clusters, seed)

        def validate(frame=frame) -> dict[str, float]:
            values.append(reciprocal_ranks(frame, rows))
            return {"epoch": float(len(values))}

        settings = StageSettings(epochs=32, lr=5e-3, patience=None)
        fit_stage(frame.stages()[0], Walks(40, 3, seed, 0.3, down), settings=settings, seed=seed, validate=validate)
    return np.mean([*values[22:32], *values[54:]], axis=0)


def test_the_few_gain_by_clusters_and_the_many_lose_nothing():
    """Some events are strays, so that a support leaves doubt, which one start for all decides for the many."""
    rows, falls = walks(400, 3, 999, 0.3, 0.5)
    late = {num_clusters: late_ranks(num_clusters, rows, down=0.1) for num_clusters in (None, 2)}
    few, many = ({clusters: ranks[who].mean() for clusters, ranks in late.items()} for who in (falls, ~falls))
    assert many[None] > few[None] + 0.2
    assert few[2] > few[None] + 0.02, few
    assert many[2] > many[None] - 0.02, many


def test_clusters_win_nothing_where_all_users_are_of_one_kind():
    """The margin is that of the few above."""
    rows, _ = walks(400, 3, 999, 0.3, 0.0)
    one, two = (late_ranks(num_clusters, rows, down=0.0).mean() for num_clusters in (None, 2))
    assert abs(two - one) < 0.02, (one, two)


def test_more_support_is_a_better_answer():
    frame = on_a_line(None, 1, support=5)
    fit_stage(frame.stages()[0], Walks(40, 5, 1, 0.5), settings=StageSettings(epochs=16, lr=5e-3), seed=1)
    rows, _ = walks(600, 5, 999, 0.5, 0.1)
    found = [reciprocal_ranks(frame, [row[-known - 1 :] for row in rows]).mean() for known in (1, 2, 5)]
    assert found[0] + 0.02 < found[1] + 0.01 < found[2], found
