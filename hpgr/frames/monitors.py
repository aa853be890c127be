"""What a frame's parts tell of themselves."""

from __future__ import annotations

from torch import Tensor, nn


def monitors_of(module: nn.Module) -> dict[str, Tensor]:
    """What the parts of ``module`` measured of themselves in their last call, by name."""
    found: dict[str, Tensor] = {}
    for part in module.modules():
        found |= getattr(part, "monitors", {})
    return found
