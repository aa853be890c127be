"""How states and the catalogue's vectors are held against each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets

# Numbers of a normalised table that may stand beside the table itself.
_NORMALISED = 2**25


def check_temperature(temperature: float | None) -> None:
    """Raises: ConfigError unless it is None or positive."""
    if temperature is not None and temperature <= 0:
        raise ConfigError(f"temperature ({temperature}) must be greater than 0, or None for dot products")


def sides(states_ND: Tensor, table_VD: Tensor, temperature: float | None = None) -> tuple[Tensor, Tensor]:
    """``([N, D], [V, D])``: states and table whose dot products are scores.

    ``temperature`` None: as they are; otherwise both have length 1, and their cosine is divided by it.
    """
    if temperature is None:
        return states_ND, table_VD
    return F.normalize(states_ND, dim=-1) / temperature, F.normalize(table_VD, dim=-1)


def catalogue_logits(states_ND: Tensor, items: Targets, temperature: float | None = None) -> Tensor:
    """``[N, V]``: scores of the whole catalogue, with the items' bias where they have one."""
    table_VD, bias_V = items.table(), items.bias()
    if temperature is None or table_VD.numel() <= _NORMALISED:
        held_ND, table_VD = sides(states_ND, table_VD, temperature)
        logits_NV = held_ND @ table_VD.T
    else:
        parts = (sides(states_ND, part, temperature) for part in table_VD.split(_NORMALISED // table_VD.shape[1]))
        logits_NV = torch.cat([held_ND @ part.T for held_ND, part in parts], 1)
    return logits_NV if bias_V is None else logits_NV + bias_V
