"""What one call of ``prefix_attention`` reads."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hpgr.ops.weighing import check_heads, check_offsets


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PrefixReading:
    """The arguments of ``prefix_attention`` but those of the weights."""

    q_NHK: Tensor
    k_THK: Tensor
    v_THK: Tensor
    own_k_NJHK: Tensor
    own_v_NJHV: Tensor
    user_offsets_B1: Tensor
    query_offsets_B1: Tensor
    stop_N: Tensor
    own_bias_J: Tensor | None

    def check(self) -> None:
        """Raises: ValueError for shapes that do not fit."""
        check_heads(self.q_NHK, self.k_THK, self.v_THK, same_rows=False)
        check_offsets("user_offsets", self.user_offsets_B1, self.k_THK.shape[0])
        check_offsets("query_offsets", self.query_offsets_B1, self.q_NHK.shape[0])
        num_queries, num_own = self.q_NHK.shape[0], self.own_k_NJHK.shape[1]
        own = (num_queries, num_own)
        if self.own_k_NJHK.shape != (*own, *self.k_THK.shape[1:]) or self.own_v_NJHV.shape != (
            *own,
            *self.v_THK.shape[1:],
        ):
            raise ValueError(
                f"own keys and values must be (queries, own, heads, width) as queries, keys and values are; got "
                f"{tuple(self.own_k_NJHK.shape)} and {tuple(self.own_v_NJHV.shape)} for {num_queries} queries"
            )
        if self.user_offsets_B1.shape != self.query_offsets_B1.shape or self.stop_N.shape != (num_queries,):
            raise ValueError(
                f"offsets {tuple(self.user_offsets_B1.shape)} and {tuple(self.query_offsets_B1.shape)} must be of the same "
                f"users, and stop {tuple(self.stop_N.shape)} must have one row for each of the {num_queries} queries"
            )
        if self.own_bias_J is not None and self.own_bias_J.shape != (num_own,):
            raise ValueError(
                f"own_bias {tuple(self.own_bias_J.shape)} must have one value for each of {num_own} columns"
            )
