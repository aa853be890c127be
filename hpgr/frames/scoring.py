"""A recommender that scores the whole catalogue: items, an encoder, an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged, shapes_are_fixed
from hpgr.encoders import all_inside
from hpgr.frames.catalogue_targets import CatalogueTargets
from hpgr.frames.monitors import monitors_of
from hpgr.frames.pairing import check_pairing
from hpgr.frames.prior import PopularityPrior
from hpgr.frames.stage import TrainableStage
from hpgr.objectives import Task
from hpgr.objectives.scores import sides
from hpgr.objectives.state_before_last import histories
from hpgr.retrieval import Index
from hpgr.retrieval.exact import best_products, best_vector, top_k

Moved: TypeAlias = Callable[[Jagged], Tensor]
"""Item vectors ``(T, D)`` as they are to others in their place ``[T, D]``."""


class ScoringRecommender(nn.Module):
    """Item vectors → encoder → states; a state held against the catalogue is a score.

    A query is one vector a user, or several, ``[B, Q, D]``: an item's score is then that of the vector it scores highest with,
    and training moves, for each prediction, the vector that is closest to the target. A user without history gets the
    training popularity.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``items``, ``trunk`` (None: the encoder reads item vectors), ``encoder`` and ``objective``: configs of the parts.
        ``auxiliary``: of a further cost of the same states, None for none. ``adapter``: of what moves each answer by the
        user's own events, None for nothing. ``interests``: of what makes several vectors of the states that a reading sees,
        None where the state that is read is the one vector.

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
        interests: Any = None
        mask_at: Literal["input", "fusion"] = "input"
        num_actions: int = 0

        def __post_init__(self) -> None:
            if self.num_actions < 0:
                raise ConfigError(f"num_actions ({self.num_actions}) must not be negative")
            if self.mask_at not in ("input", "fusion"):
                raise ConfigError(f"mask_at ({self.mask_at}) must be input or fusion")
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
        self.interests = config.interests.build(dim=self.items.dim) if config.interests else None
        self.monitors: dict[str, Tensor] = {}
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

    def count(self, histories: Iterable[History]) -> None:
        """Let the auxiliary, where it counts, count in the training histories, each user whole; before the first stage."""
        if self.auxiliary is not None and hasattr(self.auxiliary, "count"):
            self.auxiliary.count(histories, self.num_items)

    @property
    def targets(self) -> CatalogueTargets:
        """What the objective predicts, drawn from and scored with."""
        return CatalogueTargets(items=self.items, prior=self.prior)

    def states(self, history: History, hidden_T: Tensor | None = None) -> Jagged:
        """``(T, D)``: the encoder's states; ``hidden_T`` bool marks events whose item is replaced by the mask vector."""
        return self.encoder(self.tokens(history, hidden_T), self._apart(history))

    def tokens(self, history: History, hidden_T: Tensor | None = None, moved: Moved | None = None) -> Jagged:
        """``(T, D)``: what the encoder reads."""
        x_TD = self.items(history.item_idx)
        if moved is not None:
            x_TD = moved(history.jagged(x_TD))
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

    def loss(self, batch: History | tuple[History, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """``{"loss": mean over predictions, ...monitors}`` of a training batch: a history, perhaps with what the auxiliary takes."""
        history, beside = batch if isinstance(batch, tuple) else (batch, None)
        task = self.objective.training_task(history, generator)
        states_ND, further = self._encoded(task), None
        if self.adapter is not None:
            found = self.adapter(states_ND, task, self.items)
            states_ND, further, task = found.state_ND, found.cost, replace(task, weight_N=found.weight_N)
        cost = self.objective.loss(states_ND, task, self.targets, generator)
        if further is not None:
            cost = cost + further
        if self.auxiliary is not None:
            cost = cost + self.auxiliary(self._read, (history, beside), self.targets, generator)
        return {"loss": cost} | monitors_of(self)

    def query(self, history: History, moved: Moved | None = None) -> Tensor:
        """``[B, D]`` or ``[B, Q, D]``: what answers "what comes at ``now_ms``?"; zero where a next-item model has no history.

        ``moved`` changes the item vectors that are read.
        """
        task = self.objective.request_task(history)
        query = self._one_answer(task, moved) if self.interests is None else self._vectors(task, moved)
        return query.masked_fill((task.read_N < 0).view(-1, *[1] * (query.dim() - 1)), 0.0)

    def scores(self, history: History) -> Tensor:
        """``[B, V]``: the score of every catalogue item for each user at ``now_ms``."""
        return self.prior.fill(self.scored(self.query(history)), history.lengths == 0)

    def scored(self, query: Tensor) -> Tensor:
        """``[B, V]``: the catalogue's scores for queries as ``query`` makes them, without the prior."""
        first, *others = (query[:, None] if query.dim() == 2 else query).unbind(1)
        scores_BV = self.objective.logits(first, self.targets)
        for other in others:
            scores_BV = torch.maximum(scores_BV, self.objective.logits(other, self.targets))
        return scores_BV

    def candidate_scores(self, history: History, candidates: Candidates, query: Tensor | None = None) -> Tensor:
        """``[C]``: the score of each candidate for its user at ``now_ms``, as in ``scores`` before the prior; 0 for an item
        outside the catalogue. ``query``: that of this history, where it is at hand."""
        query = self.query(history) if query is None else query
        inside_C = candidates.item_idx < self.num_items
        rows_CD, bias_C = self.items.rows(candidates.item_idx.clamp(max=self.num_items - 1))
        query, rows_CD = sides(query, rows_CD, self._temperature)
        scores_C = best_products(query[candidates.user_of_candidate()], rows_CD)
        return (scores_C if bias_C is None else scores_C + bias_C) * inside_C

    def catalogue_vectors(self) -> tuple[Tensor, Tensor | None]:
        """``[V, D]`` and ``[V]``: what an index holds; with a query's vector they make its scores."""
        table_VD = self.items.table().detach()
        return sides(table_VD[:0], table_VD, self._temperature)[1], self.items.bias()

    def query_vectors(self, history: History, query: Tensor | None = None) -> Tensor:
        """``[B, D]`` or ``[B, Q, D]``: what an index is asked with. ``query``: that of this history, where it is at hand."""
        query = self.query(history) if query is None else query
        return sides(query, self.items.table()[:0], self._temperature)[0]

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
        works = self.auxiliary is not None or self.adapter is not None or bool(self._counting)
        return (
            TrainableStage(
                name="retrieve",
                module=self,
                loss=self.loss,
                batches="history" if self.auxiliary is None else self.config.auxiliary.takes,
                each_epoch=self._before_epoch if works else None,
                warm_epochs=getattr(self.adapter, "warm_epochs", 0),
            ),
        )

    @property
    def _counting(self) -> list[Any]:
        return [part for part in self.encoder.modules() if hasattr(part, "before_epoch")]

    def _before_epoch(self, epoch: int, batches: Iterable[Any], generator: torch.Generator) -> None:
        for part in self._counting:
            part.before_epoch(epoch, histories(batches))
        if self.adapter is not None:
            self.adapter.before_epoch(self._encoded, self.items, epoch, batches, generator)
        if self.auxiliary is not None:
            self.auxiliary.before_epoch(self._read, epoch, batches, generator)

    def _apart(self, history: History) -> History:
        """For an encoder that knows events of one item by it: two items that training did not know need not be the same one."""
        if not any(getattr(part, "reads_items", False) for part in all_inside(self.config.encoder)):
            return history
        own_T = self.num_items + torch.arange(history.num_events, device=history.item_idx.device)
        return replace(history, item_idx=torch.where(history.item_idx < self.num_items, history.item_idx, own_T))

    def _asks_newest(self, task: Task) -> bool:
        """Whether the encoder can do with the newest events alone, and they are all that is read."""
        if shapes_are_fixed() or not hasattr(self.encoder, "newest"):
            return False
        filled_B = task.history.lengths > 0
        return torch.equal(task.read_N[filled_B], task.history.user_offsets[1:][filled_B] - 1)

    def _newest(self, task: Task, moved: Moved | None) -> Tensor:
        filled_B = task.history.lengths > 0
        newest_ND = self.encoder.newest(self.tokens(task.history, task.hidden_T, moved), self._apart(task.history))
        return newest_ND.new_zeros((len(filled_B), self.items.dim)).masked_scatter(filled_B[:, None], newest_ND)

    def _one_answer(self, task: Task, moved: Moved | None) -> Tensor:
        """``[N, D]`` to a request: one vector, also where the encoder gives an event several states."""
        if self._asks_newest(task):
            return self._adapted(self._newest(task, moved), task)
        states, answer = self._encoded(task, moved), getattr(self.objective.cost, "answer", None)
        return self._adapted(states if answer is None else answer(states), task)

    def _read(self, task: Task) -> Tensor:
        return self._adapted(self._encoded(task), task)

    def _adapted(self, states_ND: Tensor, task: Task) -> Tensor:
        return states_ND if self.adapter is None else self.adapter(states_ND, task, self.items).state_ND

    def _encoded(self, task: Task, moved: Moved | None = None) -> Tensor:
        """``[N, D]``, or the several states of each event that the encoder gives; of a user's vectors the one to be moved."""
        if self.interests is not None:
            return self._closest(self._vectors(task, moved), task)
        if task.history.num_events == 0:
            return self.mask_D.new_zeros((task.read_N.shape[0], self.items.dim))
        x, rows_N = self.tokens(task.history, task.hidden_T, moved), task.read_N.clamp(min=0)
        if hasattr(self.encoder, "states_at"):
            states: Tensor = self.encoder.states_at(x, self._apart(task.history), rows_N)
            return states
        return self.encoder(x, self._apart(task.history)).values[rows_N]

    def _vectors(self, task: Task, moved: Moved | None = None) -> Tensor:
        """``[N, Q, D]``: the vectors of each reading."""
        assert self.interests is not None
        if task.history.num_events:
            states = self.encoder(self.tokens(task.history, task.hidden_T, moved), self._apart(task.history))
        else:
            states = task.history.jagged(self.mask_D.new_zeros((0, self.items.dim)))
        vectors_NQD: Tensor = self.interests(states, task.read_N, around=task.around)
        return vectors_NQD

    def _closest(self, vectors_NQD: Tensor, task: Task) -> Tensor:
        """``[N, D]``: of each prediction's vectors the one that scores its target highest; the others get no gradient."""
        assert task.target_N is not None, "what reads without a target does not go with several vectors"
        with torch.no_grad():
            rows_ND, _ = self.items.rows(task.target_N.clamp(max=self.num_items - 1))
            at_N = best_vector(*sides(vectors_NQD, rows_ND, self._temperature))
            used_Q = torch.bincount(at_N, minlength=vectors_NQD.shape[1])
        self.monitors = {"most_used_interest": used_Q.max() / used_Q.sum().clamp(min=1)}
        return vectors_NQD[torch.arange(at_N.shape[0], device=at_N.device), at_N]
