"""A recommender that scores the whole catalogue: items, an encoder, an objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.frames.prior import PopularityPrior
from hpgr.frames.stage import TrainableStage
from hpgr.items import Items
from hpgr.objectives import Task
from hpgr.objectives.scores import sides
from hpgr.retrieval import Index
from hpgr.retrieval.exact import best_products, top_k


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

    A query is one vector a user, or several, ``[B, Q, D]``: an item's score is then that of the vector it scores highest with,
    and training moves, for each prediction, the vector that is closest to the target. A user without history gets the
    training popularity.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``items``, ``trunk`` (None: the encoder reads item vectors), ``encoder`` and ``objective``: configs of the parts.
        ``interests``: makes several vectors of the states that a reading sees; None: the state that is read is the vector.

        ``mask_at``: hidden items are replaced before the trunk (``input``) or after it (``fusion``). The second lets a
        hidden item leak through its session token; it exists to show that, and needs a trunk.
        """

        items: Any
        encoder: Any
        objective: Any
        trunk: Any = None
        interests: Any = None
        mask_at: Literal["input", "fusion"] = "input"

        def __post_init__(self) -> None:
            if self.mask_at == "fusion" and self.trunk is None:
                raise ConfigError("mask_at (fusion) must have a trunk to mask after; give one or mask at the input")

        def build(self, *, num_items: int) -> ScoringRecommender:
            return ScoringRecommender(self, num_items)

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.items = config.items.build(num_items=num_items)
        self.trunk = config.trunk.build(dim=self.items.dim) if config.trunk else None
        self.encoder = config.encoder.build(dim=self.items.dim)
        self.interests = config.interests.build(dim=self.items.dim) if config.interests else None
        self.objective = config.objective.build()
        self.mask_D = nn.Parameter(torch.randn(self.items.dim) * 0.02)
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
        x_TD = self.items(history.item_idx)
        if hidden_T is not None and self.config.mask_at == "input":
            x_TD = torch.where(hidden_T[:, None], self.mask_D, x_TD)
        x = history.jagged(x_TD)
        if self.trunk is not None:
            x = self.trunk(x, history)
            if hidden_T is not None and self.config.mask_at == "fusion":
                blank_TD = self.mask_D + self.trunk.places(history)
                x = x.with_values(torch.where(hidden_T[:, None], blank_TD, x.values))
        return self.encoder(x, history)

    def loss(self, history: History, generator: torch.Generator) -> dict[str, Tensor]:
        """``{"loss": mean over predictions, ...monitors}`` of a training batch."""
        task = self.objective.training_task(history, generator)
        cost = self.objective.loss(self._read(task), task, self.targets, generator)
        return {"loss": cost} | monitors_of(self)

    def query(self, history: History) -> Tensor:
        """``[B, D]`` or ``[B, Q, D]``: what answers "what comes at ``now_ms``?"; zero where a next-item model has no history."""
        task = self.objective.request_task(history)
        states = self._read(task)
        return states.masked_fill((task.read_N < 0).view(-1, *[1] * (states.dim() - 1)), 0.0)

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

    def query_vectors(self, history: History) -> Tensor:
        """``[B, D]`` or ``[B, Q, D]``: what an index is asked with."""
        return sides(self.query(history), self.items.table()[:0], self._temperature)[0]

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
        return (TrainableStage(name="retrieve", module=self, loss=self.loss, batches="history"),)

    def _read(self, task: Task) -> Tensor:
        """``[N, D]``, or ``[N, Q, D]`` where no target says which of several vectors is to answer."""
        states = self.states(task.history, task.hidden_T)
        if self.interests is not None:
            vectors = self.interests(states, task.read_N, around=task.around)
        elif states.values.shape[0] == 0:
            vectors = states.values.new_zeros((task.read_N.shape[0], *states.values.shape[1:]))
        else:
            vectors = states.values[task.read_N.clamp(min=0)]
        return vectors if vectors.dim() == 2 or task.target_N is None else self._closest(vectors, task.target_N)

    def _closest(self, vectors_NQD: Tensor, target_N: Tensor) -> Tensor:
        """``[N, D]``: of each prediction's vectors the one that scores its target highest; the others get no gradient."""
        with torch.no_grad():
            rows_ND, _ = self.items.rows(target_N.clamp(max=self.num_items - 1))
            held_NQD, rows_ND = sides(vectors_NQD, rows_ND, self._temperature)
            at_N = torch.einsum("nqd,nd->nq", held_NQD, rows_ND).argmax(1)
            used_Q = torch.bincount(at_N, minlength=vectors_NQD.shape[1])
        if self.interests is not None:
            self.interests.monitors = {"most_used_interest": used_Q.max() / used_Q.sum().clamp(min=1)}
        return vectors_NQD[torch.arange(at_N.shape[0], device=at_N.device), at_N]


def monitors_of(module: nn.Module) -> dict[str, Tensor]:
    """What the parts of ``module`` measured of themselves in their last call, by name."""
    found: dict[str, Tensor] = {}
    for part in module.modules():
        found |= getattr(part, "monitors", {})
    return found
