from __future__ import annotations

import math

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.nn.soft_clusters import SoftClusters, balanced_weights, imbalance_cost, sharpening_cost


def test_shares_by_hand_sum_to_one_and_go_with_their_centres(close):
    clusters = SoftClusters.Config(num_clusters=2, temperature=2.0).build(dim=1)
    with torch.no_grad():
        clusters.centres_CD.copy_(torch.tensor([[0.0], [2.0]]))
        share = clusters(torch.tensor([[0.0], [1.0], [2.0]]))
        # Squared distances 0 and 4, over 2: the odds are e².
        odds = math.exp(2) / (1 + math.exp(2))
        close(share[:, 0], torch.tensor([odds, 0.5, 1 - odds]))
        close(share.sum(1), torch.ones(3))
        clusters.centres_CD.copy_(clusters.centres_CD.flip(0))
        close(clusters(torch.tensor([[0.0], [1.0], [2.0]])), share.flip(1))


def test_k_means_begins_with_no_cluster_empty():
    generator = torch_generator(1)
    blobs = torch.cat([at + 0.1 * torch.randn(size, 2, generator=generator) for at, size in ((0, 90), (3, 10))])
    clusters = SoftClusters.Config(num_clusters=2).build(dim=2)
    assert not clusters.begun
    clusters.begin([blobs[:50], blobs[50:]], generator)
    assert clusters.begun
    nearest = clusters(blobs).argmax(1)
    assert sorted(torch.bincount(nearest).tolist()) == [10, 90]
    with pytest.raises(ConfigError, match=r"num_clusters \(2\) must be at most the training windows \(1\); give fewer"):
        clusters.begin([blobs[:1]], generator)


def test_each_cluster_counts_alike_however_small():
    share = torch.tensor([[1.0, 0.0]] * 9 + [[0.0, 1.0]], requires_grad=True)
    weight = balanced_weights(share)
    assert weight.tolist() == pytest.approx([0.5 / 9] * 9 + [0.5])
    assert not weight.requires_grad
    even = balanced_weights(torch.full((4, 3), 1 / 3))
    assert even.tolist() == pytest.approx([0.25] * 4)
    # A cluster that nobody is in has no say.
    assert balanced_weights(torch.tensor([[1.0, 0.0], [1.0, 0.0]])).tolist() == [0.5, 0.5]


def test_costs_of_the_shares_by_hand():
    # Of two equal clusters T is share², normed: (.64, .04) / .68.
    share = torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    wanted = (0.64 / 0.68, 0.04 / 0.68)
    kl = wanted[0] * math.log(wanted[0] / 0.8) + wanted[1] * math.log(wanted[1] / 0.2)
    assert sharpening_cost(share).item() == pytest.approx(kl, abs=1e-6)
    assert sharpening_cost(torch.eye(2)).item() == pytest.approx(0, abs=1e-6)
    assert imbalance_cost(share).item() == pytest.approx(-math.log(2))
    assert imbalance_cost(torch.tensor([[1.0, 0.0]])).item() == pytest.approx(0, abs=1e-6)
    for cost in (sharpening_cost, imbalance_cost):
        assert cost(torch.zeros(0, 2)).item() == 0
