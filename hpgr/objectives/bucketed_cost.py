"""Softmax over the items that are hardest for a bucket of like predictions ("scalable cross-entropy")."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets
from hpgr.objectives.held import Drawn, held_against
from hpgr.objectives.losses.bucketed_softmax import bucketed_softmax_loss
from hpgr.objectives.scores import catalogue_logits, check_temperature, sides

# Scores of buckets against the catalogue that stand in memory together.
_TOGETHER = 2**22


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketedSoftmax:
    """Each bucket has a random centre and takes the predictions and the ``bucket_items`` items of the largest dot products
    with it; a prediction costs what it costs in the worst of its buckets, and nothing where it is in none.

    Of ``N`` predictions ``spread · √N`` buckets take as many each, so that one is in ``spread²`` buckets on average.
    ``temperature`` as in ``FullSoftmax``. No ``[N, V]`` is made: memory grows with ``N · spread² · bucket_items``, work with
    ``V · spread · √N``.

    Source: Mezentsev et al., RecSys 2024, arXiv:2409.18721, with its "mix": centres are random sums of the predictions, so
    that they lie where predictions do. Departs: a bias of items counts in the cost, not in what a bucket takes.
    """

    bucket_items: int = 256
    spread: float = 2.0
    temperature: float | None = None

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.bucket_items < 1:
            raise ConfigError(f"bucket_items ({self.bucket_items}) must be at least 1")
        if not 0 < self.spread < float("inf"):
            raise ConfigError(f"spread ({self.spread}) must be positive and finite")

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items, self.temperature)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        members_KP, rows_KM = self.buckets(states_ND, items, generator)
        held = held_against(items, target_N, Drawn(shared_C=rows_KM.flatten(), own_NM=target_N.new_zeros((0, 0))))
        states_ND, table_UD = sides(states_ND, held.table_UD, self.temperature)
        if not target_N.shape[0]:
            return (states_ND.sum() + 0.0 * table_UD.sum()) * 0.0
        rows_KM = held.drawn.shared_C.view(rows_KM.shape)
        return bucketed_softmax_loss(states_ND, held.target_N, table_UD, held.bias_U, members_KP, rows_KM)

    @torch.no_grad()
    def buckets(self, states_ND: Tensor, items: Targets, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``(members [K, P], rows [K, M])``: the predictions and the items of each bucket."""
        count = states_ND.shape[0]
        size = min(count, max(1, round(self.spread * count**0.5))) if count else 0
        if self.temperature is not None:
            states_ND = F.normalize(states_ND, dim=-1)
        mix_KN = torch.randn(size, count, generator=generator).to(states_ND)
        with torch.autocast(states_ND.device.type, enabled=False):
            centres_KD = F.normalize(mix_KN @ states_ND, dim=-1)
            members_KP = (centres_KD @ states_ND.T).topk(size, dim=1).indices
            return members_KP, self._nearest(centres_KD, items.table())

    def _nearest(self, centres_KD: Tensor, table_VD: Tensor) -> Tensor:
        """``[K, M]``: the items of the largest dot products with each centre, found block by block."""
        num_items, count = table_VD.shape[0], min(self.bucket_items, table_VD.shape[0])
        best_KM = centres_KD.new_zeros((len(centres_KD), 0))
        rows_KM = torch.zeros_like(best_KM, dtype=torch.int64)
        width = max(count, _TOGETHER // max(1, len(centres_KD)))
        for start in range(0, num_items, width):
            vectors = table_VD[start : start + width].to(centres_KD.dtype)
            if self.temperature is not None:
                vectors = F.normalize(vectors, dim=-1)
            block = (centres_KD @ vectors.T).topk(min(count, len(vectors)), dim=1)
            best, rows = torch.cat([best_KM, block.values], 1), torch.cat([rows_KM, block.indices + start], 1)
            best_KM, at = best.topk(min(count, best.shape[1]), dim=1)
            rows_KM = rows.gather(1, at)
        return rows_KM
