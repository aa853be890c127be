"""A recommender that scores the whole catalogue: items, an encoder, an objective."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged, shapes_are_fixed
from hpgr.frames.pairing import check_pairing
from hpgr.frames.prior import PopularityPrior
from hpgr.frames.stage import TrainableStage
from hpgr.items import Items
from hpgr.objectives import Task
from hpgr.objectives.scores import sides
from hpgr.retrieval import Index
from hpgr.retrieval.exact import top_k


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueTargets:
    """What an objective holds states against: the output side of ``items``, and what training counted."""

    items: Items
    prior: PopularityPrior

    @property
    def num_items(self) -> int:
        return self.items.num_items

    @property
    def log_share_V(self) -> Tensor:
        return self.prior.log_share_V

    @property
    def sparse(self) -> bool:
        return self.items.sparse

    def table(self) -> Tensor:
        return self.items.table()

    def bias(self) -> Tensor | None:
        return self.items.bias()

    def rows(self, item_idx: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.items.rows(item_idx)


class ScoringRecommender(nn.Module):
    """Item vectors → encoder → states; a state held against the catalogue is a score.

    A user without history gets the training popularity.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``items``, ``trunk`` (None: the encoder reads item vectors), ``encoder`` and ``objective``: configs of the parts.
        ``auxiliary``: of a further cost of the same states, None for none. ``adapter``: of what moves each answer by the
        user's own events, None for nothing.

        ``mask_at``: hidden items are replaced before the trunk (``input``) or after it (``fusion``). The second lets a
        hidden item leak through its session token; it exists to show that, and needs a trunk. ``num_actions``: kinds of
        events that are told apart where an event is read, 0 to ignore them.
        """

        items: Any
        encoder: Any
        objective: Any
        trunk: Any = None
        auxiliary: Any = None
        adapter: Any = None
        mask_at: Literal["input", "fusion"] = "input"
        num_actions: int = 0

        def __post_init__(self) -> None:
            if self.num_actions < 0:
                raise ConfigError(f"num_actions ({self.num_actions}) must not be negative")
            if self.mask_at == "fusion" and self.trunk is None:
                raise ConfigError("mask_at (fusion) must have a trunk to mask after; give one or mask at the input")
            check_pairing(self)

        def build(self, *, num_items: int) -> ScoringRecommender:
            return ScoringRecommender(self, num_items)

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.items = config.items.build(num_items=num_items)
        self.trunk = config.trunk.build(dim=self.items.dim) if config.trunk else None
        self.encoder = config.encoder.build(dim=self.items.dim)
        self.objective = config.objective.build()
        self.auxiliary = config.auxiliary.build(dim=self.items.dim) if config.auxiliary else None
        self.adapter = config.adapter.build(dim=self.items.dim) if config.adapter else None
        self.mask_D = nn.Parameter(torch.randn(self.items.dim) * 0.02)
        self.actions = nn.Embedding(config.num_actions + 1, self.items.dim) if config.num_actions else None
        if self.actions is not None:
            nn.init.normal_(self.actions.weight, std=0.02)
        self.prior = PopularityPrior(num_items)

    @property
    def num_items(self) -> int:
        return self.items.num_items

    def observe(self, counts_V: Tensor) -> None:
        """Take the training counts of the catalogue ``[V]``."""
        self.prior.observe(counts_V)

    @property
    def targets(self) -> CatalogueTargets:
        """What the objective predicts, drawn from and scored with."""
        return CatalogueTargets(items=self.items, prior=self.prior)

    def states(self, history: History, hidden_T: Tensor | None = None) -> Jagged:
        """``(T, D)``: the encoder's states; ``hidden_T`` bool marks events whose item is replaced by the mask vector."""
        return self.encoder(self.tokens(history, hidden_T), history)

    def tokens(self, history: History, hidden_T: Tensor | None = None) -> Jagged:
        """``(T, D)``: what the encoder reads."""
        x_TD = self.items(history.item_idx)
        if self.actions is not None:
            x_TD = x_TD + self.actions(history.action.clamp(max=self.config.num_actions))
        if hidden_T is not None and self.config.mask_at == "input":
            x_TD = torch.where(hidden_T[:, None], self.mask_D, x_TD)
        x = history.jagged(x_TD)
        if self.trunk is not None:
            x = self.trunk(x, history)
            if hidden_T is not None and self.config.mask_at == "fusion":
                blank_TD = self.mask_D + self.trunk.places(history)
                x = x.with_values(torch.where(hidden_T[:, None], blank_TD, x.values))
        return x

    def loss(self, batch: History | tuple[History, History], generator: torch.Generator) -> dict[str, Tensor]:
        """``{"loss": mean over predictions, ...monitors}`` of a training batch: a history, or a pair for the auxiliary."""
        pair = batch if isinstance(batch, tuple) else (batch, batch)
        task = self.objective.training_task(pair[0], generator)
        states_ND, further = self._encoded(task), None
        if self.adapter is not None:
            found = self.adapter(states_ND, task, self.items)
            states_ND, further, task = found.state_ND, found.cost, replace(task, weight_N=found.weight_N)
        cost = self.objective.loss(states_ND, task, self.targets, generator)
        if further is not None:
            cost = cost + further
        if self.auxiliary is not None:
            cost = cost + self.auxiliary(self._read, pair, self.targets, generator)
        return {"loss": cost} | monitors_of(self)

    def query(self, history: History) -> Tensor:
        """``[B, D]``: the state that answers "what comes at ``now_ms``?"; zero where a next-item model has no history."""
        task = self.objective.request_task(history)
        if self._asks_newest(task):
            states = self._newest(task)
        else:
            states = self._encoded(task)
            answer = getattr(self.objective.cost, "answer", None)
            states = states if answer is None else answer(states)
        states_BD = self._adapted(states, task)
        return states_BD.masked_fill((task.read_N < 0)[:, None], 0.0)

    def scores(self, history: History) -> Tensor:
        """``[B, V]``: the score of every catalogue item for each user at ``now_ms``."""
        scores_BV = self.objective.logits(self.query(history), self.targets)
        return self.prior.fill(scores_BV, history.lengths == 0)

    def candidate_scores(self, history: History, candidates: Candidates, query_BD: Tensor | None = None) -> Tensor:
        """``[C]``: the score of each candidate for its user at ``now_ms``, as in ``scores`` before the prior; 0 for an item
        outside the catalogue. ``query_BD``: the ``query`` of this history, where it is at hand."""
        query_BD = self.query(history) if query_BD is None else query_BD
        inside_C = candidates.item_idx < self.num_items
        rows_CD, bias_C = self.items.rows(candidates.item_idx.clamp(max=self.num_items - 1))
        query_BD, rows_CD = sides(query_BD, rows_CD, self._temperature)
        scores_C = (query_BD[candidates.user_of_candidate()] * rows_CD).sum(-1)
        return (scores_C if bias_C is None else scores_C + bias_C) * inside_C

    def catalogue_vectors(self) -> tuple[Tensor, Tensor | None]:
        """``[V, D]`` and ``[V]``: what an index holds; with a query's vector they make its scores."""
        table_VD = self.items.table().detach()
        return sides(table_VD[:0], table_VD, self._temperature)[1], self.items.bias()

    def query_vectors(self, history: History, query_BD: Tensor | None = None) -> Tensor:
        """``[B, D]``: what an index is asked with. ``query_BD``: the ``query`` of this history, where it is at hand."""
        query_BD = self.query(history) if query_BD is None else query_BD
        return sides(query_BD, self.items.table()[:0], self._temperature)[0]

    def found(self, history: History, index: Index, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
        """``top_k`` of ``scores``, as far as ``index`` over ``catalogue_vectors`` finds it."""
        rows_BK, scores_BK = index.search(self.query_vectors(history), k, excluded=excluded)
        for b in (history.lengths == 0).nonzero().squeeze(1).tolist():
            if excluded is None:
                popular = top_k(self.prior.log_share_V[None], k)
            else:
                own = excluded.values[excluded.offsets[b] : excluded.offsets[b + 1]]
                popular = top_k(self.prior.log_share_V[None], k, excluded=Jagged.from_lengths(own, [len(own)]))
            rows_BK[b], scores_BK[b] = popular[0][0], popular[1][0]
        return rows_BK, scores_BK

    @property
    def _temperature(self) -> float | None:
        # Costs without one are dot products.
        return getattr(self.objective.cost, "temperature", None)

    def stages(self) -> tuple[TrainableStage, ...]:
        pairs = self.auxiliary is not None and self.config.auxiliary.takes_pairs
        works = self.auxiliary is not None or self.adapter is not None
        return (
            TrainableStage(
                name="retrieve",
                module=self,
                loss=self.loss,
                batches="pairs" if pairs else "history",
                each_epoch=self._before_epoch if works else None,
            ),
        )

    def _before_epoch(self, epoch: int, batches: Iterable[Any], generator: torch.Generator) -> None:
        if self.adapter is not None:
            self.adapter.before_epoch(self._encoded, self.items, epoch, batches, generator)
        if self.auxiliary is not None:
            self.auxiliary.before_epoch(self._read, epoch, batches, generator)

    def _asks_newest(self, task: Task) -> bool:
        """Whether the encoder can do with the newest events alone, and they are all that is read."""
        if shapes_are_fixed() or not hasattr(self.encoder, "newest"):
            return False
        filled_B = task.history.lengths > 0
        return torch.equal(task.read_N[filled_B], task.history.user_offsets[1:][filled_B] - 1)

    def _newest(self, task: Task) -> Tensor:
        filled_B = task.history.lengths > 0
        newest_ND = self.encoder.newest(self.tokens(task.history, task.hidden_T), task.history)
        return newest_ND.new_zeros((len(filled_B), self.items.dim)).masked_scatter(filled_B[:, None], newest_ND)

    def _read(self, task: Task) -> Tensor:
        return self._adapted(self._encoded(task), task)

    def _adapted(self, states_ND: Tensor, task: Task) -> Tensor:
        return states_ND if self.adapter is None else self.adapter(states_ND, task, self.items).state_ND

    def _encoded(self, task: Task) -> Tensor:
        if task.history.num_events == 0:
            return self.mask_D.new_zeros((task.read_N.shape[0], self.items.dim))
        x, rows_N = self.tokens(task.history, task.hidden_T), task.read_N.clamp(min=0)
        if hasattr(self.encoder, "states_at"):
            states: Tensor = self.encoder.states_at(x, task.history, rows_N)
            return states
        return self.encoder(x, task.history).values[rows_N]


def monitors_of(module: nn.Module) -> dict[str, Tensor]:
    """What the parts of ``module`` measured of themselves in their last call, by name."""
    found: dict[str, Tensor] = {}
    for part in module.modules():
        found |= getattr(part, "monitors", {})
    return found
