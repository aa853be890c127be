"""From item vectors to states: a file per architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from hpgr.core.batch import Candidates, History
from hpgr.core.jagged import Jagged


class Encoder(Protocol):
    """``(T, D)`` in, ``(T, D)`` out, same offsets; sees the history's times and sessions, never its items.

    Its config says by ``causal`` whether a state knows nothing of later events; silence means that it may. Where a state has
    read its whole session, but no later one, ``causal_sessions`` says so. One that looks at the history's items all the same, to
    know which events are of one item, says ``reads_items``; no event may be hidden from it.
    One that holds others says so by ``inside``, a tuple of their configs. With ``before_epoch(epoch, histories)`` it is shown the
    training windows before each epoch, to count in them.
    """

    def __call__(self, x: Jagged, history: History) -> Jagged: ...


class FollowedEncoder(Encoder, Protocol):
    """An encoder that goes on after an event without running the events again.

    A chain of tokens follows each event of ``after_N`` (ascending; an event may be there twice): a token reads what the event
    may read and the tokens of its own chain up to itself. No event and no other chain reads it.
    """

    def begin(self, x: Jagged, history: History, after_N: Tensor) -> tuple[Jagged, Any]:
        """The states ``(T, D)`` and chains without a token."""
        ...

    def follow(self, chains: Any, x_ND: Tensor) -> tuple[Tensor, Any]:
        """``[N, D]``: the states of one token more in each chain, which brings its own place; and the longer chains."""
        ...

    def why_not_followed(self) -> str | None:
        """Why it cannot with these settings; None where it can."""
        ...


def why_not_followed(encoder: Any) -> str | None:
    """Why tokens cannot follow the events of ``encoder`` at the cost of a token; None where they can."""
    if not hasattr(encoder, "why_not_followed"):
        return f"{type(encoder).__qualname__} keeps nothing of the events that it has run"
    why: str | None = encoder.why_not_followed()
    return why


def all_inside(config: Any) -> Iterator[Any]:
    """``config`` and those of all encoders that it holds, at any depth."""
    yield config
    for held in getattr(config, "inside", ()):
        yield from all_inside(held)


def newest_states(encoder: Any, x: Jagged, history: History) -> Tensor:
    """``[N, D]``: the states of the newest event of each user that has any, by the shortest way that ``encoder`` has."""
    if hasattr(encoder, "newest"):
        found: Tensor = encoder.newest(x, history)
        return found
    states_TD: Tensor = encoder(x, history).values
    return states_TD[x.offsets[1:][x.lengths > 0] - 1]


class AskedEncoder(Encoder, Protocol):
    """An encoder that is told which events are read, and may give each several states; the cost's ``answer`` makes one of them."""

    def states_at(self, x: Jagged, history: History, rows_N: Tensor) -> Tensor:
        """``[N, ..., D]``: the states of the events ``rows_N``, in any order."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """What preference selection compares: vectors of the pre-trained space and the candidates it cannot place.

    ``history_TD`` and ``candidates_CD``; ``cold_C`` bool: candidates outside the catalogue.
    """

    history_TD: Tensor
    candidates_CD: Tensor
    cold_C: Tensor


class CandidateEncoder(Protocol):
    """``x`` (T, D) and ``x_candidates`` (C, D) to the candidates' states ``[C, D]``; candidates never see each other."""

    def __call__(
        self, x: Jagged, x_candidates: Jagged, history: History, candidates: Candidates, signal: Signal
    ) -> Tensor: ...
