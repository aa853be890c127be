"""Which parts of a scoring recommender cannot go together, each with its reason and remedy."""

from __future__ import annotations

from typing import Any

from hpgr.core.errors import ConfigError
from hpgr.encoders import all_inside


def check_pairing(config: Any) -> None:
    """Refuse the config of a ``ScoringRecommender`` whose parts do not fit.

    Parts say of themselves what they need: a part that reads later events has ``causal`` False.

    Raises: ConfigError with the first fault.
    """
    objective, adapter, cost = config.objective, config.adapter, getattr(config.objective, "cost", None)
    _check_causal(config)
    _check_clock(config)
    if getattr(cost, "needs_distance", False) and not getattr(config.items, "distance", False):
        raise ConfigError(
            f"items ({kind(config.items)}, which score by dot products) must score by distance under {kind(cost)}; "
            "set items.distance=true"
        )
    _check_several(config, cost)
    _check_held(config.encoder)
    if getattr(adapter, "weighs", False):
        _check_weighing(objective, cost, adapter)
    if getattr(objective, "hides_items", False):
        for slot in ("trunk", "encoder", "adapter"):
            for part in all_inside(getattr(config, slot)):
                if getattr(part, "reads_items", False):
                    raise ConfigError(
                        f"objective ({kind(objective)}, which hides items) must tell them all under {slot} {kind(part)}, which knows "
                        "events of one item by it; take NextItem or LastItem"
                    )


def _check_weighing(objective: Any, cost: Any, adapter: Any) -> None:
    """What an adapter goes with that learns from the events before each prediction and says how much each counts."""
    if not getattr(objective, "takes_weights", False):
        raise ConfigError(
            f"objective ({kind(objective)}) must tell all events before its predictions under {kind(adapter)}, which learns "
            "from them, and take weights; take NextItem"
        )
    if not hasattr(cost, "costs"):
        raise ConfigError(
            f"cost ({kind(cost)}) must tell what each prediction costs under {kind(adapter)}, which weighs them; "
            "take MarginRanking"
        )


def _check_causal(config: Any) -> None:
    """What is asked about later events, or later sessions, must not have read them."""
    for slot in ("trunk", "encoder"):
        part = getattr(config, slot)
        causal = getattr(part, "causal", True)
        if getattr(config.objective, "needs_causal", False) and causal is False:
            raise ConfigError(
                f"{slot} ({kind(part)}, which reads later events) must be causal under {kind(config.objective)}: it would read "
                "what it is to predict; take a causal one, MaskedItem or LastItem"
            )
        if getattr(part, "causal_sessions", causal) is not False:
            continue
        for asking in (config.objective, config.auxiliary):
            if getattr(asking, "needs_causal_sessions", False):
                raise ConfigError(
                    f"{slot} ({kind(part)}, which reads later sessions) must not under {kind(asking)}: it would read what it is "
                    "to predict; take a causal one or BySession around one"
                )


def _check_clock(config: Any) -> None:
    """What is asked about every event must not be told when the last of a window comes."""
    asking = [
        one
        for one in (config.objective, config.auxiliary)
        if getattr(one, "needs_causal", False) or getattr(one, "needs_causal_sessions", False)
    ]
    for slot in ("trunk", "encoder"):
        held = [part for part in all_inside(getattr(config, slot)) if part is not None]
        for part in (*held, *(part.sem for part in held if getattr(part, "sem", None) is not None)):
            if asking and getattr(getattr(part, "position", None), "tells_now", False):
                raise ConfigError(
                    f"clock of the position in {slot} (now, the moment of the last event) must be previous under "
                    f"{kind(asking[0])}, which asks at every event; or set its num_time_buckets to none"
                )


def _check_several(config: Any, cost: Any) -> None:
    """What an encoder that gives each event several states, or a part that makes several vectors of them, goes with."""
    encoder, interests = config.encoder, config.interests
    thinks = getattr(encoder, "several_states", False)
    if thinks and not hasattr(cost, "answer"):
        raise ConfigError(
            f"cost ({kind(cost)}) must make one answer of several states under {kind(encoder)}; take Progressive or Ensemble"
        )
    for giving, slots in (
        (encoder if thinks else None, ("auxiliary", "adapter", "interests")),
        (interests, ("auxiliary", "adapter")),
    ):
        for slot in slots:
            part = getattr(config, slot)
            if giving is not None and part is not None and getattr(part, "reads_states", True):
                raise ConfigError(
                    f"{slot} ({kind(part)}, which reads one state of an event) must be None under {kind(giving)}, which gives "
                    "several"
                )


def _check_held(encoder: Any) -> None:
    """What an encoder that holds others cannot hand on."""
    for part in list(all_inside(encoder))[1:]:
        if getattr(part, "several_states", False):
            raise ConfigError(
                f"encoder ({kind(encoder)}) must hold encoders of one state an event; put {kind(part)}, which gives several, around it"
            )


def kind(config: Any) -> str:
    """The name of the part that a config builds.

    >>> kind(ConfigError("x"))
    'ConfigError'
    """
    return type(config).__qualname__.split(".")[0]
