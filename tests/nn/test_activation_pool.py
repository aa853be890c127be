from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.nn.activation_pool import ActivationPool, Plays
from hpgr.nn.session_links import SessionLinks


def counted(*sessions, **options):
    links = SessionLinks.Config(**options).build()
    lengths = torch.tensor([0, *map(len, sessions)])
    links.count([(torch.tensor([i for session in sessions for i in session]), lengths.cumsum(0))])
    return links


def dense(links, size):
    left, right = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return links(left, right)


def test_links_by_hand_are_symmetric_and_bounded(close):
    """Sessions {0, 1, 2} and {0, 1}: A01 = 2, A02 = A12 = 1; degrees 3, 3, 2."""
    links = counted([0, 1, 0, 2], [1, 0, 0], [3])
    wanted = torch.zeros(4, 4)
    wanted[0, 1] = wanted[1, 0] = 2 / 3
    wanted[0, 2] = wanted[2, 0] = wanted[1, 2] = wanted[2, 1] = 1 / 6**0.5
    close(dense(links, 4), wanted)
    assert torch.linalg.eigvalsh(wanted).abs().max().item() == pytest.approx(1, abs=1e-6)
    many = counted(*torch.randint(9, (40, 5), generator=torch.Generator().manual_seed(1)).tolist())
    assert torch.equal(dense(many, 9), dense(many, 9).T)
    assert torch.linalg.eigvalsh(dense(many, 9)).abs().max() <= 1 + 1e-5
    assert torch.equal(dense(many, 9).diagonal(), torch.zeros(9))


def test_parts_add_up_reach_ends_and_saved_links_are_loaded():
    whole = counted([0, 1], [1, 2])
    parts = SessionLinks.Config().build()
    parts.count((torch.tensor(items), torch.tensor([0, 2])) for items in ([0, 1], [1, 2]))
    assert torch.equal(dense(parts, 3), dense(whole, 3))
    assert dense(counted([0, 1, 2], reach=2), 3)[0, 2] == 0
    other = SessionLinks.Config().build()
    assert not dense(other, 3).any()
    other.load_state_dict(whole.state_dict())
    assert torch.equal(dense(other, 3), dense(whole, 3))
    parts.count([])
    assert not dense(parts, 3).any()
    with pytest.raises(ConfigError, match=r"^reach \(1\) must be at least 2"):
        SessionLinks.Config(reach=1)


def plays(items, ages_s, users, sessions):
    return Plays(
        item_T=torch.tensor(items, dtype=torch.int64),
        time_ms_T=torch.tensor([10**7 - round(1000 * age) for age in ages_s], dtype=torch.int64),
        user_offsets_B1=torch.tensor(users),
        session_offsets_S1=torch.tensor(sessions),
    )


def weights(pool, x_TD, told, read):
    read_N = torch.tensor(read)
    event, weight = pool.weights(x_TD, told, read_N, torch.full_like(read_N, 10**7))
    found = torch.zeros(len(read), len(x_TD))
    return found.scatter_add(1, event, weight.detach())


def test_the_base_level_alone_by_hand(close):
    """Song 1 at ages 100 and 4, song 2 at 16: .6 and .25. With power 1 that is the share; the earlier play gives way."""
    told = plays([1, 1, 2], [100, 4, 16], [0, 3], [0, 3])
    pool = ActivationPool.Config(spread=None, matching=False, power=1.0).build()
    close(weights(pool, torch.randn(3, 2), told, [2]), torch.tensor([[0.0, 0.6 / 0.85, 0.25 / 0.85]]))
    rooted = ActivationPool.Config(spread=None, matching=False).build()
    want = torch.tensor([0.6, 0.25]).sqrt()
    close(weights(rooted, torch.randn(3, 2), told, [2])[0, 1:], want / want.sum())


def test_earlier_sessions_make_a_song_active_and_are_not_read(close):
    """Song 1 was heard in the session before: at 100 and 25 it has .1 + .2, song 2 at 25 has .2."""
    told = plays([1, 9, 1, 2], [100, 64, 25, 25], [0, 4], [0, 2, 4])
    pool = ActivationPool.Config(spread=None, matching=False, power=1.0).build()
    close(weights(pool, torch.randn(4, 2), told, [3]), torch.tensor([[0, 0, 0.6, 0.4]]))


def test_spreading_by_hand(close):
    told = plays([0, 1, 2], [1, 1, 1], [0, 3], [0, 3])
    pool = ActivationPool.Config(matching=False, power=1.0).build()
    with torch.no_grad():
        pool.mix.copy_(torch.tensor([-1.0, 1.0]))
    pool.links.count([(torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 3, 5]))])
    near, far = 2 / 3, 1 / 6**0.5
    want = torch.tensor([near + far, near + far, 2 * far])
    close(weights(pool, torch.randn(3, 2), told, [2])[0], want / want.sum())
    # Until the second song the third is not there, and one song has nobody to spread to it.
    close(weights(pool, torch.randn(3, 2), told, [1])[0], torch.tensor([0.5, 0.5, 0.0]))
    _, alone = pool.weights(torch.randn(3, 2), told, torch.tensor([0]), torch.tensor([10**7]))
    assert alone[0, 0] == 1


def test_matching_by_hand(close):
    """Two songs of one direction and one across: cosines with the others' sum 1, 1 and 0."""
    told = plays([0, 1, 2], [1, 1, 1], [0, 3], [0, 3])
    pool = ActivationPool.Config(spread=None, power=1.0).build()
    with torch.no_grad():
        pool.mix.copy_(torch.tensor([0.0, 1.0]))
    x_TD = torch.tensor([[3.0, 0.0], [0.5, 0.0], [0.0, 2.0]])
    close(weights(pool, x_TD, told, [2])[0], torch.tensor([0.5, 0.5, 0.0]))


def test_weights_sum_to_one_and_know_nothing_later_whatever_the_lengths():
    generator = torch.Generator().manual_seed(3)
    items = torch.randint(6, (40,), generator=generator).tolist()
    told = plays(items, range(80, 40, -1), [0, 0, 1, 13, 40], [0, 1, 4, 13, 40])
    pool = ActivationPool.Config(width=8).build()
    pool.links.count([(told.item_T, told.session_offsets_S1)])
    x_TD, every = torch.randn(40, 3), list(range(40))
    weight = weights(pool, x_TD, told, every)
    assert (weight >= 0).all()
    torch.testing.assert_close(weight.sum(1), torch.ones(40))
    assert not weight.triu(1).any()
    assert not weight[13:, :13].any()
    later = plays([*items[:30], *[5] * 10], range(80, 40, -1), [0, 0, 1, 13, 40], [0, 1, 4, 13, 40])
    changed = torch.cat([x_TD[:30], torch.randn(10, 3)])
    torch.testing.assert_close(weights(pool, changed, later, every)[:30], weight[:30])


def test_gradients_reach_vectors_and_mix_and_are_finite_at_the_start():
    told = plays([1, 2, 1, 3], [4, 3, 2, 0], [0, 4], [0, 3, 4])
    pool = ActivationPool.Config().build()
    x_TD = torch.zeros(4, 2, requires_grad=True)
    (
        pool(x_TD, told, torch.arange(4), told.time_ms_T) ** 2 + pool(x_TD + 1, told, torch.arange(4), told.time_ms_T)
    ).sum().backward()
    assert x_TD.grad.isfinite().all()
    assert x_TD.grad.any()
    assert pool.mix.grad.isfinite().all()
    none = plays([], [], [0, 0], [0])
    assert pool(
        torch.zeros(0, 2), none, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    ).shape == (0, 2)
