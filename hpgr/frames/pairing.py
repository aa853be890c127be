"""Which parts of a scoring recommender cannot go together, each with its reason and remedy."""

from __future__ import annotations

from typing import Any

from hpgr.core.errors import ConfigError


def check_pairing(config: Any) -> None:
    """Refuse the config of a ``ScoringRecommender`` whose parts do not fit.

    Parts say of themselves what they need: a part that reads later events has ``causal`` False.

    Raises: ConfigError with the first fault.
    """
    objective, adapter, cost = config.objective, config.adapter, getattr(config.objective, "cost", None)
    if getattr(objective, "needs_causal", False):
        for slot in ("trunk", "encoder"):
            part = getattr(config, slot)
            if getattr(part, "causal", True) is False:
                raise ConfigError(
                    f"{slot} ({kind(part)}, which reads later events) must be causal under {kind(objective)}: it would read "
                    "what it is to predict; take a causal one, MaskedItem or LastItem"
                )
    if getattr(cost, "needs_distance", False) and not getattr(config.items, "distance", False):
        raise ConfigError(
            f"items ({kind(config.items)}, which score by dot products) must score by distance under {kind(cost)}; "
            "set items.distance=true"
        )
    _check_several(config, cost)
    if adapter is None:
        return
    if not getattr(objective, "takes_weights", False):
        raise ConfigError(
            f"objective ({kind(objective)}) must tell all events before its predictions under {kind(adapter)}, which learns "
            "from them, and take weights; take NextItem"
        )
    if getattr(adapter, "weighs", False) and not hasattr(cost, "costs"):
        raise ConfigError(
            f"cost ({kind(cost)}) must tell what each prediction costs under {kind(adapter)}, which weighs them; "
            "take MarginRanking"
        )


def _check_several(config: Any, cost: Any) -> None:
    """What an encoder that gives each event several states goes with."""
    encoder = config.encoder
    if not getattr(encoder, "several_states", False):
        return
    if not hasattr(cost, "answer"):
        raise ConfigError(
            f"cost ({kind(cost)}) must make one answer of several states under {kind(encoder)}; take Progressive or Ensemble"
        )
    for slot in ("auxiliary", "adapter"):
        if (part := getattr(config, slot)) is not None:
            raise ConfigError(
                f"{slot} ({kind(part)}, which reads one state of an event) must be None under {kind(encoder)}, which gives several"
            )


def kind(config: Any) -> str:
    """The name of the part that a config builds.

    >>> kind(ConfigError("x"))
    'ConfigError'
    """
    return type(config).__qualname__.split(".")[0]
