"""k-means: centres that points lie near. Lloyd, 1982; Arthur & Vassilvitskii, SODA 2007 (k-means++). The definition is the code."""

from __future__ import annotations

import torch
from torch import Tensor

# Distances that stand in memory together.
_TOGETHER = 2**24


def kmeans(
    points_ND: Tensor, num_clusters: int, generator: torch.Generator, *, num_iterations: int = 20, num_restarts: int = 1
) -> Tensor:
    """``[K, D]``: centres of ``num_clusters`` clusters, the best of ``num_restarts`` by the sum of squared distances.

    Starts are drawn by k-means++ from ``generator`` (of the CPU). A cluster that loses all its points begins anew at the
    point that is farthest from its centre. It ends early where nothing moves any more.

    Raises: ValueError unless there are at least ``num_clusters`` points.
    """
    if not 1 <= num_clusters <= points_ND.shape[0]:
        raise ValueError(f"num_clusters ({num_clusters}) must lie between 1 and the points ({points_ND.shape[0]})")
    best_KD, least = points_ND[:0], float("inf")
    for _ in range(num_restarts):
        centres_KD = _begun(points_ND, num_clusters, generator)
        for _ in range(num_iterations):
            before_KD, centres_KD = centres_KD, _moved(points_ND, centres_KD)
            if torch.equal(before_KD, centres_KD):
                break
        cost = float(nearest_centres(points_ND, centres_KD)[1].sum())
        if cost < least:
            best_KD, least = centres_KD, cost
    return best_KD


def nearest_centres(points_ND: Tensor, centres_KD: Tensor) -> tuple[Tensor, Tensor]:
    """``(cluster [N] int64, distance [N])``: the nearest centre of each point and its squared distance; the first of equals.

    >>> cluster, distance = nearest_centres(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [5.0]]))
    >>> cluster.tolist(), distance.tolist()
    ([0, 0], [1.0, 4.0])
    """
    clusters, distances = [], []
    for part in points_ND.split(max(1, _TOGETHER // centres_KD.shape[0])):
        distance, cluster = _squared_distances(part, centres_KD).min(1)
        clusters.append(cluster)
        distances.append(distance)
    return torch.cat(clusters), torch.cat(distances)


def _begun(points_ND: Tensor, num_clusters: int, generator: torch.Generator) -> Tensor:
    """The first centre is any point, each further one a point by its squared distance to the centres so far."""
    rows = [int(torch.randint(points_ND.shape[0], (1,), generator=generator))]
    least_N = _squared_distances(points_ND, points_ND[rows])[:, 0]
    for at in torch.rand(num_clusters - 1, generator=generator, dtype=torch.float64).tolist():
        sums_N = least_N.double().cumsum(0)
        row = int(torch.searchsorted(sums_N, sums_N[-1:] * at, right=True)[0].clamp(max=points_ND.shape[0] - 1))
        rows.append(row)
        least_N = torch.minimum(least_N, _squared_distances(points_ND, points_ND[row : row + 1])[:, 0])
    return points_ND[rows].clone()


def _moved(points_ND: Tensor, centres_KD: Tensor) -> Tensor:
    cluster_N, distance_N = nearest_centres(points_ND, centres_KD)
    count_K = torch.bincount(cluster_N, minlength=centres_KD.shape[0])
    sums_KD = torch.zeros_like(centres_KD).index_add_(0, cluster_N, points_ND)
    empty = (count_K == 0).nonzero().squeeze(1)
    moved_KD = sums_KD / count_K.clamp(min=1)[:, None].to(sums_KD.dtype)
    moved_KD[empty] = points_ND[distance_N.topk(empty.shape[0]).indices]
    return moved_KD


def _squared_distances(points_ND: Tensor, centres_KD: Tensor) -> Tensor:
    cross_NK = points_ND @ centres_KD.T
    sizes_NK = points_ND.square().sum(1)[:, None] + centres_KD.square().sum(1)
    return (sizes_NK - 2 * cross_NK).clamp(min=0)
