"""What a user hears over and over, beside what comes next: a memory of the most active songs, mixed in by a gate.

Tran et al., RecSys 2024, arXiv:2408.16578 (PISA). Departs: the moment of the activations is each reading's own; the encoder's
state comes with its session's vector already added, so that the gate weighs both together; one cost judges the sum that scores
are made of, where the article has a cost for each part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.objectives import Adapted, Items, Read, Task
from hpgr.ops.base_level import base_level, check_decay, readings_at_once


class LongTermMemory(nn.Module):
    """``u + weight · l``: ``l`` is the direction of ``Σ share · e`` over the user's most active items, by their share of all base
    levels of the history; ``u`` that of ``g₁ l + g₂ s`` with a gate ``softmax(W [l; s] + b)`` and ``s`` the encoder's state."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``num_items``: most active ones that are remembered. ``decay``, ``floor_s``: as in ``base_level``. ``weight``: of the
        memory in the score beside its part in the gate."""

        weighs: ClassVar[bool] = False
        reads_items: ClassVar[bool] = True

        num_items: int = 20
        decay: float = 0.5
        floor_s: float = 1.0
        weight: float = 0.5

        def __post_init__(self) -> None:
            if self.num_items < 1:
                raise ConfigError(f"num_items ({self.num_items}) must be at least 1")
            check_decay(self.decay, self.floor_s)
            if not 0 <= self.weight < float("inf"):
                raise ConfigError(f"weight ({self.weight}) must be finite and not negative")

        def build(self, *, dim: int) -> LongTermMemory:
            return LongTermMemory(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.gate = nn.Linear(2 * dim, 2)
        self.monitors: dict[str, Tensor] = {}

    def before_epoch(
        self, read: Read, items: Items, epoch: int, batches: Iterable[Any], generator: torch.Generator
    ) -> None:
        """Nothing must be known of the training data."""

    def forward(self, states_ND: Tensor, task: Task, items: Items) -> Adapted:
        """Each reading's answer; of a user without events the state as it is."""
        if not task.history.num_events:
            return Adapted(state_ND=states_ND)
        memory_ND = self.memory(task, items)
        state_ND = F.normalize(states_ND.to(memory_ND.dtype), dim=-1)
        share_N2 = self.gate(torch.cat([memory_ND, state_ND], 1)).to(memory_ND.dtype).softmax(1)
        mixed_ND = F.normalize(share_N2[:, :1] * memory_ND + share_N2[:, 1:] * state_ND, dim=-1)
        self.monitors = {"memory_share": share_N2[:, 0].detach().mean()}
        return Adapted(state_ND=mixed_ND + self.config.weight * memory_ND)

    def memory(self, task: Task, items: Items) -> Tensor:
        """``[N, D]``: ``l`` of each reading, of length 1; 0 where no item of the history is in the catalogue."""
        item_NM, share_NM = self.remembered(task, items.num_items)
        return F.normalize((share_NM[:, :, None] * items(item_NM)).sum(1), dim=-1)

    @torch.no_grad()
    def remembered(self, task: Task, num_items: int) -> tuple[Tensor, Tensor]:
        """``(item_NM, share_NM)``: the most active items until each reading when it asks, and their shares of all base levels;
        0 for an item outside the catalogue, and where there are fewer."""
        history, read_N = task.history, task.read_N.clamp(min=0)
        known_T = history.item_idx < num_items
        # Two items that training did not know need not be the same one.
        own_T = num_items + torch.arange(history.num_events, device=read_N.device)
        item_T = torch.where(known_T, history.item_idx, own_T)
        start_N, at_ms_N = history.user_offsets[history.user_of_event()[read_N]], history.next_time_ms()[read_N]
        step, pieces, how = readings_at_once(history.user_offsets), [], self.config
        for read_n, at_ms_n, start_n in zip(read_N.split(step), at_ms_N.split(step), start_N.split(step)):
            plays = item_T, history.time_ms, history.user_offsets
            strength_nL = base_level(*plays, read_n, at_ms_n, decay=how.decay, floor_s=how.floor_s)
            best_nM, place_nM = strength_nL.topk(min(how.num_items, strength_nL.shape[1]))
            event_nM = (start_n[:, None] + place_nM).clamp(max=history.num_events - 1)
            share_nM = best_nM / strength_nL.sum(1, keepdim=True) * known_T[event_nM]
            pieces.append((history.item_idx[event_nM], share_nM))
        item_NM, share_NM = (torch.cat(column) for column in zip(*pieces))
        return item_NM, share_NM
