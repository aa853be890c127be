"""A frame asked about one user in tensors of fixed shapes: what can be traced once and run without hpgr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import UnsupportedError
from hpgr.core.jagged import fixed_shapes, offsets_of_starts
from hpgr.frames.ranking import features_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One tensor that a twin takes, in this order; ``shape`` in letters: ``L`` events, ``C`` candidates, ``F`` features."""

    name: str
    dtype: torch.dtype
    shape: tuple[str, ...]
    means: str


HISTORY = (
    Input(name="item_idx", dtype=torch.int64, shape=("L",), means="rows of items.parquet, oldest event first"),
    Input(name="time_ms", dtype=torch.int64, shape=("L",), means="when each event came, unix ms, UTC"),
    Input(name="action", dtype=torch.int64, shape=("L",), means="1 + place among actions; 0: another one, or none"),
    Input(name="session_start", dtype=torch.bool, shape=("L",), means="whether a session begins with the event"),
    Input(name="num_events", dtype=torch.int64, shape=(), means="events there are; what lies behind them is not read"),
    Input(name="now_ms", dtype=torch.int64, shape=(), means="moment of the request, unix ms, UTC"),
    Input(name="session_open", dtype=torch.bool, shape=(), means="whether the newest session goes on at that moment"),
)
CANDIDATES = (
    Input(name="candidate_idx", dtype=torch.int64, shape=("C",), means="rows of items.parquet; fill up with any"),
    Input(name="features", dtype=torch.float32, shape=("C", "F"), means="cross features, in the order of features"),
)


class PaddedEncoder(nn.Module):
    """``[D]``: a user's query vector, to be held against ``catalogue_vectors``."""

    def __init__(self, frame: Any) -> None:
        super().__init__()
        self.frame = frame.eval()

    def forward(self, *history: Tensor) -> Tensor:
        """Tensors of ``HISTORY``."""
        with fixed_shapes():
            vector_D: Tensor = self.frame.query_vectors(_history(*history))[0]
            return vector_D


class PaddedRanker(nn.Module):
    """``[C, tasks]``: the log-odds of each candidate's outcomes."""

    def __init__(self, frame: Any) -> None:
        super().__init__()
        self.frame = frame.eval()

    def forward(self, *asked: Tensor) -> Tensor:
        """Tensors of ``HISTORY``, then of ``CANDIDATES``; ``features`` only where the ranker reads any."""
        with fixed_shapes():
            history, item_C = _history(*asked[: len(HISTORY)]), asked[len(HISTORY)]
            offsets = torch.full((3,), item_C.shape[0], device=item_C.device).masked_fill(_first(3, item_C), 0)
            candidates = Candidates(
                item_idx=item_C,
                time_ms=history.now_ms[:1].expand(item_C.shape[0]),
                offsets=offsets,
                features=asked[-1] if len(asked) > len(HISTORY) + 1 else torch.zeros(item_C.shape[0], 0),
            )
            logits_CK: Tensor = self.frame.logits(history, candidates)
            return logits_CK


def twins(frame: Any) -> dict[str, PaddedEncoder | PaddedRanker]:
    """``encoder`` and ``ranker``, as far as ``frame`` has them.

    Raises: UnsupportedError for a frame that is no network, or has neither.
    """
    kind = type(frame).__name__
    if not frame.stages():
        raise UnsupportedError(
            f"frame ({kind}) must be a network to be exported; {kind} counts or asks other libraries"
        )
    found: dict[str, PaddedEncoder | PaddedRanker] = {}
    if hasattr(frame, "query_vectors"):
        found["encoder"] = PaddedEncoder(getattr(frame, "retriever", frame))
    if hasattr(frame, "logits"):
        found["ranker"] = PaddedRanker(frame)
    if not found:
        raise UnsupportedError(
            f"frame ({kind}) must make a query vector of a user or log-odds of candidates to be exported; "
            "export another model"
        )
    return found


def inputs_of(twin: PaddedEncoder | PaddedRanker) -> tuple[Input, ...]:
    """What ``twin`` takes, in order."""
    if isinstance(twin, PaddedEncoder):
        return HISTORY
    return (*HISTORY, *(CANDIDATES if features_of(twin.frame) else CANDIDATES[:1]))


def padded(history: History, num_slots: int) -> tuple[Tensor, ...]:
    """The tensors of ``HISTORY`` for a history of one user and at most ``num_slots`` events."""
    count = history.num_events
    starts = torch.zeros(num_slots, dtype=torch.bool)
    starts[history.session_offsets[:-1]] = True

    def filled(values_T: Tensor) -> Tensor:
        return F.pad(values_T, (0, num_slots - count))

    events = filled(history.item_idx), filled(history.time_ms), filled(history.action), starts
    return (*events, torch.tensor(count), history.now_ms[0], history.session_open[0])


def _history(
    item_L: Tensor, time_L: Tensor, action_L: Tensor, starts_L: Tensor, count: Tensor, now: Tensor, is_open: Tensor
) -> History:
    """The slots behind the user's events are those of a second user, of whom the first one knows nothing."""
    event_L = torch.arange(item_L.shape[0], device=item_L.device)
    there_L = event_L < count
    edges = torch.stack([count * 0, count, count * 0 + item_L.shape[0]])
    return History(
        item_idx=item_L.masked_fill(~there_L, 0),
        time_ms=torch.where(there_L, time_L, now),
        action=action_L.masked_fill(~there_L, 0),
        user_offsets=edges,
        session_offsets=offsets_of_starts((starts_L & there_L) | (event_L == count) | (event_L == 0)),
        now_ms=now.expand(2),
        session_open=torch.stack([is_open, torch.zeros_like(is_open)]),
    )


def _first(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, device=like.device) == 0
