"""Costs against sampled items: softmax over a sample, and binary cross-entropy with a calibrated positive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets
from hpgr.objectives.held import held_against
from hpgr.objectives.losses.binary import generalised_binary_costs
from hpgr.objectives.losses.sampled_softmax import sampled_softmax_costs
from hpgr.objectives.negatives import Sampling, Sharing, mean_cost, other_items
from hpgr.objectives.scores import catalogue_logits, check_temperature, sides


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledSoftmax:
    """Cross-entropy over the target and a sample of the catalogue; for the options of drawing see ``Sampling``.

    ``temperature`` as in ``FullSoftmax``. ``log_q``: from every score, the target's too, goes the logarithm of how often
    its item is expected in the sample, so that what is learnt does not follow the sampling.

    Source: Klenitskiy & Vasilev, RecSys 2023, arXiv:2309.07602; Zhai et al., ICML 2024, arXiv:2402.17152 (cosine, a sample
    a prediction); Hidasi & Karatzoglou, CIKM 2018, arXiv:1706.03847 (in batch).
    Departs: a sample is shared by a prediction or a batch, not by a user, whom a cost does not know. With ``in_batch`` an
    item is corrected by its expected count from both sources together, where GRU4Rec takes each source alone.
    """

    num_negatives: int = 256
    alpha: float = 0.0
    shared: Sharing = "batch"
    in_batch: bool = False
    log_q: bool = False
    temperature: float | None = None

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        self._sampling()

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items, self.temperature)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        drawn = self._sampling().draw(target_N, items, generator)
        held = held_against(items, target_N, drawn)
        states_ND, table_UD = sides(states_ND, held.table_UD, self.temperature)
        bias_U = held.bias_U
        if self.log_q and target_N.shape[0]:
            expected_U = self._sampling().log_expected(items, target_N.shape[0], held.rows_U)
            expected_U = expected_U.to(items.log_share_V.dtype)
            bias_U = -expected_U if bias_U is None else bias_U - expected_U
        held = replace(held, table_UD=table_UD, bias_U=bias_U)
        return mean_cost(states_ND, held, sampled_softmax_costs)

    def _sampling(self) -> Sampling:
        return Sampling(num_negatives=self.num_negatives, alpha=self.alpha, shared=self.shared, in_batch=self.in_batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralisedBinary:
    """gBCE: binary cross-entropy against ``num_negatives`` uniform items a prediction, the positive's part weighed by β.

    With ``a = num_negatives / (V - 1)``, how often each other item is drawn, ``β = 1 - calibration · (1 - a)``. Calibration
    0 is plain binary cross-entropy, over-confident by the sampling; 1 learns probabilities.

    Source: Petrov & Macdonald, RecSys 2023, arXiv:2308.07192. Departs: ``-log σ(s)^β = β · softplus(-s)`` is taken as it
    stands, where the released code forms the power in float64; the positive itself is never drawn.
    """

    num_negatives: int = 256
    calibration: float = 0.75

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise ConfigError(f"num_negatives ({self.num_negatives}) must be at least 1")
        if not 0 <= self.calibration <= 1:
            raise ConfigError(f"calibration ({self.calibration}) must lie in [0, 1]")

    def beta(self, num_items: int) -> float:
        """The weight of the positive's part."""
        return 1 - self.calibration * (1 - self.num_negatives / max(1, num_items - 1))

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        cost = partial(generalised_binary_costs, beta=self.beta(items.num_items))
        drawn = other_items(self.num_negatives, target_N, items.num_items, generator)
        return mean_cost(states_ND, held_against(items, target_N, drawn), cost)
