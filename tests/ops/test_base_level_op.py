from __future__ import annotations

import math

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.ops.base_level import IMPLEMENTATIONS, base_level, readings_at_once

NOW = 1_000_000


def level(items, ages_s, impl, offsets=None, read=None, now=NOW, **options):
    times = torch.tensor([now - round(1000 * age) for age in ages_s], dtype=torch.int64)
    offsets = torch.tensor([0, len(items)] if offsets is None else offsets)
    read_N = torch.tensor([len(items) - 1] if read is None else read)
    at_ms_N = torch.full_like(read_N, now)
    return base_level(torch.tensor(items), times, offsets, read_N, at_ms_N, impl=impl, **options)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_two_plays_at_ages_4_and_16_add_up_to_three_quarters(impl):
    strength = level([5, 5], [16, 4], impl)
    assert strength.tolist() == [[0.75, 0.0]]
    assert strength[0, 0].log().item() == pytest.approx(math.log(1 / 2 + 1 / 4))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_newer_and_more_often_is_strictly_stronger_and_the_softmax_sums_to_one(impl):
    strength = level([1, 2, 3, 3], [100, 50, 100, 90], impl)[0]
    assert strength[1] > strength[0]
    assert strength[2] > strength[0]
    share = strength.log().softmax(0)
    torch.testing.assert_close(strength / strength.sum(), share)
    assert share.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_play_at_the_moment_itself_is_finite_and_later_plays_are_not_there(impl):
    assert level([1, 2, 1], [0, 4, 0], impl, read=[1]).tolist() == [[1.0, 0.5, 0.0]]
    assert level([1], [0], impl, floor_s=4.0).tolist() == [[0.5]]
    # Without decay, how often alone counts.
    assert level([1, 2, 1], [900, 4, 1], impl, decay=0.0).tolist() == [[2.0, 1.0, 0.0]]


def test_matches_the_reference_on_rows_of_any_length():
    generator = torch_generator(1)
    offsets = torch.tensor([0, 0, 1, 8, 8, 20])
    items = torch.randint(4, (20,), generator=generator)
    times = torch.randint(10**12, (20,), generator=generator).sort().values
    read = torch.randint(20, (30,), generator=generator)
    at_ms = times[read] + torch.randint(10**10, (30,), generator=generator)
    got, want = (base_level(items, times, offsets, read, at_ms, impl=impl) for impl in ("vectorised", "reference"))
    torch.testing.assert_close(got, want)
    assert got.shape == (30, 12)
    assert ((got > 0).sum(1) <= 4).all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_nothing_to_read_and_bad_settings(impl):
    none = torch.zeros(0, dtype=torch.int64)
    assert base_level(none, none, torch.tensor([0, 0]), none, none, impl=impl).shape == (0, 0)
    assert readings_at_once(torch.tensor([0])) > 1000
    with pytest.raises(ConfigError, match=r"^floor_s \(0.0\) must be greater than 0; a play of age 0 would be"):
        level([1], [1], impl, floor_s=0.0)
    with pytest.raises(ConfigError, match=r"^decay \(-1\) must be finite and not negative$"):
        level([1], [1], impl, decay=-1)
