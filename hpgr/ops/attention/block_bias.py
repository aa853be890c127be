"""What a bias must offer beyond ``PairBias`` for the blocked path, which has a backward of its own."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


class BlockBias(Protocol):
    """The bias of one block; ``values [b | 1, Q, J]``."""

    values: Tensor

    def collect(self, upstream_bQJ: Tensor, into: tuple[Tensor, ...]) -> None:
        """Add the gradients to the tables; ``upstream_bQJ`` is the gradient of the scores, summed over the heads."""
        ...


class GroupBias(Protocol):
    """The bias among the events of one group of padded rows."""

    def block(self, queries: slice, keys: slice) -> BlockBias:
        """The pairs of these places in the rows."""
        ...


@runtime_checkable
class BlockwiseBias(Protocol):
    """A bias read from tables."""

    def of(self, query_rows: Tensor, key_rows: Tensor) -> Tensor:
        """As ``PairBias.of``."""
        ...

    def own(self, query_rows: Tensor) -> Tensor:
        """As ``PairBias.own``."""
        ...

    def tables(self) -> tuple[Tensor, ...]:
        """What gradients are due to, in the order in which ``collect`` takes them."""
        ...

    def among(self, index_bL: Tensor) -> GroupBias:
        """For rows whose events, by index, are queries and keys at once; consecutive, up to a row's padding."""
        ...
