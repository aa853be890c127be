"""A scoring recommender asked in rounds, each of which knows what the ones before have found. Li et al., AAAI 2024 (Ada-Retrieval).

Departs: see ``docs/models/ada-retrieval.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.jagged import Jagged
from hpgr.frames.pairing import kind
from hpgr.frames.scoring import ScoringRecommender
from hpgr.frames.stage import TrainableStage
from hpgr.items import Items
from hpgr.objectives import Task
from hpgr.objectives.state_before_last import before_last
from hpgr.retrieval.exact import top_k

Feedback = Literal["all", "unseen", "untold"]
Merge = Literal["concat", "best"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """Of ``B`` users: the query, the scores of the catalogue that it gives, rows found and which of them are items."""

    query_BD: Tensor
    scores_BV: Tensor
    rows_BK: Tensor
    there_BK: Tensor


class MultiRoundRecommender(nn.Module):
    """Round 0 is the recommender that it holds. Before each further round the item vectors that it reads are moved by the lists
    found so far, and its query by the queries so far; lists of one user never share an item.

    No single vector of a user makes these scores, so there is none for an index, and nothing is kept between requests.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``base``: config of the scoring recommender. ``rounds`` of ``per_round`` items. ``decay``: each round's cost weighs so many
        times that of the one before; 0 trains round 0 alone.

        ``feedback``: what may stand in the lists that are fed back: ``all`` items; those ``unseen`` in what is read; in training
        not what is to be predicted either (``untold``). ``merge``: first all that round 0 finds, then that of round 1 and
        so on (``concat``), or each item by the best of its scores (``best``).
        """

        base: Any
        item_adapter: Any
        user_adapter: Any
        rounds: int = 5
        per_round: int = 20
        decay: float = 0.3
        feedback: Feedback = "untold"
        merge: Merge = "concat"

        def __post_init__(self) -> None:
            for name in ("rounds", "per_round"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
            if not 0 <= self.decay <= 1:
                raise ConfigError(f"decay ({self.decay}) must lie in [0, 1]")
            for name, known in (("feedback", Feedback), ("merge", Merge)):
                if getattr(self, name) not in get_args(known):
                    raise UnknownNameError.of(name, getattr(self, name), get_args(known))
            if not isinstance(self.base, ScoringRecommender.Config):
                raise ConfigError(f"base ({kind(self.base)}) must be a scoring recommender, as sasrec() is")
            if getattr(self.base.encoder, "several_states", False):
                raise ConfigError(
                    f"base.encoder ({kind(self.base.encoder)}, which gives several states) must give one, which rounds move; take the "
                    "encoder inside"
                )
            if self.base.interests is not None:
                raise ConfigError(
                    f"base.interests ({kind(self.base.interests)}) must be None: rounds move one vector of a user"
                )

        def build(self, *, num_items: int) -> MultiRoundRecommender:
            return MultiRoundRecommender(self, num_items)

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.base = config.base.build(num_items=num_items)
        dim = self.base.items.dim
        self.item_adapter = config.item_adapter.build(dim=dim, list_len=config.per_round)
        self.user_adapter = config.user_adapter.build(dim=dim)

    @property
    def num_items(self) -> int:
        return self.base.num_items

    @property
    def items(self) -> Items:
        """Of the recommender that it holds."""
        found: Items = self.base.items
        return found

    def observe(self, counts_V: Tensor) -> None:
        """Take the training counts of the catalogue ``[V]``."""
        self.base.observe(counts_V)

    def count(self, histories: Iterable[History]) -> None:
        """As of the recommender that it holds."""
        self.base.count(histories)

    def rounds(self, history: History, kept_out: Jagged | None = None) -> Iterator[Round]:
        """The rounds in their order; ``kept_out``: rows of the catalogue that no list may hold."""
        shut_BV = torch.zeros((history.num_users, self.num_items), dtype=torch.bool, device=history.item_idx.device)
        if kept_out is not None:
            inside_N = kept_out.values < self.num_items
            shut_BV[kept_out.row_of()[inside_N], kept_out.values[inside_N]] = True
        queries: list[Tensor] = []
        lists: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.config.rounds):
            query_BD = self.base.query(history, partial(self.item_adapter, lists=list(lists)) if lists else None)
            if queries:
                query_BD = self.user_adapter(query_BD, queries)
            scores_BV = self.base.objective.logits(query_BD, self.base.targets)
            rows_BK, there_BK = self._list(scores_BV.detach().masked_fill(shut_BV, -torch.inf))
            yield Round(query_BD=query_BD, scores_BV=scores_BV, rows_BK=rows_BK, there_BK=there_BK)
            queries.append(query_BD)
            lists.append((self.base.items(rows_BK), there_BK))
            shut_BV = shut_BV.scatter(1, rows_BK, True)

    def scores(self, history: History) -> Tensor:
        """``[B, V]``: an order of the catalogue, whatever is left out of it later; round 0 alone gives the scores of ``base``."""
        told = None if self.config.feedback == "all" else history.jagged(history.item_idx)
        rounds = list(self.rounds(history, told))
        if self.config.merge == "best":
            scores_BV = torch.stack([found.scores_BV for found in rounds]).amax(0)
        else:
            scores_BV = _one_after_another(rounds)
        return self.base.prior.fill(scores_BV, history.lengths == 0)

    def loss(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Round 0 as ``base`` is trained; each further round is asked what follows all events of a window but its last."""
        found: dict[str, Tensor] = self.base.loss(batch, generator)
        history = batch[0] if isinstance(batch, tuple) else batch
        if not self.config.decay or self.config.rounds == 1 or not history.num_events:
            return found
        total = found["loss"]
        for number, (cost, already) in enumerate(self._further(history, generator), start=1):
            total = total + self.config.decay**number * cost
            found = found | {f"round_{number}": cost.detach(), "found_before": already}
        return found | {"loss": total}

    def stages(self) -> tuple[TrainableStage, ...]:
        (first,) = self.base.stages()
        # The first places are round 0's, which the adapters do not change.
        depth = min(50, self.config.rounds * self.config.per_round)
        second = TrainableStage(
            name="rounds",
            module=self,
            loss=self.loss,
            batches=first.batches,
            inherited=("base.",),
            each_epoch=first.each_epoch,
            metrics=(f"HitRate@{depth}", f"NDCG@{depth}", "NDCG@10"),
        )
        return first, second

    def _further(self, history: History, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """The cost of each round after the first, and the share of windows whose target stood in an earlier list."""
        told, feedback = before_last(history).history, self.config.feedback
        asked_B = told.lengths > 0
        target_B = history.item_idx[(history.user_offsets[1:] - 1).clamp(min=0)]
        kept_out = {
            "all": None,
            "unseen": told.jagged(told.item_idx),
            "untold": history.jagged(history.item_idx),
        }[feedback]
        hit_B = torch.zeros_like(asked_B)
        read_N = torch.arange(len(asked_B), device=asked_B.device)[asked_B]
        task = Task(history=told, hidden_T=None, read_N=read_N, target_N=target_B[asked_B])
        for number, found in enumerate(self.rounds(told, kept_out)):
            if number:
                cost = self.base.objective.loss(found.query_BD[asked_B], task, self.base.targets, generator)
                yield cost, hit_B[asked_B].float().mean().nan_to_num()
            hit_B = hit_B | ((found.rows_BK == target_B[:, None]) & found.there_BK).any(1)

    def _list(self, scores_BV: Tensor) -> tuple[Tensor, Tensor]:
        """Rows ``[B, K]`` of a round, and which of them are items: a catalogue may come to its end."""
        rows, best = top_k(scores_BV, self.config.per_round)
        missing = self.config.per_round - rows.shape[1]
        there = nn.functional.pad(best > -torch.inf, (0, missing))
        return nn.functional.pad(rows, (0, missing)), there


def _one_after_another(rounds: list[Round]) -> Tensor:
    """``[B, V]``: scores of the first round in which an item stands as high as that round's list; then come all others.

    So what is left out later, such as items that were seen, makes room for no item of a later round. Later scores are
    lowered below the earlier ones, and otherwise kept.
    """
    scores_BV = rounds[0].scores_BV.clone()
    open_BV = torch.ones_like(scores_BV, dtype=torch.bool)
    floor_B1 = None
    for number, found in enumerate(rounds):
        # The last round orders all that is left.
        least_B1 = (
            found.scores_BV.gather(1, found.rows_BK).masked_fill(~found.there_BK, torch.inf).amin(1, keepdim=True)
        )
        last = number == len(rounds) - 1
        taken_BV = open_BV if last else open_BV & (found.scores_BV >= least_B1)
        own_BV = found.scores_BV.masked_fill(~taken_BV, -torch.inf)
        if floor_B1 is not None:
            most_B1 = own_BV.amax(1, keepdim=True)
            own_BV = own_BV + (floor_B1 - 1 - most_B1).clamp(max=0).nan_to_num(posinf=0.0)
        scores_BV = torch.where(taken_BV, own_BV, scores_BV)
        low_B1 = own_BV.masked_fill(~taken_BV, torch.inf).amin(1, keepdim=True)
        floor_B1 = low_B1 if floor_B1 is None else torch.minimum(floor_B1, low_B1)
        open_BV = open_BV & ~taken_BV
    return scores_BV
