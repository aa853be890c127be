"""Chains of tokens that follow events: what attention encoders keep so that one token more costs one row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.jagged import offsets_of, row_of
from hpgr.encoders.hstu_memory import Memory
from hpgr.nn.relative_bias import BatchBias, RelativeBias
from hpgr.ops.prefix_attention import prefix_attention
from hpgr.ops.weighing import Kind


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chains:
    """``N`` chains, the ``n``-th after event ``after_N[n]`` (ascending), with equally many tokens each.

    A token reads the events of its user that lie before ``stop_N`` and the tokens of its own chain up to itself. In places it
    stands right behind what it follows; its moment is ``asked_ms_N``. ``memory``: the events' keys and values; ``own``: those
    of the tokens, ``[N, J, H, K]`` a layer.
    """

    memory: Memory
    time_ms_T: Tensor
    user_offsets_B1: Tensor
    query_offsets_B1: Tensor
    after_N: Tensor
    stop_N: Tensor
    asked_ms_N: Tensor
    own: tuple[tuple[Tensor, Tensor], ...] = ()

    @classmethod
    def after(cls, memory: Memory, history: History, after_N: Tensor, asked_ms_T: Tensor, *, causal: bool) -> Chains:
        """Chains without tokens; ``asked_ms_T``: the moment of what follows each event. Not ``causal``: tokens read all events."""
        user_N = row_of(history.user_offsets, history.num_events)[after_N]
        return cls(
            memory=memory,
            time_ms_T=history.time_ms,
            user_offsets_B1=history.user_offsets,
            query_offsets_B1=offsets_of(torch.bincount(user_N, minlength=history.num_users)),
            after_N=after_N,
            stop_N=after_N + 1 if causal else history.user_offsets[1:][user_N],
            asked_ms_N=asked_ms_T[after_N],
        )

    @property
    def num_tokens(self) -> int:
        """``J``: how many each chain has."""
        return self.own[0][0].shape[1] if self.own else 0

    def places(self) -> Tensor:
        """``[N]``: the place in its row of the next token."""
        start_N = self.user_offsets_B1[row_of(self.query_offsets_B1, self.after_N.shape[0])]
        return self.after_N + 1 - start_N + self.num_tokens

    def bias(self, table: RelativeBias | None) -> tuple[BatchBias, Tensor] | None:
        """Of the next token with events and with the tokens of its chain."""
        if table is None:
            return None
        at_N = self.after_N + 1 + self.num_tokens
        return table.between(self.asked_ms_N, self.time_ms_T, at_N), table.behind(self.num_tokens + 1)

    def read(
        self,
        depth: int,
        qkv: tuple[Tensor, Tensor, Tensor],
        bias: tuple[BatchBias, Tensor] | None,
        *,
        weights: Kind,
        scale: float,
        normaliser: float | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``[N, H, V]``: what the next token reads in one layer; and that layer's ``own`` with it."""
        q_NHK, *new = qkv
        own_k, own_v = (x[:, None] for x in new)
        if self.own:
            own_k, own_v = (torch.cat([old, one], 1) for old, one in zip(self.own[depth], (own_k, own_v)))
        read_NHV = prefix_attention(
            q_NHK,
            self.memory.keys[depth],
            self.memory.values[depth],
            own_k,
            own_v,
            self.user_offsets_B1,
            self.query_offsets_B1,
            self.stop_N,
            weights=weights,
            scale=scale,
            normaliser=normaliser,
            bias=None if bias is None else bias[0],
            own_bias_J=None if bias is None else bias[1],
        )
        return read_NHV, (own_k, own_v)

    def longer(self, own: list[tuple[Tensor, Tensor]]) -> Chains:
        """With one token more, as the layers gave them."""
        return replace(self, own=tuple(own))
