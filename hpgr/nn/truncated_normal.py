"""How BERT draws the weights of its layers. Devlin et al., NAACL 2019, arXiv:1810.04805."""

from __future__ import annotations

from torch import nn

from hpgr.core.errors import ConfigError


def check_std(init_std: float | None) -> None:
    """Raises: ConfigError unless it is None or positive."""
    if init_std is not None and not init_std > 0:
        raise ConfigError(f"init_std ({init_std}) must be greater than 0, or None for each layer's own start")


def draw_linears(module: nn.Module, init_std: float | None) -> None:
    """Draws the weights of every linear layer of ``module`` from a normal cut at two deviations; shifts become 0.

    None leaves all as it is.
    """
    if init_std is None:
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=init_std, a=-2 * init_std, b=2 * init_std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
