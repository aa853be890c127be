"""The batch that every model sees: histories and candidates, jagged, on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from hpgr.core.jagged import Jagged, offsets_of, offsets_of_starts, row_of, shapes_are_fixed

BatchT = TypeVar("BatchT", "History", "Candidates")


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What each of ``B`` users did before ``now_ms``; ``T`` events end to end, oldest first, in ``S`` sessions.

    ``item_idx [T]`` int64 in ``0 … V``; the row ``V`` stands for any item outside the catalogue.
    ``time_ms [T]`` int64, UTC, non-decreasing inside a user. ``action [T]`` int64, 0 where none is known.
    ``user_offsets [B+1]``, ``session_offsets [S+1]`` int64; a session lies inside one user and is never empty.
    ``now_ms [B]`` int64: the moment of the request. ``session_open [B]`` bool: the request falls into the last session.
    ``features``: further columns ``[T, ...]``.
    """

    item_idx: Tensor
    time_ms: Tensor
    action: Tensor
    user_offsets: Tensor
    session_offsets: Tensor
    now_ms: Tensor
    session_open: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)

    @property
    def num_users(self) -> int:
        return self.user_offsets.shape[0] - 1

    @property
    def num_events(self) -> int:
        return self.item_idx.shape[0]

    @property
    def lengths(self) -> Tensor:
        """``[B]`` events of each user."""
        return self.user_offsets.diff()

    def user_of_event(self) -> Tensor:
        """``[T]`` int64."""
        return row_of(self.user_offsets, self.num_events)

    def session_of_event(self) -> Tensor:
        """``[T]`` int64, ``0 … S-1`` over the whole batch."""
        return row_of(self.session_offsets, self.num_events)

    def user_session_offsets(self) -> Tensor:
        """``[B+1]`` int64: user ``b`` owns sessions ``[b] … [b+1]-1``."""
        begins_S = self.session_offsets[:-1]
        if shapes_are_fixed():
            return (begins_S < self.user_offsets[:, None]).sum(1)
        return torch.searchsorted(begins_S.contiguous(), self.user_offsets)

    def next_time_ms(self) -> Tensor:
        """``[T]`` int64: when the event that follows each one came; ``now_ms`` after a user's newest."""
        user_T, event_T = self.user_of_event(), torch.arange(self.num_events, device=self.time_ms.device)
        following_T = torch.cat([self.time_ms[1:], self.time_ms[:1]])
        return torch.where(event_T == self.user_offsets[1:][user_T] - 1, self.now_ms[user_T], following_T)

    def jagged(self, values: Tensor) -> Jagged:
        """``values [T, ...]`` as rows of users."""
        return Jagged(values, self.user_offsets)

    def append(self, item_idx_B: Tensor, action_B: Tensor | None = None) -> History:
        """Each user's history with one event more, at ``now_ms``, in the open session or in one of its own."""
        offsets = self.user_offsets + torch.arange(self.num_users + 1, device=self.user_offsets.device)
        at = torch.arange(self.num_events + self.num_users, device=offsets.device)
        user = row_of(offsets, at.shape[0])
        is_new = at == offsets[1:][user] - 1
        source = torch.where(is_new, self.num_events + user, at - user)

        def grow(old_T: Tensor, new_B: Tensor) -> Tensor:
            return torch.cat([old_T, new_B.to(old_T.dtype)])[source]

        joins = self.session_open & (self.lengths > 0)
        session = grow(self.session_of_event(), torch.zeros_like(self.now_ms))
        changes = torch.cat([is_new[:1].new_ones(min(1, at.shape[0])), session[1:] != session[:-1]])
        starts = (is_new & ~joins[user]) | (~is_new & (changes | (at == offsets[:-1][user])))
        return History(
            item_idx=grow(self.item_idx, item_idx_B),
            time_ms=grow(self.time_ms, self.now_ms),
            action=grow(self.action, torch.zeros_like(self.now_ms) if action_B is None else action_B),
            user_offsets=offsets,
            session_offsets=offsets_of_starts(starts),
            now_ms=self.now_ms,
            session_open=torch.ones_like(self.session_open),
            features={n: grow(v, v.new_zeros((self.num_users, *v.shape[1:]))) for n, v in self.features.items()},
        )

    def keeping(self, keep_T: Tensor, *, now_ms: Tensor | None = None, session_open: Tensor | None = None) -> History:
        """The history of the events in ``keep_T [T]`` bool; a session that loses them all is gone. What is asked stays
        unless it is given."""
        kept_before = torch.cat([self.user_offsets.new_zeros(1), keep_T.cumsum(0)])
        return History(
            item_idx=self.item_idx[keep_T],
            time_ms=self.time_ms[keep_T],
            action=self.action[keep_T],
            user_offsets=kept_before[self.user_offsets],
            session_offsets=kept_before[self.session_offsets].unique_consecutive(),
            now_ms=self.now_ms if now_ms is None else now_ms,
            session_open=self.session_open if session_open is None else session_open,
            features={name: column[keep_T] for name, column in self.features.items()},
        )

    def without_last(self) -> History:
        """Each user's history without its newest event, asked at that event's time; an empty one stays as it is."""
        last = self.user_offsets[1:][self.lengths > 0] - 1
        keep = torch.ones(self.num_events, dtype=torch.bool, device=self.item_idx.device)
        keep[last] = False
        now_ms, is_open = self.now_ms.clone(), self.session_open.clone()
        now_ms[self.lengths > 0] = self.time_ms[last]
        of_event = self.session_of_event()
        some = self.lengths[self.lengths > 0] > 1
        is_open[self.lengths > 0] = some & (of_event[last] == of_event[(last - 1).clamp(min=0)])
        return self.keeping(keep, now_ms=now_ms, session_open=is_open)

    def of_user(self, user: int) -> History:
        """The history of one of the users, in memory of its own."""
        start, stop = self.user_offsets[user : user + 2].tolist()
        inside = (self.session_offsets > start) & (self.session_offsets <= stop)
        offsets = self.user_offsets.new_tensor([0, stop - start])
        return History(
            item_idx=self.item_idx[start:stop].clone(),
            time_ms=self.time_ms[start:stop].clone(),
            action=self.action[start:stop].clone(),
            user_offsets=offsets,
            session_offsets=torch.cat([offsets[:1], self.session_offsets[inside] - start]),
            now_ms=self.now_ms[user : user + 1].clone(),
            session_open=self.session_open[user : user + 1].clone(),
            features={name: column[start:stop].clone() for name, column in self.features.items()},
        )

    @classmethod
    def together(cls, histories: Sequence[History]) -> History:
        """All their users in one batch, in their order."""

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(history, name) for history in histories])

        def offsets(name: str) -> Tensor:
            begins, parts = 0, [histories[0].user_offsets[:1]]
            for history in histories:
                parts.append(getattr(history, name)[1:] + begins)
                begins += history.num_events
            return torch.cat(parts)

        return cls(
            **{name: joined(name) for name in ("item_idx", "time_ms", "action", "now_ms", "session_open")},
            user_offsets=offsets("user_offsets"),
            session_offsets=offsets("session_offsets"),
            features={name: torch.cat([h.features[name] for h in histories]) for name in histories[0].features},
        )

    def to(self, device: torch.device | str) -> History:
        """The same batch on ``device``."""
        return _moved(self, device)

    @classmethod
    def from_lists(
        cls,
        items: Sequence[Sequence[int]],
        *,
        times_ms: Sequence[Sequence[int]] | None = None,
        sessions: Sequence[Sequence[int]] | None = None,
        actions: Sequence[Sequence[int]] | None = None,
        now_ms: Sequence[int] | None = None,
        session_open: Sequence[bool] | None = None,
    ) -> History:
        """A small batch by hand: times default to one event a second, sessions (labels, non-decreasing) to one a user."""
        lengths = torch.tensor([len(row) for row in items], dtype=torch.int64)
        times = times_ms or [[1000 * i for i in range(len(row))] for row in items]
        labels = sessions or [[0] * len(row) for row in items]
        flat = [(b, label) for b, row in enumerate(labels) for label in row]
        borders = [i for i, key in enumerate(flat) if i == 0 or flat[i - 1] != key]

        def column(rows: Sequence[Sequence[int]]) -> Tensor:
            return torch.tensor([x for row in rows for x in row], dtype=torch.int64)

        return cls(
            item_idx=column(items),
            time_ms=column(times),
            action=column(actions or [[0] * len(row) for row in items]),
            user_offsets=offsets_of(lengths),
            session_offsets=torch.tensor([*borders, len(flat)], dtype=torch.int64),
            now_ms=torch.tensor(now_ms or [(row[-1] + 1000) if len(row) else 0 for row in times], dtype=torch.int64),
            session_open=torch.tensor(session_open or [False] * len(items), dtype=torch.bool),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """What is to be ranked for each user of a ``History``: ``C`` candidates end to end.

    ``item_idx [C]`` int64 in ``0 … V``; ``time_ms [C]`` int64: when each is shown; ``offsets [B+1]`` int64.
    ``features [C, F]`` float32: cross features, in the order of the config's names; ``F`` may be 0.
    ``label [C, tasks]`` and ``weight [C]`` float32 where outcomes are known.
    """

    item_idx: Tensor
    time_ms: Tensor
    offsets: Tensor
    features: Tensor
    label: Tensor | None = None
    weight: Tensor | None = None

    @property
    def num_candidates(self) -> int:
        return self.item_idx.shape[0]

    def user_of_candidate(self) -> Tensor:
        """``[C]`` int64."""
        return row_of(self.offsets, self.num_candidates)

    def to(self, device: torch.device | str) -> Candidates:
        """The same candidates on ``device``."""
        return _moved(self, device)

    @classmethod
    def from_lists(
        cls,
        items: Sequence[Sequence[int]],
        *,
        now_ms: Tensor,
        features: Tensor | None = None,
        labels: Sequence[Sequence[float]] | None = None,
    ) -> Candidates:
        """Small candidate sets by hand, shown at each user's ``now_ms [B]``."""
        lengths = torch.tensor([len(row) for row in items], dtype=torch.int64)
        flat = torch.tensor([x for row in items for x in row], dtype=torch.int64)
        label = None if labels is None else torch.tensor([y for row in labels for y in row])[:, None].float()
        return cls(
            item_idx=flat,
            time_ms=torch.repeat_interleave(now_ms, lengths),
            offsets=offsets_of(lengths),
            features=torch.zeros(len(flat), 0) if features is None else features,
            label=label,
            weight=None if label is None else torch.ones(len(flat)),
        )


def _moved(batch: BatchT, device: torch.device | str) -> BatchT:
    moved: dict[str, object] = {}
    for column in fields(batch):
        value = getattr(batch, column.name)
        if isinstance(value, Tensor):
            moved[column.name] = value.to(device)
        elif isinstance(value, dict):
            moved[column.name] = {name: tensor.to(device) for name, tensor in value.items()}
    return replace(batch, **moved)  # type: ignore[arg-type]
