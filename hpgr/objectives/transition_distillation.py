"""Item vectors learn which item follows which in the whole log. Zhu et al., WSDM 2024, arXiv:2311.01056 (TED).

Departs: dropout falls once on an item of a batch, however often it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of, position_in_row, row_of
from hpgr.objectives import Read, Targets
from hpgr.objectives.links import SkipLinks, SummedLinks
from hpgr.objectives.losses.sparse_teacher import sparse_teacher_loss


class TransitionDistillation(nn.Module):
    """``weight`` · cross-entropy of ``softmax(√D E_i · E / temperature)`` to the counted transitions from ``i``, for the items ``i``
    that a batch tells, each as often as it does.

    The teacher of an item is ``softmax(c / (max c · temperature))`` of its counts ``c``, over the whole catalogue: uniform
    where nothing followed it. What was counted is read in training only, and no bundle holds it. 0 before anything is counted.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``weight``: beside the objective's cost; 0 leaves it out. ``temperature``: of teacher and student. ``links``: which events
        follow which. ``dropout`` acts on the student's items. ``chunk``: items whose scores stand in memory together."""

        takes: ClassVar[Literal["history"]] = "history"
        reads_states: ClassVar[bool] = False

        weight: float = 0.1
        temperature: float = 0.1
        links: SkipLinks = field(default_factory=lambda: SkipLinks(reach=1))
        dropout: float = 0.0
        chunk: int = 128

        def __post_init__(self) -> None:
            if not 0 <= self.weight < float("inf"):
                raise ConfigError(f"weight ({self.weight}) must be finite and not negative")
            if not self.temperature > 0:
                raise ConfigError(f"temperature ({self.temperature}) must be greater than 0")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")
            if self.chunk < 1:
                raise ConfigError(f"chunk ({self.chunk}) must be at least 1")

        def build(self, *, dim: int) -> TransitionDistillation:
            return TransitionDistillation(self, dim)

    link_offsets: Tensor
    link_to: Tensor
    link_strength: Tensor

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.scale = dim**0.5 / config.temperature
        self.dropout = nn.Dropout(config.dropout)
        # Every run counts before it trains, a resumed one too: no checkpoint has to hold them.
        self.register_buffer("link_offsets", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("link_to", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("link_strength", torch.zeros(0), persistent=False)
        self.monitors: dict[str, Tensor] = {}

    def count(self, histories: Iterable[History], num_items: int) -> None:
        """Count transitions; memory grows with the different pairs."""
        counter, device = SummedLinks(self.config.links, num_items), self.link_to.device
        for history in histories:
            counter.add(history)
        from_N, to_N, count_N = counter.links()
        most_V = torch.zeros(num_items).scatter_reduce(0, from_N, count_N, "amax")
        self.link_offsets = torch.searchsorted(from_N, torch.arange(num_items + 1)).to(device)
        self.link_to = to_N.to(device)
        self.link_strength = (count_N / most_V[from_N] / self.config.temperature).to(device)

    def before_epoch(self, read: Read, epoch: int, batches: Iterable[Any], generator: torch.Generator) -> None:
        """Nothing."""

    def forward(self, read: Read, batch: tuple[History, Any], items: Targets, generator: torch.Generator) -> Tensor:
        """The weighted cost."""
        told = batch[0].without_last().item_idx
        told = told[told < items.num_items]
        if not self.config.weight or not len(self.link_offsets) or not len(told):
            return items.table().sum() * 0.0
        item_U, times_U = told.unique(return_counts=True)
        table_VD = items.table()
        with torch.autocast(table_VD.device.type, enabled=False):
            student_UD = self.dropout(table_VD[item_U]) * self.scale
            cost = sparse_teacher_loss(student_UD, times_U, table_VD, self._links(item_U), chunk=self.config.chunk)
        self.monitors = {"transition_cost": cost.detach()}
        return self.config.weight * cost

    def _links(self, item_U: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(row_N, item_N, strength_N)``: what follows each of ``item_U``."""
        first_U = self.link_offsets[item_U]
        count_U = self.link_offsets[item_U + 1] - first_U
        offsets = offsets_of(count_U)
        size = int(offsets[-1])
        row_N = row_of(offsets, size)
        at_N = first_U[row_N] + position_in_row(offsets, size)
        return row_N, self.link_to[at_N], self.link_strength[at_N]
