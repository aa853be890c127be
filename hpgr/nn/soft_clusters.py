"""Learned centres that share out what belongs to them. Xie, Girshick & Farhadi, ICML 2016, arXiv:1511.06335 (sharpening)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.nn.prototypes import sampled_rows
from hpgr.ops.kmeans import kmeans


class SoftClusters(nn.Module):
    """Shares of each state in ``C`` clusters, ``softmax_c(-‖z - μ_c‖² / temperature)``.

    ``begun``: k-means has placed the centres; until then they stand where chance put them.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        num_clusters: int = 8
        temperature: float = 1.0
        max_points: int = 256

        def __post_init__(self) -> None:
            for name in ("num_clusters", "max_points"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
            if not self.temperature > 0:
                raise ConfigError(f"temperature ({self.temperature}) must be greater than 0")

        def build(self, *, dim: int) -> SoftClusters:
            return SoftClusters(self, dim)

    begun: Tensor

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.centres_CD = nn.Parameter(0.1 * torch.randn(config.num_clusters, dim))
        self.register_buffer("begun", torch.tensor(False))

    def forward(self, z_ND: Tensor) -> Tensor:
        """``[N, C]``; rows sum to 1."""
        between_NC = (z_ND[:, None] - self.centres_CD).square().sum(2)
        return (-between_NC / self.config.temperature).softmax(1)

    @torch.no_grad()
    def begin(self, parts: Iterable[Tensor], generator: torch.Generator) -> None:
        """Place the centres by k-means over the states ``[n, D]`` of all ``parts``.

        Raises: ConfigError where there are fewer states than clusters.
        """
        count = self.config.num_clusters
        points_ND = sampled_rows(parts, count * self.config.max_points, generator)
        if points_ND.shape[0] < count:
            raise ConfigError(
                f"num_clusters ({count}) must be at most the training windows ({points_ND.shape[0]}); give fewer"
            )
        self.centres_CD.copy_(kmeans(points_ND.to(self.centres_CD.dtype), count, generator, num_restarts=3))
        self.begun.fill_(True)


def balanced_weights(share_NC: Tensor) -> Tensor:
    """``[N]``, of sum 1: weights by which each cluster counts alike, ``Σ_c share_nc / (C Σ_m share_mc)``; no gradient.

    >>> balanced_weights(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).tolist()
    [0.25, 0.25, 0.5]
    """
    share_NC = share_NC.detach()
    size_C = share_NC.sum(0)
    held_C = size_C > 0
    return (share_NC / size_C.clamp(min=1e-12)).sum(1) / held_C.sum().clamp(min=1)


def sharpening_cost(share_NC: Tensor) -> Tensor:
    """Mean ``KL(T ‖ share)`` in nats, with ``T ∝ share² / size of the cluster``, which no gradient reaches; 0 without rows."""
    if not share_NC.shape[0]:
        return share_NC.sum()
    with torch.no_grad():
        wanted_NC = share_NC.square() / share_NC.sum(0).clamp(min=1e-12)
        wanted_NC = wanted_NC / wanted_NC.sum(1, keepdim=True).clamp(min=1e-12)
    logs_NC = wanted_NC.clamp(min=1e-12).log() - share_NC.clamp(min=1e-12).log()
    return (wanted_NC * logs_NC).sum(1).mean()


def imbalance_cost(share_NC: Tensor) -> Tensor:
    """Minus the entropy of the mean shares, in nats: least, ``-log C``, where all clusters are of one size; 0 without rows."""
    if not share_NC.shape[0]:
        return share_NC.sum()
    mean_C = share_NC.mean(0).clamp(min=1e-12)
    return (mean_C * mean_C.log()).sum()
