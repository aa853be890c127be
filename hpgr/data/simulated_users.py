"""A chunk of simulated users: their tastes, sessions, views and the lists they were shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpgr.data.keyed_draws import KeyedDraws
from hpgr.data.simulated_catalogue import DAY_MS, START_MS, SUCCESSOR_PROBS, SimulatedCatalogue

if TYPE_CHECKING:
    from hpgr.data.simulator import Simulator

MAX_REQUESTS = 8
_CONCENTRATION = 2.5
_LATE_USERS, _LATEST_JOIN = 0.4, 0.9
_ACTIVITY_SPREAD = 0.8
# A session fits its slot, and more than half an hour lies between two: an idle gap finds the true sessions.
_SLOTS_PER_DAY, _MAX_START_MS, _MAX_EVENTS = 8, 45 * 60_000, 40
_MIN_STEP_MS, _MEAN_STEP_MS, _MAX_STEP_MS = 10_000, 45_000, 120_000
# Where a slot of a list comes from: intent, taste, popularity, own views (the rest).
_INTENT_UNTIL, _TASTE_UNTIL, _POPULAR_UNTIL = 0.3, 0.55, 0.8
_CLICK_BIAS, _CLICK_TASTE, _CLICK_INTENT, _CLICK_QUALITY, _CLICK_SEEN = -3.6, 4.0, 1.6, 0.6, 0.5


def click_prob(taste: np.ndarray, on_intent: np.ndarray, quality: np.ndarray, views: np.ndarray) -> np.ndarray:
    """``[n]`` probability of a click: logistic in the taste for the item's category, whether that is the session's
    intent, the item's quality and the log of 1 + the user's own views of it before."""
    logit = _CLICK_BIAS + _CLICK_TASTE * taste + _CLICK_INTENT * on_intent
    return 1 / (1 + np.exp(-logit - _CLICK_QUALITY * quality - _CLICK_SEEN * np.log1p(views)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposures:
    """``E`` shown items, list by list: the view ``event`` that the list followed, ``number`` of the list inside its
    user, ``time_ms``, ``item``, ``prob`` of a click, ``taste_prob`` as far as the taste alone tells it, ``label`` 0
    or 1; all [E]."""

    event: np.ndarray
    number: np.ndarray
    time_ms: np.ndarray
    item: np.ndarray
    prob: np.ndarray
    taste_prob: np.ndarray
    label: np.ndarray


class SimulatedUsers:
    """Users ``start … stop-1`` of the log: ``U`` users, their ``S`` sessions and ``N`` views, each by user and time.

    ``number [U]``; ``session_user, session_number, session_start_ms, session_day, intent, previous_intent [S]`` (-1:
    none); ``event_offsets [S+1]``; ``event_session, event_number, event_time_ms, event_item [N]``, where a number
    counts inside the user; ``is_noise, is_repeat [N]``: what a view came from, the walk along successors where
    neither; ``last_walked [N]``: the item of the session's latest walk before it, or -1. ``pool [P]``: the views that
    repeats of later sessions return to, in order.
    """

    def __init__(
        self, config: Simulator.Config, catalogue: SimulatedCatalogue, draws: KeyedDraws, start: int, stop: int
    ) -> None:
        self._config, self._catalogue, self._draws = config, catalogue, draws
        self.number = np.arange(start, stop)
        self._early_taste, self._late_taste = self._taste("early"), self._taste("late")
        self._lay_sessions()
        self._choose_intents()
        self._lay_events()
        self._choose_causes()
        self._walk()

    @property
    def num_events(self) -> int:
        return len(self.event_session)

    def user_of(self, event: np.ndarray) -> np.ndarray:
        """``[n]`` 0 … U-1, of the views ``event [n]``."""
        return self.session_user[self.event_session[event]]

    def first_session_of(self, session: np.ndarray) -> np.ndarray:
        """``[n]``: the first session of the user of each."""
        return self._session_offsets[self.session_user[session]]

    def taste(self, user: np.ndarray, day: np.ndarray) -> np.ndarray:
        """``[n, K]`` taste of ``user [n]`` (0 … U-1) on ``day [n]``; rows add up to 1."""
        late = (self._config.drift * day / max(self._config.days - 1, 1))[:, None]
        return (1 - late) * self._early_taste[user] + late * self._late_taste[user]

    def intent_probs(self, user: np.ndarray, day: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """``[n, K]`` chances of the next session's intent: the taste, its odds raised where a category follows
        ``previous``."""
        follows = self._catalogue.followers[previous] & (previous >= 0)[:, None]
        odds = self.taste(user, day) * (1 + self._config.stickiness * follows)
        return odds / odds.sum(1, keepdims=True)

    def _session_uniform(self, place: str) -> np.ndarray:
        return self._draws.uniform(place, self.number[self.session_user], self.session_number)

    def _event_uniform(self, place: str) -> np.ndarray:
        return self._draws.uniform(place, self.number[self.session_user[self.event_session]], self.event_number)

    def _taste(self, place: str) -> np.ndarray:
        categories = np.arange(self._catalogue.num_categories)
        key = self.number[:, None]
        # An exponential race: categories come first in proportion to their popularity.
        race = -np.log1p(-self._draws.uniform(f"{place}/order", key, categories))
        order = (race / self._catalogue.category_weight[0]).argsort(1)
        left = (1 - self._draws.uniform(f"{place}/stick", key, categories)) ** (1 / _CONCENTRATION)
        before = np.concatenate([np.ones_like(left[:, :1]), left[:, :-1].cumprod(1)], axis=1)
        taste = np.empty_like(left)
        np.put_along_axis(taste, order, before * (1 - left), axis=1)
        return taste / taste.sum(1, keepdims=True)

    def _lay_sessions(self) -> None:
        late = (self._draws.uniform("join", self.number) - (1 - _LATE_USERS)) / _LATE_USERS
        join = _LATEST_JOIN * np.maximum(late, 0)
        first = np.floor(join * self._config.days * _SLOTS_PER_DAY).astype(np.int64)
        free = self._config.days * _SLOTS_PER_DAY - first
        activity = np.exp(_ACTIVITY_SPREAD * self._draws.normal("activity", self.number) - _ACTIVITY_SPREAD**2 / 2)
        mean = self._config.sessions_per_user * (1 - join) / (1 - _LATE_USERS * _LATEST_JOIN / 2)
        count = np.clip(np.rint(mean * activity), 1, np.maximum(free // 2, 1)).astype(np.int64)
        self.session_user, self.session_number, self._session_offsets = _numbered(count)
        # Exponential gaps, the last one open, spread the sessions over distinct slots; in whole units, since the
        # rounding of a running sum of floats would depend on the users before.
        gap, last_gap = (
            1 + (-np.log1p(-uniform) * 2**24).astype(np.int64)
            for uniform in (self._session_uniform("gap"), self._draws.uniform("gap/last", self.number))
        )
        passed = gap.cumsum()
        passed -= (passed - gap)[self._session_offsets[:-1]][self.session_user]
        share = passed / (np.add.reduceat(gap, self._session_offsets[:-1]) + last_gap)[self.session_user]
        room = (free - count + 1)[self.session_user]
        slot = first[self.session_user] + np.floor(share * room).astype(np.int64) + self.session_number
        offset = np.floor(self._session_uniform("start") * _MAX_START_MS).astype(np.int64)
        self.session_day = slot // _SLOTS_PER_DAY
        self.session_start_ms = START_MS + slot * (DAY_MS // _SLOTS_PER_DAY) + offset

    def _choose_intents(self) -> None:
        uniform = self._session_uniform("intent")
        self.intent = np.zeros(len(uniform), dtype=np.int64)
        self.previous_intent = np.full(len(uniform), -1)
        first, count = self._session_offsets[:-1], np.diff(self._session_offsets)
        for number in range(int(count.max())):
            session = first[count > number] + number
            if number:
                self.previous_intent[session] = self.intent[session - 1]
            probs = self.intent_probs(
                self.session_user[session], self.session_day[session], self.previous_intent[session]
            )
            self.intent[session] = _choice(probs, uniform[session])

    def _lay_events(self) -> None:
        stop = 1 / self._config.events_per_session
        uniform = self._session_uniform("length")
        further = np.log1p(-uniform) / np.log1p(-stop) if stop < 1 else np.zeros_like(uniform)
        length = 1 + np.minimum(np.floor(further), _MAX_EVENTS - 1).astype(np.int64)
        self.event_session, position, self.event_offsets = _numbered(length)
        first_of_user = self.event_offsets[self._session_offsets[:-1]]
        self.event_number = np.arange(len(position)) - first_of_user[self.session_user[self.event_session]]
        step = np.minimum(-np.log1p(-self._event_uniform("step")) * _MEAN_STEP_MS, _MAX_STEP_MS)
        step = np.where(position == 0, 0, _MIN_STEP_MS + step.astype(np.int64))
        passed = step.cumsum()
        passed -= passed[self.event_offsets[:-1]][self.event_session]
        self.event_time_ms = self.session_start_ms[self.event_session] + passed

    def _choose_causes(self) -> None:
        self.is_noise = self._event_uniform("noise") < self._config.noise
        wants_repeat = ~self.is_noise & (self._event_uniform("repeat") < self._config.repeat_prob)
        # A walk that stands in for a repeat with nothing to return to stays out of the pool, else the rule were
        # circular.
        in_pool = ~self.is_noise & ~wants_repeat
        pooled = np.add.reduceat(in_pool.astype(np.int64), self.event_offsets[:-1])
        group = self.session_user * self._catalogue.num_categories + self.intent
        order = group.argsort(kind="stable")
        before = pooled[order].cumsum() - pooled[order]
        is_first = np.r_[True, np.diff(group[order]) != 0]
        group_start = before[is_first][is_first.cumsum() - 1]
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        self.pool = np.flatnonzero(in_pool)
        self._pool_by_intent = self.pool[rank[self.event_session[self.pool]].argsort(kind="stable")]
        self._pool_start = group_start[rank]
        self._pool_size = (before - group_start)[rank]
        self.is_repeat = wants_repeat & (self._pool_size[self.event_session] > 0)

    def _walk(self) -> None:
        catalogue, day = self._catalogue, self.session_day[self.event_session]
        self.event_item = catalogue.popular(day, self._event_uniform("item"), self.intent[self.event_session])
        noise = self.is_noise
        self.event_item[noise] = catalogue.popular(day[noise], self._event_uniform("item")[noise])
        wants_successor = self._event_uniform("chain") < self._config.chain_prob
        which = np.searchsorted(SUCCESSOR_PROBS.cumsum()[:-1], self._event_uniform("successor"), side="right")
        walks = ~self.is_noise & ~self.is_repeat
        length, last = np.diff(self.event_offsets), np.full(len(self.intent), -1)
        self.last_walked = np.empty(self.num_events, dtype=np.int64)
        for position in range(int(length.max())):
            session = np.flatnonzero(length > position)
            event = self.event_offsets[session] + position
            self.last_walked[event] = last[session]
            session, event = session[walks[event]], event[walks[event]]
            follower = catalogue.successors[last[session], which[event]]
            follows = wants_successor[event] & (last[session] >= 0)
            follows &= catalogue.release_day[follower] <= self.session_day[session]
            self.event_item[event] = np.where(follows, follower, self.event_item[event])
            last[session] = self.event_item[event]
        self._return_to_old_items()

    def _return_to_old_items(self) -> None:
        repeat = np.flatnonzero(self.is_repeat)
        session = self.event_session[repeat]
        which = np.floor(self._event_uniform("return")[repeat] * self._pool_size[session]).astype(np.int64)
        self.event_item[repeat] = self.event_item[self._pool_by_intent[self._pool_start[session] + which]]

    def exposures(self) -> Exposures:
        """What the lists showed and what was clicked; an item stands once in a list, so that some lists are shorter."""
        session, turn, _ = _numbered(
            np.floor(self._session_uniform("requests") + self._config.exposures_per_session).astype(np.int64)
        )
        number = self.session_number[session] * MAX_REQUESTS + turn
        size, length = self._config.list_size, np.diff(self.event_offsets)[session]
        anchor = np.floor(self._session_uniform("anchor")[session] * length).astype(np.int64)
        event = self.event_offsets[session] + (anchor + turn) % length
        request = np.repeat(np.arange(len(session)), size)
        slot = number[request] * size + np.tile(np.arange(size), len(session))
        item = self._shown_items(event[request], slot)
        kept = np.sort(np.unique(request * self._catalogue.num_items + item, return_index=True)[1])
        request, slot, item = request[kept], slot[kept], item[kept]
        event = event[request]
        session, category = self.event_session[event], self._catalogue.category[item]
        user = self.session_user[session]
        taste = self.taste(user, self.session_day[session])[np.arange(len(user)), category]
        on_intent = category == self.intent[session]
        prob = click_prob(taste, on_intent, self._catalogue.quality[item], self._views_before(event, item))
        return Exposures(
            event=event,
            number=number[request],
            time_ms=self.event_time_ms[event] + 1000 * (1 + turn[request]),
            item=item,
            prob=prob,
            taste_prob=click_prob(taste, np.zeros(1), np.zeros(1), np.zeros(1)),
            label=(self._draws.uniform("click", self.number[user], slot) < prob).astype(np.int8),
        )

    def _shown_items(self, event: np.ndarray, slot: np.ndarray) -> np.ndarray:
        session = self.event_session[event]
        user, day = self.session_user[session], self.session_day[session]
        source, which, what = (
            self._draws.uniform(place, self.number[user], slot)
            for place in ("shown/source", "shown/which", "shown/what")
        )
        tastes = np.flatnonzero((source >= _INTENT_UNTIL) & (source < _TASTE_UNTIL))
        category = self.intent[session]
        category[tastes] = _choice(self.taste(user[tastes], day[tastes]), which[tastes])
        item = self._catalogue.popular(day, what, category)
        popular = np.flatnonzero((source >= _TASTE_UNTIL) & (source < _POPULAR_UNTIL))
        item[popular] = self._catalogue.popular(day[popular], what[popular])
        own = np.flatnonzero(source >= _POPULAR_UNTIL)
        first = event[own] - self.event_number[event[own]]
        item[own] = self.event_item[first + np.floor(what[own] * (self.event_number[event[own]] + 1)).astype(np.int64)]
        return item

    def _views_before(self, event: np.ndarray, item: np.ndarray) -> np.ndarray:
        items, size = self._catalogue.num_items, self.num_events + 1
        user = self.session_user[self.event_session]
        seen = np.sort((user * items + self.event_item) * size + np.arange(self.num_events))
        base = (user[event] * items + item) * size
        return np.searchsorted(seen, base + event, side="right") - np.searchsorted(seen, base)


def _numbered(count: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For ``count [n]``: owner [sum], number inside the owner [sum], offsets [n+1]."""
    offsets = np.concatenate([[0], count.cumsum()])
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) - offsets[owner], offsets


def _choice(probs: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """``[n]`` columns drawn from ``probs [n, K]``."""
    cumulative = probs.cumsum(1)
    return (uniform[:, None] * cumulative[:, -1:] >= cumulative).sum(1).clip(max=probs.shape[1] - 1)
