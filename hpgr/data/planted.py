"""Users with planted preferences: small data on which it is known what attention to the right events is worth.

Source: claims 6 and 7 of the HPGR card (``docs/models/hpgr.md``). A user has sessions in eight of the categories, at random;
most events of a session lie in its category, the others anywhere. Candidates lie in categories that the user had a
session of: about one event in nine of the history is of the candidate's category.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

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
class Planted:
    """``U`` users with ``L`` events and ``N`` candidates each; item ``i`` is of category ``i // category_size``.

    ``item_idx, action, session, time_ms [U, L]`` int64: an action is ``DISLIKE`` or ``LIKE``, a session counts from 0.
    ``now_ms [U]``: a day after the last event. ``candidate_idx [U, N]`` int64; ``prob [U, N]``: the true chance of a click;
    ``label [U, N]`` float32, drawn by it.
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


def planted_preferences(
    num_users: int,
    seed: int,
    *,
    click: Literal["preference", "intensity"] = "preference",
    num_candidates: int = 4,
    num_sessions: int = 16,
    session_len: int = 8,
    num_categories: int = 40,
    category_size: int = 20,
) -> Planted:
    """Users who like or dislike each category, by a coin; a history action tells it right four times in five.

    ``click="preference"``, claim 6: a candidate is clicked as its category is liked, nine times in ten.
    ``click="intensity"``, claim 7: it is clicked with probability ``sigmoid((n - 13) / 4)``, where ``n`` is the number of history
    events in its category, whatever their actions.

    Raises: ConfigError if a size is below 1 or ``click`` is another word.
    """
    _check(num_users, num_candidates, num_sessions, session_len, category_size)
    if num_categories < _USER_CATEGORIES:
        raise ConfigError(f"num_categories ({num_categories}) must be at least {_USER_CATEGORIES}, those of one user")
    if click not in ("preference", "intensity"):
        raise ConfigError(f"click ({click}) must be preference or intensity")
    draw = numpy_generator(seed, "planted", click)
    length, num_items = num_sessions * session_len, num_categories * category_size
    likes = draw.random((num_users, num_categories)) < 0.5
    own = draw.random((num_users, num_categories)).argsort(1)[:, :_USER_CATEGORIES]
    topic = np.take_along_axis(own, draw.integers(0, _USER_CATEGORIES, (num_users, num_sessions)), axis=1)
    on_topic = draw.random((num_users, length)) < _ON_TOPIC_PROB
    within = draw.integers(0, category_size, (num_users, length))
    anywhere = draw.integers(0, num_items, (num_users, length))
    item_idx = np.where(on_topic, topic.repeat(session_len, axis=1) * category_size + within, anywhere)
    category = item_idx // category_size
    is_told = draw.random((num_users, length)) < _ACTION_RELIABILITY
    action = np.where(np.take_along_axis(likes, category, axis=1) == is_told, LIKE, DISLIKE)

    # Each category that the user had a session of is as likely as the others, however many sessions it had.
    candidate_category = _one_of_those_seen(draw, topic, num_categories, num_candidates)
    candidate_idx = candidate_category * category_size + draw.integers(0, category_size, candidate_category.shape)
    if click == "preference":
        liked = np.take_along_axis(likes, candidate_category, axis=1)
        prob = np.where(liked, _CLICK_RELIABILITY, 1 - _CLICK_RELIABILITY)
    else:
        count = (category[:, None, :] == candidate_category[:, :, None]).sum(2)
        prob = 1 / (1 + np.exp(-(count - _HALF_COUNT) / _COUNT_STEP))
    session = np.broadcast_to(np.arange(num_sessions).repeat(session_len), (num_users, length))
    time_ms = _START_MS + session * _DAY_MS + np.arange(length) % session_len * _MINUTE_MS
    time_ms = time_ms + draw.integers(0, _DAY_MS // 2, (num_users, num_sessions)).repeat(session_len, axis=1)
    return Planted(
        num_items=num_items,
        category_size=category_size,
        item_idx=item_idx,
        action=action,
        session=session,
        time_ms=time_ms,
        now_ms=time_ms[:, -1] + _DAY_MS,
        candidate_idx=candidate_idx,
        prob=prob,
        label=(draw.random(prob.shape) < prob).astype(np.float32),
    )
