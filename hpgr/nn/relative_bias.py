"""A learned bias for how far apart two events stand, in places and in time.

Source: research code of Zhai et al., ICML 2024, arXiv:2402.17152: tables of ``2N - 1`` places and 129 time buckets,
shared by the heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.nn.relative_bias_blocks import Group, GroupedBias, Place
from hpgr.ops.length_blocks import gathered
from hpgr.ops.time_bucket import HSTU_BUCKETS, hstu_bucket_of_ms

# Buckets of pairs are kept, a byte each, in rows up to this long: no more than a state of 64 floats an event.
_REMEMBERED = 256


class RelativeBias(nn.Module):
    """``Place[j - i] + Time[bucket(t_i - t_j)]``."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Distances of ``num_positions`` places or more share the outermost row; None: no place term."""

        num_positions: int | None = 512
        time: bool = True

        def __post_init__(self) -> None:
            if self.num_positions is not None and self.num_positions < 1:
                raise ConfigError(f"num_positions ({self.num_positions}) must be at least 1, or None for time only")
            if self.num_positions is None and not self.time:
                raise ConfigError("time (False) must be True where num_positions is None; a bias needs one of the two")

        def build(self) -> RelativeBias:
            return RelativeBias(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        places = config.num_positions
        self.place = nn.Parameter(torch.randn(2 * places - 1) * 0.02) if places else None
        self.time = nn.Parameter(torch.randn(HSTU_BUCKETS) * 0.02) if config.time else None

    def between(self, query_time_ms: Tensor, key_time_ms: Tensor, query_at: Tensor | None) -> BatchBias:
        """The bias of one batch, for queries ``[Q]`` and keys ``[T]``, in milliseconds.

        ``query_at [Q]`` int64: the row of the keys at which each query stands; None where the queries are the keys.
        Candidates stand right after their user's history, all of a user at one row: its ``user_offsets[1:]``.
        The time of a query is the caller's choice: its own, or that of the event to be predicted (t_{i+1}, and now for
        the last), which is honest only where that moment is known when the question is asked.

        Raises: ValueError unless each query has one place.
        """
        placed = key_time_ms if query_at is None else query_at
        if placed.shape != query_time_ms.shape:
            raise ValueError(
                f"query_at {tuple(placed.shape)} must have a row for each query {tuple(query_time_ms.shape)}"
            )
        return BatchBias(self.place, self.time, query_time_ms, key_time_ms, query_at)

    def behind(self, count: int) -> Tensor:
        """``[count]``: the bias of a query with what stands ``count - 1 … 0`` places before it at the same moment."""
        like = next(self.parameters())
        none = torch.zeros(count, dtype=torch.int64, device=like.device)
        ahead = torch.arange(1 - count, 1, device=like.device)
        return BatchBias(self.place, self.time, none, none, none)._looked_up(ahead, none)

    def on(self, pairs: BatchBias) -> BatchBias:
        """These tables on the pairs of another layer, whose buckets need not be found again."""
        return replace(pairs, place=self.place, time=self.time)


@dataclass(frozen=True, slots=True, eq=False)
class BatchBias:
    """A ``BlockwiseBias``: the tables, and the times and places of one batch; milliseconds. No ``query_at``: its own row."""

    place: Tensor | None
    time: Tensor | None
    query_time_Q: Tensor
    key_time_T: Tensor
    query_at_Q: Tensor | None
    memory: dict[tuple[int, ...], dict[Place, Tensor]] = field(default_factory=dict)

    def of(self, query_rows: Tensor, key_rows: Tensor) -> Tensor:
        """The bias of each pair, in the broadcast shape of the rows."""
        delta_ms = self.query_time_Q[query_rows] - gathered(self.key_time_T, key_rows)
        at = query_rows if self.query_at_Q is None else self.query_at_Q[query_rows]
        return self._looked_up(key_rows - at, delta_ms)

    def own(self, query_rows: Tensor) -> Tensor:
        """The bias of a query with itself: no distance, no time."""
        nothing = torch.zeros_like(query_rows)
        return self._looked_up(nothing, nothing)

    def tables(self) -> tuple[Tensor, ...]:
        """The tables that there are."""
        return tuple(table for table in (self.place, self.time) if table is not None)

    def among(self, index_bL: Tensor) -> GroupedBias:
        """For rows of events that are queries and keys at once."""
        memory = None
        if index_bL.shape[1] <= _REMEMBERED:
            rows = (*index_bL[:, 0].tolist(), index_bL.shape[1])
            memory = self.memory.setdefault(rows, {})
        at_bL = None if self.query_at_Q is None else self.query_at_Q[index_bL]
        times = (self.query_time_Q[index_bL].double(), self.key_time_T[index_bL].double())
        return GroupedBias(self.place, self.time, Group(*times, index_bL, at_bL, memory))

    def _looked_up(self, ahead: Tensor, delta_ms: Tensor) -> Tensor:
        terms = []
        if self.place is not None:
            reach = self.place.shape[0] // 2
            terms.append(gathered(self.place, ahead.clamp(-reach, reach) + reach))
        if self.time is not None:
            terms.append(gathered(self.time, hstu_bucket_of_ms(delta_ms)))
        return sum(terms[1:], terms[0])
