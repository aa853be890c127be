from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.nn.prototypes import PrototypeBank, sampled_rows


def test_prototypes_have_length_one_take_no_gradient_and_follow_the_seed(close):
    points = torch.randn(60, 4, generator=torch_generator(1))
    banks = [PrototypeBank.Config(num_prototypes=5).build(dim=4) for _ in range(2)]
    assert not banks[0].fitted
    for bank in banks:
        bank.fit([points[:20], points[20:]], torch_generator(2))
    assert banks[0].fitted
    assert torch.equal(banks[0].centres_KD, banks[1].centres_KD)
    states = points.clone().requires_grad_()
    cluster, prototype = banks[0].nearest(states)
    close(prototype.norm(dim=1), torch.ones(60))
    assert not prototype.requires_grad
    assert list(banks[0].parameters()) == []
    distance = (points[:, None] - banks[0].centres_KD).norm(dim=2)
    assert torch.equal(cluster, distance.argmin(1))


def test_saved_is_loaded():
    bank, other = (PrototypeBank.Config(num_prototypes=3).build(dim=2) for _ in range(2))
    bank.fit([torch.randn(9, 2)], torch_generator(1))
    other.load_state_dict(bank.state_dict())
    assert other.fitted
    assert torch.equal(bank.centres_KD, other.centres_KD)


def test_more_prototypes_than_points_are_refused():
    bank = PrototypeBank.Config(num_prototypes=4).build(dim=2)
    with pytest.raises(
        ConfigError, match=r"num_prototypes \(4\) must be at most the training windows \(3\); give fewer"
    ):
        bank.fit([torch.zeros(3, 2)], torch_generator(1))
    with pytest.raises(ConfigError, match=r"num_prototypes \(1\) must be at least 2"):
        PrototypeBank.Config(num_prototypes=1)


def test_rows_of_all_parts_are_drawn_alike():
    parts = torch.arange(40.0)[:, None].split(3)
    assert sampled_rows(parts, 40, torch_generator(1)).flatten().tolist() == list(range(40))
    seen = torch.zeros(40)
    for seed in range(400):
        rows = sampled_rows(parts, 10, torch_generator(seed)).flatten().long()
        assert len(rows.unique()) == 10
        seen[rows] += 1
    # 400 draws of one in four: 100 ± 4.5 deviations.
    assert (seen - 100).abs().max() < 40
