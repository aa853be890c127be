"""A bank of prototypes: where states gather, found by k-means before each epoch. Li et al., ICLR 2021, arXiv:2005.04966."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.ops.kmeans import kmeans, nearest_centres


class PrototypeBank(nn.Module):
    """``K`` centres of what it was fitted to, and which of them a state belongs to. No gradient reaches a centre.

    Centres are buffers: a checkpoint and a bundle hold them, and ``fitted`` tells whether there are any yet.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``max_points``: of so many points a prototype at most, drawn evenly, centres are made."""

        num_prototypes: int = 64
        num_iterations: int = 20
        num_restarts: int = 1
        max_points: int = 256

        def __post_init__(self) -> None:
            for name, least in (("num_prototypes", 2), ("num_iterations", 1), ("num_restarts", 1), ("max_points", 1)):
                if getattr(self, name) < least:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least {least}")

        def build(self, *, dim: int) -> PrototypeBank:
            return PrototypeBank(self, dim)

    centres_KD: Tensor
    fitted: Tensor

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centres_KD", torch.zeros(config.num_prototypes, dim))
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit(self, parts: Iterable[Tensor], generator: torch.Generator) -> None:
        """Take the centres of the points ``[n, D]`` of all ``parts``.

        Raises: ConfigError where there are fewer points than prototypes.
        """
        count = self.config.num_prototypes
        points_ND = sampled_rows(parts, count * self.config.max_points, generator)
        if points_ND.shape[0] < count:
            raise ConfigError(
                f"num_prototypes ({count}) must be at most the training windows ({points_ND.shape[0]}); give fewer"
            )
        steps = {"num_iterations": self.config.num_iterations, "num_restarts": self.config.num_restarts}
        self.centres_KD.copy_(kmeans(points_ND.to(self.centres_KD.dtype), count, generator, **steps))
        self.fitted.fill_(True)

    @torch.no_grad()
    def nearest(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """``(cluster [N] int64, prototype [N, D])``: the nearest centre of each state, and that centre at length 1."""
        with torch.autocast(x_ND.device.type, enabled=False):
            cluster_N, _ = nearest_centres(x_ND.to(self.centres_KD.dtype), self.centres_KD)
        return cluster_N, F.normalize(self.centres_KD, dim=-1)[cluster_N]


def sampled_rows(parts: Iterable[Tensor], limit: int, generator: torch.Generator) -> Tensor:
    """``[n, D]``, ``n ≤ limit``: rows of all ``parts``, any as likely as another; memory is bounded by ``limit`` and a part."""
    rows, keys = torch.zeros(0, 0), torch.zeros(0, dtype=torch.float64)
    for part in parts:
        rows = part if not rows.numel() else torch.cat([rows, part])
        keys = torch.cat([keys, torch.rand(part.shape[0], generator=generator, dtype=torch.float64)])
        if len(keys) > 2 * limit:
            rows, keys = _least(rows, keys, limit)
    return _least(rows, keys, limit)[0]


def _least(rows: Tensor, keys: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    keep = keys.argsort()[:limit].sort().values
    return rows[keep.to(rows.device)], keys[keep]
