"""From the scores of a block to its weights and back, in place; the two kinds of weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.attention.sight import Hidden
from hpgr.ops.weighing import Kind


class Scratch:
    """``count`` blocks of up to ``numbers``, which all parts of a group share: new pages cost more than the arithmetic."""

    def __init__(self, like: Tensor, count: int, numbers: int) -> None:
        self._flat = [like.new_empty(numbers) for _ in range(count)]

    def block(self, which: int, shape: tuple[int, int, int], *, apart: bool) -> Tensor:
        """``[n, Q, J]``; ``apart``: rows do not begin at multiples of a large power of two, which share cache lines."""
        n, queries, keys = shape
        wide = keys + 16 if apart and keys >= 256 else keys
        return self._flat[which][: n * queries * wide].view(n, queries, wide)[:, :, :keys]


class SiluWeights:
    """``silu(score)``; keys may come in parts."""

    in_parts = True
    num_blocks = 3

    def forward(self, scores_nQJ: Tensor, hidden: Hidden | None) -> Tensor:
        """The weights, in the memory of the scores."""
        weights_nQJ = F.silu(scores_nQJ, inplace=True)
        if hidden is not None:
            hidden.fill(weights_nQJ, 0.0)
        return weights_nQJ

    def backward(
        self, scores_nQJ: Tensor, upstream_nQJ: Tensor, spare_nQJ: Tensor, hidden: Hidden | None
    ) -> tuple[Tensor, Tensor]:
        """``(weights, gradient of the scores)``, in the memory of the first two."""
        # silu' = s + x s (1 - s), which is w + (1 - w) s with the weight w = x s.
        sigmoid_nQJ = torch.sigmoid(scores_nQJ, out=spare_nQJ)
        weights_nQJ = scores_nQJ.mul_(sigmoid_nQJ)
        slope_nQJ = torch.lerp(weights_nQJ, weights_nQJ.new_ones(()), sigmoid_nQJ, out=spare_nQJ)
        grad_nQJ = upstream_nQJ.mul_(slope_nQJ)
        if hidden is not None:
            hidden.fill(weights_nQJ, 0.0)
            hidden.fill(grad_nQJ, 0.0)
        return weights_nQJ, grad_nQJ


class SoftmaxWeights:
    """``softmax`` over what is visible; a query's keys must come in one part."""

    in_parts = False
    num_blocks = 3

    def forward(self, scores_nQJ: Tensor, hidden: Hidden | None) -> Tensor:
        """The weights, in the memory of the scores."""
        if hidden is not None:
            hidden.fill(scores_nQJ, torch.finfo(scores_nQJ.dtype).min)
        return torch.softmax(scores_nQJ, -1, out=scores_nQJ)

    def backward(
        self, scores_nQJ: Tensor, upstream_nQJ: Tensor, spare_nQJ: Tensor, hidden: Hidden | None
    ) -> tuple[Tensor, Tensor]:
        """``(weights, gradient of the scores)``, in the memory of the first two."""
        weights_nQJ = self.forward(scores_nQJ, hidden)
        per_query = torch.linalg.vecdot(weights_nQJ, upstream_nQJ)[..., None]
        return weights_nQJ, upstream_nQJ.sub_(per_query).mul_(weights_nQJ)


def block_weights(kind: Kind) -> SiluWeights | SoftmaxWeights:
    """The one that ``kind`` names."""
    return SiluWeights() if kind == "silu" else SoftmaxWeights()
