from __future__ import annotations

import pytest
import torch

from hpgr.core.seeds import torch_generator
from hpgr.ops.kmeans import kmeans, nearest_centres


def blobs(count: int, sizes: tuple[int, ...] = (40, 40, 40)) -> torch.Tensor:
    middles = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    noise = torch.randn(sum(sizes), 2, generator=torch_generator(count, "blobs"))
    return middles.repeat_interleave(torch.tensor(sizes), 0) + 0.3 * noise


def test_hand_made_points_on_a_line():
    points = torch.tensor([[0.0], [2.0], [10.0], [14.0]])
    for seed in range(5):
        centres = kmeans(points, 2, torch_generator(seed), num_restarts=3)
        assert centres.sort(0).values.tolist() == [[1.0], [12.0]]
    assert kmeans(points, 4, torch_generator(1)).sort(0).values.tolist() == points.tolist()
    assert kmeans(points, 1, torch_generator(1)).tolist() == [[6.5]]


def test_each_blob_has_a_centre_and_the_seed_decides(close):
    points = blobs(1)
    centres = kmeans(points, 3, torch_generator(2), num_restarts=3)
    means = torch.stack([part.mean(0) for part in points.split(40)])
    close(*(rows[(rows @ torch.tensor([1.0, 2.0])).argsort()] for rows in (centres, means)))
    points = torch.randn(100, 2, generator=torch_generator(1, "anywhere"))
    first, again, other = (kmeans(points, 5, torch_generator(seed)) for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_worse_than_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    points = torch.randn(300, 5, generator=torch_generator(4, "points"))
    ours = nearest_centres(points, kmeans(points, 8, torch_generator(5), num_iterations=100, num_restarts=5))[1].sum()
    theirs = cluster.KMeans(8, n_init=5, random_state=0).fit(points.numpy()).inertia_
    assert ours.item() <= 1.02 * theirs


def test_a_cluster_without_points_begins_anew():
    """Of six equal points and two others three centres are wanted: no centre is left without a point."""
    points = torch.tensor([[0.0]] * 6 + [[5.0], [6.0]])
    for seed in range(10):
        centres = kmeans(points, 3, torch_generator(seed))
        assert centres.sort(0).values.tolist() == [[0.0], [5.0], [6.0]]


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match=r"num_clusters \(3\) must lie between 1 and the points \(2\)"):
        kmeans(torch.zeros(2, 2), 3, torch_generator(1))
