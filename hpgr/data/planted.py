"""Users with planted preferences: small data on which it is known what attention to the right events is worth.

Source: claims 6 and 7 of the HPGR card (``docs/models/hpgr.md``). A user has sessions in eight of the categories, at
random; most events of a session lie in its category, the others anywhere. Candidates lie in categories that the user
had a session of: about one event in nine of the history is of the candidate's category.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import numpy_generator

DISLIKE, LIKE = 1, 2
_START_MS, _MINUTE_MS, _DAY_MS = 1_704_067_200_000, 60_000, 86_400_000
_USER_CATEGORIES = 8
_ON_TOPIC_PROB = 0.75
_ACTION_RELIABILITY, _CLICK_RELIABILITY = 0.8, 0.9
_HALF_COUNT, _COUNT_STEP = 13.0, 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PlantedShape:
    """How many of everything; the defaults are those of the card."""

    num_candidates: int = 4
    num_sessions: int = 16
    session_len: int = 8
    num_categories: int = 40
    category_size: int = 20

    def __post_init__(self) -> None:
        for name in ("num_candidates", "num_sessions", "session_len", "category_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
        if self.num_categories < _USER_CATEGORIES:
            raise ConfigError(
                f"num_categories ({self.num_categories}) must be at least {_USER_CATEGORIES}, as many as one user has"
            )


_CARD = PlantedShape()


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """``U`` users with ``L`` events and ``N`` candidates each; item ``i`` is of category ``i // category_size``.

    ``item_idx, action, session, time_ms [U, L]`` int64: an action is ``DISLIKE`` or ``LIKE``, a session counts from 0.
    ``now_ms [U]``: a day after the last event. ``candidate_idx [U, N]`` int64; ``prob [U, N]``: the true chance of a
    click; ``label [U, N]`` float32, drawn by it.
    """

    num_items: int
    category_size: int
    item_idx: np.ndarray
    action: np.ndarray
    session: np.ndarray
    time_ms: np.ndarray
    now_ms: np.ndarray
    candidate_idx: np.ndarray
    prob: np.ndarray
    label: np.ndarray

    @property
    def num_users(self) -> int:
        return len(self.item_idx)

    def batch(self, users: np.ndarray) -> tuple[History, Candidates]:
        """What the models read of ``users [B]``: no candidate features, weights of 1."""
        num_users, length, shown = len(users), self.item_idx.shape[1], self.candidate_idx.shape[1]
        session = self.session[users]
        starts = np.diff(session, axis=1, prepend=-1) != 0
        now = torch.from_numpy(self.now_ms[users])
        history = History(
            item_idx=_flat(self.item_idx, users),
            time_ms=_flat(self.time_ms, users),
            action=_flat(self.action, users),
            user_offsets=torch.arange(num_users + 1) * length,
            session_offsets=torch.from_numpy(np.append(np.flatnonzero(starts), num_users * length)),
            now_ms=now,
            session_open=torch.zeros(num_users, dtype=torch.bool),
        )
        candidates = Candidates(
            item_idx=_flat(self.candidate_idx, users),
            time_ms=now.repeat_interleave(shown),
            offsets=torch.arange(num_users + 1) * shown,
            features=torch.zeros(num_users * shown, 0),
            label=_flat(self.label, users)[:, None],
            weight=torch.ones(num_users * shown),
        )
        return history, candidates


def planted_preferences(num_users: int, seed: int, shape: PlantedShape = _CARD) -> Planted:
    """Claim 6: a candidate is clicked as its category is liked, nine times in ten; an ideal ranker's AUC is 0.90.

    Raises: ConfigError if ``num_users`` is below 1.
    """
    draw = _generator(num_users, seed)
    users = _users(num_users, shape, draw)
    liked = np.take_along_axis(users.likes, users.candidate_category, axis=1)
    return _with_clicks(users, shape, draw, np.where(liked, _CLICK_RELIABILITY, 1 - _CLICK_RELIABILITY))


def planted_intensity(num_users: int, seed: int, shape: PlantedShape = _CARD) -> Planted:
    """Claim 7: a candidate is clicked with probability ``sigmoid((n - 13) / 4)``, where ``n`` counts the events of its
    category in the history, whatever their actions; an ideal ranker's AUC is about 0.84.

    Raises: ConfigError if ``num_users`` is below 1.
    """
    draw = _generator(num_users, seed)
    users = _users(num_users, shape, draw)
    category = users.item_idx // shape.category_size
    count = (category[:, None, :] == users.candidate_category[:, :, None]).sum(2)
    return _with_clicks(users, shape, draw, 1 / (1 + np.exp((_HALF_COUNT - count) / _COUNT_STEP)))


def batches(planted: Planted, batch_users: int, seed: int | None) -> Iterator[tuple[History, Candidates]]:
    """Every user once, ``batch_users`` at a time: in an order drawn from ``seed``, or as they are without one.

    Raises: ConfigError if ``batch_users`` is below 1.
    """
    if batch_users < 1:
        raise ConfigError(f"batch_users ({batch_users}) must be at least 1")
    users = np.arange(planted.num_users)
    if seed is not None:
        users = numpy_generator(seed, "planted", "order").permutation(users)
    for start in range(0, len(users), batch_users):
        yield planted.batch(users[start : start + batch_users])


def precision_of_selection(rows_CK: Tensor, history: History, candidates: Candidates, category_size: int) -> float:
    """The share of the selected history rows, -1 being none, that are of their candidate's category; NaN without
    any."""
    category_C1 = candidates.item_idx[:, None] // category_size
    selected_CK = rows_CK >= 0
    matches_CK = history.item_idx[rows_CK.clamp(min=0)] // category_size == category_C1
    return float((matches_CK & selected_CK).sum() / selected_CK.sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Users:
    likes: np.ndarray
    item_idx: np.ndarray
    candidate_category: np.ndarray


def _generator(num_users: int, seed: int) -> np.random.Generator:
    if num_users < 1:
        raise ConfigError(f"num_users ({num_users}) must be at least 1")
    return numpy_generator(seed, "planted")


def _users(num_users: int, shape: PlantedShape, draw: np.random.Generator) -> _Users:
    length, num_items = shape.num_sessions * shape.session_len, shape.num_categories * shape.category_size
    own = draw.random((num_users, shape.num_categories)).argsort(1)[:, :_USER_CATEGORIES]
    topic = np.take_along_axis(own, draw.integers(0, _USER_CATEGORIES, (num_users, shape.num_sessions)), axis=1)
    within = draw.integers(0, shape.category_size, (num_users, length))
    anywhere = draw.integers(0, num_items, (num_users, length))
    on_topic = draw.random((num_users, length)) < _ON_TOPIC_PROB
    # Half of a user's categories are liked, so that the overall share of likes tells nothing about a candidate.
    likes = draw.random((num_users, shape.num_categories)) < 0.5
    np.put_along_axis(likes, own, np.arange(_USER_CATEGORIES) % 2 == 0, axis=1)
    # Every category with a session is as likely a candidate as the others, however many sessions it had.
    seen = np.zeros((num_users, 1, shape.num_categories), dtype=bool)
    np.put_along_axis(seen[:, 0], topic, True, axis=1)
    lot = draw.random((num_users, shape.num_candidates, shape.num_categories))
    return _Users(
        likes=likes,
        item_idx=np.where(on_topic, topic.repeat(shape.session_len, axis=1) * shape.category_size + within, anywhere),
        candidate_category=np.where(seen, lot, -1.0).argmax(2),
    )


def _with_clicks(users: _Users, shape: PlantedShape, draw: np.random.Generator, prob: np.ndarray) -> Planted:
    num_users, length = users.item_idx.shape
    is_told = draw.random((num_users, length)) < _ACTION_RELIABILITY
    likes = np.take_along_axis(users.likes, users.item_idx // shape.category_size, axis=1)
    session, minute = np.divmod(np.arange(length), shape.session_len)
    start_ms = _START_MS + draw.integers(0, _DAY_MS // 2, (num_users, shape.num_sessions))
    time_ms = start_ms[:, session] + session * _DAY_MS + minute * _MINUTE_MS
    within = draw.integers(0, shape.category_size, prob.shape)
    return Planted(
        num_items=shape.num_categories * shape.category_size,
        category_size=shape.category_size,
        item_idx=users.item_idx,
        action=np.where(likes == is_told, LIKE, DISLIKE),
        session=np.tile(session, (num_users, 1)),
        time_ms=time_ms,
        now_ms=time_ms[:, -1] + _DAY_MS,
        candidate_idx=users.candidate_category * shape.category_size + within,
        prob=prob,
        label=(draw.random(prob.shape) < prob).astype(np.float32),
    )


def _flat(columns: np.ndarray, users: np.ndarray) -> Tensor:
    return torch.from_numpy(columns[users].reshape(-1))
