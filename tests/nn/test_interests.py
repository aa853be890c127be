"""Several vectors a user: what each reading sees, attention and routing against numbers worked out by hand."""

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.nn.attended_interests import AttendedInterests
from hpgr.nn.readings import Readings
from hpgr.nn.routed_interests import RoutedInterests, squash

KINDS = [AttendedInterests.Config(num_interests=3), RoutedInterests.Config(num_interests=3, num_positions=4)]


def states(lengths: list[int], dim: int = 8, seed: int = 0) -> Jagged:
    return Jagged.from_lengths(torch.randn(sum(lengths), dim, generator=torch.Generator().manual_seed(seed)), lengths)


def test_a_reading_sees_its_user_up_to_itself_or_all_of_it():
    offsets = torch.tensor([0, 3, 3, 5])
    read = torch.tensor([4, 0, -1, 2])
    until, around = Readings.of(offsets, read), Readings.of(offsets, read, around=True)
    for readings, counts in ((until, [2, 1, 0, 3]), (around, [2, 3, 0, 3])):
        seen = readings.back(readings.sees(3)).sum(1)
        assert seen.tolist() == counts
    assert Readings.of(torch.tensor([0, 0]), torch.tensor([-1])).count_U.tolist() == [0]


@pytest.mark.parametrize("config", KINDS, ids=lambda c: type(c).__qualname__)
def test_a_reading_equals_the_same_question_asked_of_the_shorter_history(config, close):
    head, x = config.build(dim=8), states([6, 2, 0, 7])
    every = head(x, torch.arange(15))
    assert every.shape == (15, 3, 8)
    for user, start in ((0, 0), (1, 6), (3, 8)):
        for count in range(1, int(x.lengths[user]) + 1):
            alone = Jagged.from_lengths(x.values[start : start + count], [count])
            close(head(alone, torch.tensor([count - 1]))[0], every[start + count - 1])
    assert not head(x, torch.tensor([-1])).any()
    assert head(states([0]), torch.tensor([-1])).shape == (1, 3, 8)


def test_attention_by_hand(close):
    """dim 1, hidden 1, W1 = W2 = 1, places 0 and ln 2 / ln 3 off: weights are softmax of tanh, values carry no place."""
    head = AttendedInterests.Config(num_interests=1, hidden_ratio=1, num_positions=2).build(dim=1)
    with torch.no_grad():
        for linear in (head.hidden, head.weigh):
            linear.weight.fill_(1.0)
            linear.bias.zero_()
        head.place.weight.copy_(torch.tensor([[0.0], [0.5]]))
    x = Jagged.from_lengths(torch.tensor([[1.0], [-0.5]]), [2])
    # tanh(1) = 0.761594, tanh(-0.5 + 0.5) = 0: e^0.761594 = 2.141688, so 2.141688 / 3.141688 and 1 / 3.141688.
    got = head(x, torch.tensor([0, 1])).flatten()
    close(got, torch.tensor([1.0, (2.141688 * 1.0 - 0.5) / 3.141688]))


def test_attention_weights_sum_to_one_over_what_is_seen_and_places_move_only_weights(close):
    head, x = AttendedInterests.Config(num_interests=2).build(dim=8), states([4, 2])
    weight = head.weights(x, Readings.of(x.offsets, torch.tensor([1, 3, 5])))
    close(weight.sum(-1)[0], torch.ones(2, 2))
    assert not weight[0, :, 0, 2:].any(), "what comes later"
    assert not weight[1, :, :, 2:].any(), "padding"
    same = Jagged.from_lengths(x.values[:1].repeat(4, 1), [4])
    with torch.no_grad():
        head.place.weight.normal_()
    assert head.weights(same, Readings.of(same.offsets, torch.tensor([3]))).std() > 0.01
    close(head(same, torch.tensor([3]))[0], x.values[:1].repeat(2, 1))


def test_one_interest_is_one_self_attentive_vector(close):
    head, x = AttendedInterests.Config(num_interests=1).build(dim=8), states([5])
    with torch.no_grad():
        logit = head.weigh(torch.tanh(head.hidden(x.values + head.place(torch.arange(5))))).squeeze(1)
        want = torch.softmax(logit, 0) @ x.values
    close(head(x, torch.tensor([4]))[0, 0], want)


def test_the_state_that_answers_may_be_added(close):
    head, x = AttendedInterests.Config(num_interests=2, add_state=True).build(dim=8), states([5])
    head.config = AttendedInterests.Config(num_interests=2)
    bare = head(x, torch.tensor([4]))
    head.config = AttendedInterests.Config(num_interests=2, add_state=True)
    close(head(x, torch.tensor([4])), bare + x.values[4])


def routed(head: RoutedInterests, x_LD: torch.Tensor, rounds: int) -> torch.Tensor:
    """One history, event by event and interest by interest."""
    length, interests = x_LD.shape[0], head.config.num_interests
    place = [min(i, head.config.num_positions - 1) for i in range(length)]
    vote = {(i, j): head.vote_PIDD[place[i], j] @ x_LD[i] for i in range(length) for j in range(interests)}
    b = torch.zeros(length, interests)
    for turn in range(rounds):
        c = b.softmax(1)
        s = [sum(c[i, j] * vote[i, j] for i in range(length)) for j in range(interests)]
        v = [x * (x @ x) / (1 + x @ x) / x.norm() for x in s]
        if turn < rounds - 1:
            b = b + torch.stack([torch.stack([vote[i, j] @ v[j] for j in range(interests)]) for i in range(length)])
    return torch.stack(v)


def test_routing_equals_the_unrolled_rounds_and_stays_below_one(close):
    head = RoutedInterests.Config(num_interests=3, num_positions=4).build(dim=8)
    x = states([6, 3])
    got = head(x, torch.tensor([5, 8, 1]))
    close(got[0], routed(head, x.values[:6], 3))
    close(got[1], routed(head, x.values[6:], 3))
    close(got[2], routed(head, x.values[:2], 3))
    assert (got.norm(dim=-1) < 1).all()
    assert not torch.allclose(got[0], routed(head, x.values[:6], 2))


def test_routing_by_hand(close):
    """Two events of width 1, one round: c = 1/2 each, s = (2 + 4) / 2 = 3, v = 9 / 10; the other interest has -v."""
    head = RoutedInterests.Config(num_interests=2, num_rounds=1, num_positions=1).build(dim=1)
    with torch.no_grad():
        head.vote_PIDD.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
    got = head(Jagged.from_lengths(torch.tensor([[2.0], [4.0]]), [2]), torch.tensor([1]))
    close(got.flatten(), torch.tensor([0.9, -0.9]))


def test_only_the_last_round_carries_a_gradient(close):
    head = RoutedInterests.Config(num_interests=2, num_positions=5).build(dim=4)
    x = states([5], dim=4)
    up = torch.randn(1, 2, 4)
    (got,) = torch.autograd.grad(head(x, torch.tensor([4])), head.vote_PIDD, up)
    # The same with the weights of the last round as given numbers.
    with torch.no_grad():
        vote = head.votes(x.values[None])
        b = torch.zeros(1, 2, 5)
        for _ in range(2):
            v = squash(torch.einsum("bil,bild->bid", b.softmax(1), vote))
            b = b + torch.einsum("bid,bild->bil", v, vote)
        c = b.softmax(1)
    last = squash(torch.einsum("bil,bild->bid", c, head.votes(x.values[None])))
    (want,) = torch.autograd.grad(last, head.vote_PIDD, up)
    close(got, want)


def test_configs_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"num_interests \(0\) must be at least 1"):
        AttendedInterests.Config(num_interests=0)
    with pytest.raises(ConfigError, match=r"num_rounds \(0\) must be at least 1"):
        RoutedInterests.Config(num_rounds=0)
    with pytest.raises(ConfigError, match=r"std \(0\) must be positive"):
        RoutedInterests.Config(std=0)
