"""A recommender as it is before it learns."""

from __future__ import annotations

from typing import Any

import torch

from hpgr.core.seeds import derive


def beginning(model: Any, *, seed: int, num_items: int) -> Any:
    """The frame of a model's config with the weights that training with ``seed`` begins with; sets torch's seed."""
    torch.manual_seed(derive(seed, "initial weights"))
    return model.build(num_items=num_items)
