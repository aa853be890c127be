"""Facts of MQSA-TED: what it is without its parts, and where each of them wins."""

from __future__ import annotations

import signal
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.seeds import torch_generator
from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.mixed import MixedEncoder
from hpgr.models.mqsa_ted import mqsa_ted
from hpgr.models.rearec import rearec
from hpgr.models.sigma import sigma, sigma_forward
from hpgr.nn.position import TimeAwarePosition
from hpgr.training.interrupts import TrainingInterrupted
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

NUM_ITEMS = 40


def asked(rows) -> History:
    return History.from_lists([[int(item) for item in row] for row in rows])


def small(**options):
    torch.manual_seed(0)
    return mqsa_ted(**{"dim": 16, "dropout": 0.0} | options).build(num_items=NUM_ITEMS)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_scores_are_the_mixture_of_both_views(share, close):
    frame = small(share=share).eval()
    history = asked([[1, 2, 3, 4], [], [5]])
    views = []
    for whole in (1.0, 0.0):
        frame.encoder.share = whole
        views.append(frame.scores(history))
    frame.encoder.share = share
    both = share * views[0] + (1 - share) * views[1]
    close(frame.scores(history)[[0, 2]], both[[0, 2]])
    close(frame.encoder(frame.tokens(history), history).values[[3, 4]], frame.query(history)[[0, 2]])


def test_a_window_of_one_makes_the_views_equal_where_weights_are_tied():
    frame = small(window=1).eval()
    frame.encoder.second.load_state_dict(frame.encoder.first.state_dict())
    history, found = asked([[1, 2, 3, 4], [5, 5]]), []
    for frame.encoder.share in (0.0, 1.0):
        found.append(frame.scores(history))
    assert torch.equal(*found)


def test_the_first_view_without_distillation_is_a_released_sasrec(close):
    """The same weights in a frame of one encoder give the same loss and gradients."""
    frame = small(share=1.0, distil=0.0)
    whole = frame.config
    plain = replace(
        whole, encoder=replace(whole.encoder.first, position=TimeAwarePosition.Config(num_time_buckets=None))
    )
    plain = replace(plain, auxiliary=None).build(num_items=NUM_ITEMS)
    assert isinstance(plain.encoder, AttentionEncoder)
    names = {name: name.replace("encoder.first.", "encoder.") for name in frame.state_dict() if "second" not in name}
    plain.load_state_dict({new: frame.state_dict()[old] for old, new in names.items()})
    history = asked([[1, 2, 3, 4], [5, 6]])
    losses = []
    for one in (frame.train(), plain.train()):
        torch.manual_seed(3)
        losses.append(one.loss(history, torch_generator(1))["loss"])
        losses[-1].backward()
    close(*losses)
    close(frame.items.weight.grad, plain.items.weight.grad)


def test_any_two_encoders_may_be_mixed(close):
    """One that answers for newest events alone beside one that does not; one that reads later events makes both so."""
    mixed = MixedEncoder.Config(first=rearec().encoder.encoder, second=sigma_forward().encoder)
    frame = replace(mqsa_ted(), encoder=mixed).build(num_items=NUM_ITEMS).eval()
    history = asked([[1, 2, 3], [], [4]])
    close(frame.query(history)[[0, 2]], frame.states(history).values[[2, 3]])
    assert mixed.causal
    assert not replace(mixed, second=sigma().encoder).causal


def test_mixed_encoders_go_on_after_an_event_unless_one_asks_with_a_window(close):
    inner = rearec(dim=16, dropout=0.0).encoder.encoder
    encoder = MixedEncoder.Config(first=inner, second=inner).build(dim=16).eval()
    history = asked([[1, 2, 3], [4]])
    x = history.jagged(torch.randn(4, 16))
    states, chains = encoder.begin(x, history, torch.tensor([2, 3]))
    close(states.values, encoder(x, history).values)
    token_ND = torch.randn(2, 16)
    found_ND, longer = encoder.follow(chains, token_ND)
    want = [one.follow(own, token_ND)[0] for one, own in zip((encoder.first, encoder.second), chains)]
    close(found_ND, (want[0] + want[1]) / 2)
    assert encoder.follow(longer, token_ND)[0].isfinite().all()
    assert encoder.why_not_followed() is None
    assert small().encoder.why_not_followed() == "query_source of its layer is given; set it to None"


def test_distillation_alone_finds_the_successors():
    """On planted transitions, minimised alone, the best of ``E_i · E_j`` beside ``i`` itself is what followed ``i``."""
    frame = small(distil=1.0)
    order = torch.randperm(NUM_ITEMS, generator=torch_generator(5))
    rows = [order.roll(-start)[:6].tolist() for start in range(NUM_ITEMS)]
    frame.count([asked(rows)])
    batch = (asked(rows),) * 2
    optimiser = torch.optim.Adam([frame.items.weight], lr=2e-2)
    for _ in range(400):
        optimiser.zero_grad()
        frame.auxiliary(None, batch, frame.targets, torch_generator(1)).backward()
        optimiser.step()
    likeness = (frame.items.table() @ frame.items.table().T).detach().fill_diagonal_(-torch.inf)
    # Products are symmetrical: the successor and the predecessor of an item are alike to it, and no other item is.
    best_two = likeness.topk(2, dim=1).indices[order].sort(1).values
    neighbours = torch.stack([order.roll(-1), order.roll(1)], 1).sort(1).values
    assert (best_two == neighbours).all(1).float().mean() > 0.9


class Batches:
    """The same windows in every epoch."""

    def __init__(self, rows) -> None:
        self.rows = rows

    def set_epoch(self, epoch: int) -> None:
        pass

    def __len__(self) -> int:
        return 1

    def __iter__(self):
        yield asked(self.rows)


def trained(config, rows, *, epochs: int, keep: Housekeeping | None = None, stop_at: int | None = None):
    torch.manual_seed(1)
    frame = config.build(num_items=NUM_ITEMS)
    frame.count([asked(rows)])
    settings, steps = StageSettings(epochs=epochs, lr=1e-2, clip=None), iter(range(1, 1000))

    def loss(batch, generator):
        if next(steps) == stop_at:
            signal.raise_signal(signal.SIGINT)
        return frame.loss(batch, generator)

    fit_stage(replace(frame.stages()[0], loss=loss), Batches(rows), settings=settings, seed=1, keep=keep)
    return frame.eval()


def hits(frame, rows) -> float:
    """Share of users whose last item is among the five best."""
    with torch.no_grad():
        scores = frame.scores(asked([row[:-1] for row in rows]))
    last = torch.tensor([[int(row[-1])] for row in rows])
    return (scores.topk(5).indices == last).any(1).float().mean().item()


def chains(num_users: int, seed: int, *, order: bool) -> list[list[int]]:
    """Every other event is of a fixed permutation of the one before it; without ``order`` all are drawn."""
    rng, after, rows = np.random.default_rng(seed), np.random.default_rng(9).permutation(NUM_ITEMS), []
    for _ in range(num_users):
        row = rng.integers(0, NUM_ITEMS, 8)
        if order:
            row[1::2] = after[row[::2]]
        rows.append(row.tolist())
    return rows


def tastes(num_users: int, seed: int) -> list[list[int]]:
    """Eight different items of one of four sets of ten, in any order: no transition says more than the set."""
    rng = np.random.default_rng(seed)
    return [(rng.permutation(10)[:8] + 10 * rng.integers(4)).tolist() for _ in range(num_users)]


PLANTED = {
    "chains": (lambda count, seed: chains(count, seed, order=True), 40, 15),
    "noise": (lambda count, seed: chains(count, seed, order=False), 40, 15),
    "tastes": (tastes, 20, 10),
}


@pytest.fixture(scope="module")
def two_by_two():
    """``(kind of rows, share of single queries, weight of the distillation)``: hits, a mean over three seeds."""
    found = {}
    for kind, (rows, num_users, epochs) in PLANTED.items():
        later = rows(300, 99)
        for share, distil in product((1.0, 0.5), (0.0, 0.5)):
            config = mqsa_ted(dim=16, share=share, distil=distil)
            each = [hits(trained(config, rows(num_users, seed), epochs=epochs), later) for seed in (1, 2, 3)]
            found[kind, share, distil] = float(np.mean(each))
    return found


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_distillation_wins_where_an_item_calls_for_one_other(two_by_two, share):
    assert two_by_two["chains", share, 0.5] > two_by_two["chains", share, 0.0] + 0.03, two_by_two


def test_queries_of_several_events_win_where_tastes_and_no_transitions_tell(two_by_two):
    assert two_by_two["tastes", 0.5, 0.0] > two_by_two["tastes", 1.0, 0.0] + 0.02, two_by_two


def test_neither_part_has_anything_to_win_in_noise(two_by_two):
    """Five of 40 items are an eighth, of 900 answers with a deviation of .011."""
    of_noise = [hit for (kind, *_), hit in two_by_two.items() if kind == "noise"]
    assert len(of_noise) == 4
    assert max(abs(hit - 5 / NUM_ITEMS) for hit in of_noise) < 0.035, of_noise
    assert max(of_noise) - min(of_noise) < 0.035, of_noise


@pytest.mark.parametrize("kind", ["tastes", "chains"])
def test_both_parts_together_are_not_the_worst(two_by_two, kind):
    worst = min(hit for (other, *parts), hit in two_by_two.items() if other == kind and parts != [0.5, 0.5])
    assert two_by_two[kind, 0.5, 0.5] > worst, two_by_two


def test_a_run_that_was_stopped_counts_again_and_has_the_same_bits(tmp_path):
    rows, config = chains(10, 1, order=True), mqsa_ted(dim=8, distil=0.5)
    whole = trained(config, rows, epochs=4)
    with pytest.raises(TrainingInterrupted):
        trained(config, rows, epochs=4, keep=Housekeeping(folder=tmp_path), stop_at=2)
    again = trained(config, rows, epochs=4, keep=Housekeeping(folder=tmp_path, resume=True))
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert not torch.equal(whole.items.weight, trained(replace(config, auxiliary=None), rows, epochs=4).items.weight)
