"""What a rule shows of a group of rows, block by block: which keys to look at, and which of them to hide."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.attention.row_groups import RowGroup


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """Pairs of a block to blank: above a diagonal, from ``column`` on; or those of ``mask``, ``[b | 1, Q, J]``."""

    column: int
    diagonal: int
    mask: Tensor | None

    def fill(self, x_nQJ: Tensor, value: float) -> None:
        """Put ``value`` into the hidden pairs of ``[b * H, Q, J]``."""
        part = x_nQJ[:, :, self.column :]
        if self.mask is not None:
            rows = self.mask.shape[0]
            part.view(rows, -1, *part.shape[1:]).masked_fill_(self.mask[:, None], value)
        elif value == 0:
            part.tril_(self.diagonal)
        else:
            above = torch.ones(part.shape[1:], dtype=torch.bool, device=part.device).triu_(self.diagonal + 1)
            part.masked_fill_(above, value)


class Sight:
    """The rule on one group; ``hide_padding`` where keys beyond a row's end would weigh something.

    Where the rule knows groups or times, keys are skipped in runs of ``run``.
    """

    def __init__(self, rule: MaskRule, group: RowGroup, *, hide_padding: bool, run: int) -> None:
        self.rule = rule
        self.length, self.run, self.device = group.length, run, group.index_bL.device
        self._there_bL = group.there_bL if hide_padding and group.padded and not rule.causal else None
        self._group_bL = None if rule.group_T is None else rule.group_T[group.index_bL]
        self._time_bL = None if rule.time_T is None else rule.time_T[group.index_bL]
        self._places_only = self._group_bL is None and self._time_bL is None and self._there_bL is None
        self._runs = None if self._places_only else self._overlaps(group.there_bL)

    def keys(self, start: int, stop: int) -> tuple[int, int]:
        """``(first, last + 1)`` of the keys that any of the queries ``start … stop - 1`` may read."""
        low, high = 0, stop if self.rule.causal else self.length
        if self.rule.window is not None:
            low, high = max(0, start - self.rule.window + 1), min(high, stop + self.rule.window - 1)
        if self._runs is not None:
            seen = self._runs[start // self.run : (stop - 1) // self.run + 1].any(0).nonzero().flatten()
            low, high = max(low, int(seen[0]) * self.run), min(high, (int(seen[-1]) + 1) * self.run)
        return low, high

    def hidden(self, queries: slice, keys: slice) -> Hidden | None:
        """What to blank in this block; None where all of it is visible."""
        if self._places_only and self.rule.window is None:
            if not self.rule.causal or keys.stop <= queries.start + 1:
                return None
            first = max(queries.start, keys.start)
            return Hidden(first - keys.start, queries.start - first, None)
        back_QJ = torch.arange(queries.start, queries.stop, device=self.device)[:, None] - torch.arange(
            keys.start, keys.stop, device=self.device
        )
        hidden = (back_QJ < 0 if self.rule.causal else torch.zeros_like(back_QJ, dtype=torch.bool))[None]
        if self.rule.window is not None:
            hidden = hidden | (back_QJ.abs() >= self.rule.window)
        if self._group_bL is not None:
            hidden = hidden | (self._group_bL[:, queries, None] != self._group_bL[:, None, keys])
        if self._time_bL is not None:
            later = self._time_bL[:, None, keys] >= self._time_bL[:, queries, None]
            hidden = hidden | (later & (back_QJ != 0))
        if self._there_bL is not None:
            hidden = hidden | ~self._there_bL[:, None, keys]
        return Hidden(0, 0, hidden)

    def _overlaps(self, there_bL: Tensor) -> Tensor:
        """Bool ``[runs, runs]``: may a query of one run read a key of the other, as far as smallest and largest tell?"""
        count = -(-self.length // self.run)
        seen = torch.eye(count, dtype=torch.bool, device=there_bL.device)[None]
        others = torch.ones_like(seen)
        if self._group_bL is not None:
            low_bR, high_bR = _extremes(self._group_bL, there_bL, self.run)
            others = others & (low_bR[:, :, None] <= high_bR[:, None]) & (low_bR[:, None] <= high_bR[:, :, None])
        if self._time_bL is not None:
            low_bR, high_bR = _extremes(self._time_bL, there_bL, self.run)
            others = others & (low_bR[:, None] < high_bR[:, :, None])
        return (seen | others).any(0)


def _extremes(fact_bL: Tensor, there_bL: Tensor, run: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest ``[b, runs]`` of each run; where a row has ended, an empty range."""
    wide = -fact_bL.shape[1] % run
    limits = torch.iinfo(fact_bL.dtype) if not fact_bL.is_floating_point() else torch.finfo(fact_bL.dtype)
    ends = []
    for blank in (limits.max, limits.min):
        filled = F.pad(fact_bL.masked_fill(~there_bL, blank), (0, wide), value=blank)
        runs_bRS = filled.unflatten(1, (-1, run))
        ends.append(runs_bRS.amin(2) if blank == limits.max else runs_bRS.amax(2))
    return ends[0], ends[1]
