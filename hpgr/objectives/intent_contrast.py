"""States before the same item are alike, and like the prototype that they gather around.

Qin et al., WSDM 2024, arXiv:2310.14318.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.nn.prototypes import PrototypeBank
from hpgr.objectives import Read, Targets
from hpgr.objectives.losses.info_nce import info_nce_loss
from hpgr.objectives.state_before_last import before_last, histories, state_before_last


class IntentContrast(nn.Module):
    """``coarse`` · InfoNCE of two histories before one item + ``fine`` · InfoNCE of each with its prototype.

    A row of the batch and its partner end in the same item; the state of the event before it stands for each. They are read
    apart from the objective, so that dropout falls otherwise. Rows without a partner are their own.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``coarse``, ``fine``: weights beside the objective's cost; 0 leaves a part out. ``mask_false_negatives``: rows of the
        same item, or of the same prototype, are no negatives of each other."""

        takes_pairs: ClassVar[bool] = True

        coarse: float = 0.3
        fine: float = 0.1
        temperature: float = 1.0
        mask_false_negatives: bool = True
        bank: PrototypeBank.Config = field(default_factory=PrototypeBank.Config)

        def __post_init__(self) -> None:
            for name in ("coarse", "fine"):
                if not 0 <= getattr(self, name) < float("inf"):
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be finite and not negative")
            if not self.temperature > 0:
                raise ConfigError(f"temperature ({self.temperature}) must be greater than 0")

        def build(self, *, dim: int) -> IntentContrast:
            return IntentContrast(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.bank = config.bank.build(dim=dim)
        self.monitors: dict[str, Tensor] = {}

    def before_epoch(self, read: Read, epoch: int, batches: Iterable[Any], generator: torch.Generator) -> None:
        """Find the prototypes of the states before the last item of every window."""
        if self.config.fine:
            self.bank.fit((state_before_last(read, history) for history in histories(batches)), generator)

    def forward(self, read: Read, batch: tuple[History, History], items: Targets, generator: torch.Generator) -> Tensor:
        """The weighted sum of both parts."""
        if not self.config.coarse and not self.config.fine:
            return items.table().new_zeros(())
        first, second = batch
        item_B = first.item_idx[(first.user_offsets[1:] - 1).clamp(min=0)] if first.num_events else first.now_ms
        counts_B = (first.lengths > 1) & (second.lengths > 1) & (item_B < items.num_items)
        item_N = item_B[counts_B]
        state_ND, partner_ND = (read(before_last(history))[counts_B] for history in batch)
        coarse = fine = (state_ND.sum() + partner_ND.sum()) * 0.0
        if self.config.coarse:
            coarse = self._contrast(state_ND, partner_ND, item_N)
        if self.config.fine and bool(self.bank.fitted):
            parts = [(one_ND, *self.bank.nearest(one_ND.detach())) for one_ND in (state_ND, partner_ND)]
            fine = sum((self._contrast(one, prototype, cluster) for one, cluster, prototype in parts), fine)
        self.monitors = {"coarse_contrast": coarse.detach(), "fine_contrast": fine.detach()}
        return self.config.coarse * coarse + self.config.fine * fine

    def _contrast(self, first_ND: Tensor, second_ND: Tensor, id_N: Tensor) -> Tensor:
        if not self.config.mask_false_negatives:
            id_N = torch.arange(id_N.shape[0], device=id_N.device)
        return info_nce_loss(first_ND, second_ND.to(first_ND.dtype), id_N, temperature=self.config.temperature)
