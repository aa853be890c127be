from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import fixed_shapes
from hpgr.ops.time_bucket import HSTU_BUCKETS, hstu_bucket, hstu_bucket_of_ms, log_bucket, sqrt_bucket


def test_research_formula_of_hstu():
    delta_s = torch.tensor([0, 1, 2, 60, 3600, 86_400, 2_592_000, -60, 2**62])
    assert hstu_bucket(delta_s).tolist() == [0, 0, 2, 13, 27, 37, 49, 13, 128]
    assert hstu_bucket(delta_s.double()).max() < HSTU_BUCKETS


def test_buckets_of_milliseconds_are_those_of_the_formula_at_every_border():
    edges = (0.301 * torch.arange(104).double()).exp() * 1000
    near = (edges.floor()[:, None] + torch.arange(-40, 41)).long()
    near = near[(near < 2**53)]
    drawn = torch.randint(0, 2**53 - 1, (20_000,)) >> torch.randint(0, 53, (20_000,))
    for delta_ms in (near, -near, drawn, drawn.view(100, -1), torch.zeros(0, 3).long(), torch.tensor(5000)):
        assert torch.equal(hstu_bucket_of_ms(delta_ms), hstu_bucket(delta_ms.double() / 1000))


def test_log_buckets_split_every_doubling():
    delta = torch.tensor([-1, 0, 999, 1000, 1414, 1415, 1999, 2000, 2828, 2829, 4000, 10**15])
    assert log_bucket(delta, num_buckets=16, first=1000).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 15]


@pytest.mark.parametrize(("first", "per_doubling"), [(1000, 2), (1, 2), (7, 3)])
def test_log_buckets_of_fixed_shapes_are_the_same_at_every_border(first, per_doubling):
    powers = first * 2 ** torch.arange(50)
    delta = torch.cat([torch.arange(-5, 20_000), powers - 1, powers, powers + 1]).view(-1, 5)
    want = log_bucket(delta, num_buckets=64, first=first, per_doubling=per_doubling)
    with fixed_shapes():
        assert torch.equal(log_bucket(delta, num_buckets=64, first=first, per_doubling=per_doubling), want)


def test_root_buckets_square_in_minutes():
    delta_s = torch.tensor([-3600, 0, 59, 60, 239, 240, 539, 540, 86_400, 60 * 2047**2 - 1, 60 * 2047**2, 10**15])
    assert sqrt_bucket(delta_s, num_buckets=2048).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 37, 2046, 2047, 2047]
    with pytest.raises(ConfigError, match=r"num_buckets \(0\) must be positive"):
        sqrt_bucket(delta_s, num_buckets=0)


@pytest.mark.parametrize("name", ["num_buckets", "first", "per_doubling"])
def test_a_bucket_option_that_is_not_positive_is_refused(name):
    options = {"num_buckets": 4, "first": 1.0, "per_doubling": 1} | {name: 0}
    with pytest.raises(ConfigError, match=rf"{name} \(0\) must be positive"):
        log_bucket(torch.tensor([1]), **options)
