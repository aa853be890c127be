"""Facts of ReaRec: no step is the backbone, temperatures, the divergence and the contrast by hand, other encoders, a second hop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, UnsupportedError
from hpgr.core.seeds import torch_generator
from hpgr.encoders.reasoning import Reasoning
from hpgr.encoders.session import SessionTrunk
from hpgr.models.bert4rec import bert4rec
from hpgr.models.gru4rec import gru4rec
from hpgr.models.hstu import hstu
from hpgr.models.rearec import rearec, rearec_ensemble
from hpgr.objectives.costs import FullSoftmax
from hpgr.objectives.losses.step_divergence import step_divergence
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.reasoning_costs import Ensemble, Progressive

HISTORY = History.from_lists([[1, 2, 3, 4], [], [5], [6, 7, 8]])
LOOKUP = 5


@dataclass
class Table:
    vectors: torch.Tensor
    sparse: bool = False

    @property
    def num_items(self):
        return len(self.vectors)

    def table(self):
        return self.vectors

    def bias(self):
        return None

    def rows(self, item_idx):
        return self.vectors[item_idx], None


TWO = Table(torch.tensor([[1.0], [0.0]]))


def cost_of(cost, states, targets=(0,)):
    return cost.loss(torch.tensor(states), torch.tensor(targets), TWO, torch_generator(1)).item()


def test_no_step_is_the_backbone(close):
    config = rearec(dim=16, steps=0)
    torch.manual_seed(0)
    frame = config.build(num_items=12).eval()
    plain = replace(config, encoder=config.encoder.encoder, objective=NextItem.Config()).build(num_items=12).eval()
    weights = {name.replace("encoder.encoder.", "encoder."): x for name, x in frame.state_dict().items()}
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    close(frame.scores(HISTORY), plain.scores(HISTORY))
    assert frame.train().loss(HISTORY, torch_generator(1))["loss"].isfinite()


def test_steps_are_whole_numbers():
    with pytest.raises(ConfigError, match=r"^steps \(1.5\) must be a whole number$"):
        Reasoning.Config(encoder=hstu().encoder, steps=1.5)


def test_noise_comes_after_the_warmup():
    config = rearec(dim=16)
    config = replace(config, encoder=replace(config.encoder, noise=0.1, warmup_batches=1))
    frame = config.build(num_items=12).train()
    x, rows = frame.tokens(HISTORY), torch.arange(HISTORY.num_events)
    assert [frame.encoder.states_at(x, HISTORY, rows).dim() for _ in range(3)] == [3, 4, 4]


def test_temperatures_fall_to_that_of_the_last_step():
    assert Progressive(alpha=5.0).softening(2) == [25.0, 5.0, 1.0]
    assert Progressive(alpha=1.0).softening(3) == [1.0] * 4


def test_progressive_by_hand():
    """Logits 4 / 2 and 1 for the right of two items, whose other has 0."""
    found = cost_of(Progressive(alpha=2.0, deep=3.0), [[[4.0], [1.0]]])
    assert found == pytest.approx(log(1 + exp(-1)) + 3 * log(1 + exp(-2)), abs=1e-6)
    # Clean 1 and -1, noisy 1 and 0: log(1 + e^-2) and log 2.
    states = [[[[0.0], [1.0]], [[0.0], [1.0]]], [[[0.0], [-1.0]], [[0.0], [0.0]]]]
    both = Progressive(deep=0.0), Progressive(deep=0.0, contrast=0.0)
    with_contrast, without = (cost_of(cost, states, (0, 0)) for cost in both)
    assert with_contrast - without == pytest.approx((log(1 + exp(-2)) + log(2)) / 2, abs=1e-6)


def test_divergence_by_hand():
    """(3/4, 1/4) beside (1/2, 1/2)."""
    states = torch.tensor([[[log(3.0)], [0.0]]])
    there = 0.75 * log(1.5) + 0.25 * log(0.5)
    back = 0.5 * log(2 / 3) + 0.5 * log(2)
    assert step_divergence(states, TWO.vectors).item() == pytest.approx((there + back) / 2, abs=1e-6)
    plain, apart = (cost_of(Ensemble(diversity=d), states.tolist()) for d in (0.0, 0.5))
    assert plain == pytest.approx((-log(0.75) - log(0.5)) / 2, abs=1e-6)
    assert plain - apart == pytest.approx((there + back) / 4, abs=1e-6)
    mean = cost_of(Ensemble(diversity=0.0, supervise="mean"), states.tolist())
    assert mean == pytest.approx(log(1 + 3**-0.5), abs=1e-6)


def test_what_is_asked_of_some_events_is_what_all_events_give(close):
    frame = rearec(dim=16, steps=3).build(num_items=12).double().eval()
    x = frame.tokens(HISTORY)
    every = frame.encoder(x, HISTORY).values
    some = frame.encoder.states_at(x, HISTORY, torch.tensor([7, 0, 3, 3]))
    assert some.shape == (4, 4, 16)
    close(some[:, -1], every[[7, 0, 3, 3]])
    close(frame.query(HISTORY)[[0, 2, 3]], every[[3, 4, 7]])


def test_steps_are_chosen_at_requests():
    frame = rearec(dim=16, steps=1).build(num_items=12).eval()
    one = frame.scores(HISTORY)
    frame.encoder.think(4)
    assert not torch.equal(frame.scores(HISTORY)[0], one[0])
    frame.encoder.think(1)
    assert torch.equal(frame.scores(HISTORY), one)
    with pytest.raises(ConfigError, match=r"steps \(-1\) must not be negative"):
        frame.encoder.think(-1)


@pytest.mark.parametrize("backbone", [hstu, bert4rec, gru4rec])
@pytest.mark.parametrize("cost", [Progressive, Ensemble])
def test_over_other_encoders_one_step_of_training_moves_the_places(backbone, cost):
    plain = backbone(dim=16)
    objective = replace(plain.objective, cost=cost(cost=FullSoftmax(temperature=plain.objective.cost.temperature)))
    config = replace(plain, encoder=Reasoning.Config(encoder=plain.encoder, noise=0.01), objective=objective)
    frame = config.build(num_items=12)
    frame.loss(HISTORY, torch_generator(1))["loss"].backward()
    assert (frame.encoder.place.grad != 0).any(1).all()
    assert frame.eval().scores(HISTORY).isfinite().all()


def test_steps_kept_apart_are_less_alike():
    """The direction only: how alike the steps are without the divergence is a matter of the data."""
    batch = History.from_lists([[(s + i * i) % 12 for i in range(8)] for s in range(12)])
    alike = []
    for diversity in (0.0, 0.3, 1.0):
        torch.manual_seed(0)
        frame = rearec_ensemble(dim=16, num_layers=1, dropout=0.0, diversity=diversity).build(num_items=12)
        optimiser = torch.optim.Adam(frame.parameters(), lr=5e-3)
        for step in range(150):
            optimiser.zero_grad()
            frame.loss(batch, torch_generator(7, step))["loss"].backward()
            optimiser.step()
        states = frame.encoder.states_at(frame.tokens(batch), batch, torch.arange(96))
        alike.append(F.cosine_similarity(states[:, 0], states[:, 2], dim=-1).mean().item())
    assert alike[0] > alike[1] > alike[2], alike


def two_hop(num_users, seed, *, hops=2, noise=False):
    """Rows of ``(item, its successor as the action)`` in any order, then the item that is asked about, then the answer.

    The successors of a row are a cycle of its own through all ``LOOKUP`` items, so nothing of it can be learnt by heart; each
    event tells one pair. Noise: the answer is any item.
    """
    drawn = torch.Generator().manual_seed(seed)
    around, shown = (torch.rand(num_users, LOOKUP, generator=drawn).argsort(1) for _ in range(2))
    follows = torch.empty_like(around).scatter_(1, around, around.roll(-1, 1))
    asked = torch.randint(LOOKUP, (num_users, 1), generator=drawn)
    answer = asked
    for _ in range(hops):
        answer = follows.gather(1, answer)
    if noise:
        answer = torch.randint(LOOKUP, (num_users, 1), generator=drawn)
    none = torch.zeros_like(asked)
    actions = torch.cat([follows.gather(1, shown) + 1, none, none], 1)
    return History.from_lists(torch.cat([shown, asked, answer], 1).tolist(), actions=actions.tolist())


def one_layer(steps, weights=None):
    """One layer and one head; nothing tells places, and the last event alone is predicted."""
    config = rearec(dim=32, num_heads=1, num_layers=1, dropout=0.0, steps=steps)
    inside = replace(config.encoder.encoder, position=None)
    config = replace(
        config,
        items=replace(config.items, std=None, unknown_prob=0.0),
        encoder=replace(config.encoder, encoder=inside, noise=0.0),
        objective=replace(config.objective, predict="last"),
        num_actions=LOOKUP,
    )
    torch.manual_seed(0)
    frame = config.build(num_items=LOOKUP)
    frame.load_state_dict(weights or frame.state_dict())
    return frame


def taught(frame, lr, num_batches, **task):
    optimiser = torch.optim.Adam(frame.parameters(), lr=lr, betas=(0.9, 0.98))
    falling = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min(1, (i + 1) / 10) * max(0.05, 1 - i / num_batches)
    )
    for number in range(num_batches):
        optimiser.zero_grad()
        frame.loss(two_hop(128, number, **task), torch_generator(1, number))["loss"].backward()
        optimiser.step()
        falling.step()
    return frame.eval()


def right_by_step(frame, rows):
    """``[N, K + 1]`` bool: whether the answer is on top after each step."""
    task = frame.objective.training_task(rows, torch_generator(1))
    states = frame.encoder.states_at(frame.tokens(task.history), task.history, task.read_N)
    logits = [frame.objective.logits(one, frame.targets) for one in states.unbind(1)]
    return torch.stack([one.argmax(1) == task.target_N for one in logits], 1)


@pytest.fixture(scope="module")
def lookup():
    """A layer that has learnt to look one pair up; no row has asked it for two."""
    return taught(one_layer(0), 1e-2, 200, hops=1).state_dict()


@torch.no_grad()
def share(frame, **task):
    return right_by_step(frame, two_hop(1000, 999, **task))[:, -1].float().mean().item()


@torch.no_grad()
def oracle_and_last(frame, **task):
    """``[8, 2]``: of eight batches the shares of rows of which any step is right, and the last."""
    right = right_by_step(frame, two_hop(1000, 999, **task))
    assert right.shape == (1000, 2)
    told = torch.stack([right.any(1), right[:, -1]], 1).float()
    return torch.stack([part.mean(0) for part in told.split(125)])


def test_one_step_is_one_hop_more(lookup):
    """From the same weights and on the same rows a layer alone gets little further than leaving out what is asked and its
    successor, one answer in three; a step more looks up again."""
    assert share(one_layer(0, lookup).eval(), hops=1) > 0.7
    none, one = (taught(one_layer(steps, lookup), 3e-3, 200) for steps in (0, 1))
    assert share(none) < 0.5
    assert share(one) > max(0.55, share(none) + 0.12)
    oracle, last = oracle_and_last(one).unbind(1)
    # What the step before knows is right for some others; it is the second look-up that most are found by.
    assert (oracle >= last).all()
    assert oracle.mean() < last.mean() + 1 / 3


def test_a_step_more_tells_nothing_of_noise(lookup):
    """Chance is one in five, with a deviation of .013 over 1,000 rows; whoever chooses the better of two steps has two guesses."""
    for steps in (0, 1):
        frame = taught(one_layer(steps, lookup), 3e-3, 30, noise=True)
        assert abs(share(frame, noise=True) - 1 / LOOKUP) < 0.04
    oracle, last = oracle_and_last(frame, noise=True).unbind(1)
    assert (oracle >= last).all()
    assert last.mean() < oracle.mean() < 2 / LOOKUP + 0.05


def test_bad_options_are_named():
    with pytest.raises(UnsupportedError, match="SessionTrunk keeps nothing"):
        Reasoning.Config(encoder=SessionTrunk.Config()).build(dim=4)
    with pytest.raises(ConfigError, match=r"tau \(0.5\) must be 1 where the cost has a temperature"):
        Progressive(cost=FullSoftmax(temperature=0.1), tau=0.5)
