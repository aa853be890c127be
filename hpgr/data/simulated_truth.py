"""What is true of a simulated view before it happens: the distribution of its item, and the rank of the one that
came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpgr.data.simulated_catalogue import SUCCESSOR_PROBS, SimulatedCatalogue
from hpgr.data.simulated_users import SimulatedUsers

if TYPE_CHECKING:
    from hpgr.data.simulator import Simulator

_BLOCK_CELLS = 4_000_000


def next_item_ranks(
    config: Simulator.Config, catalogue: SimulatedCatalogue, users: SimulatedUsers, events: np.ndarray | None = None
) -> np.ndarray:
    """``[n]`` rank, from 1 and with ties by expectation, of each viewed item of ``events [n]`` (all without it).

    The ranking is by ``next_item_probs``; works in blocks of bounded memory.
    """
    events = np.arange(users.num_events) if events is None else events
    ranks = np.empty(len(events))
    block = max(1, _BLOCK_CELLS // catalogue.num_items)
    for start in range(0, len(events), block):
        rows = events[start : start + block]
        probs = next_item_probs(config, catalogue, users, rows)
        own = probs[np.arange(len(rows)), users.event_item[rows], None]
        ranks[start : start + block] = 1 + (probs > own).sum(1) + ((probs == own).sum(1) - 1) / 2
    return ranks


def next_item_probs(
    config: Simulator.Config, catalogue: SimulatedCatalogue, users: SimulatedUsers, events: np.ndarray
) -> np.ndarray:
    """``[n, V]`` true distribution of the item of the views ``events [n]``, rows adding up to 1.

    Known are the user's taste and past, the day, and the last step of the session's walk. The intent is known from a
    session's second view on; for the first one it is as uncertain as the taste and the category chain leave it.
    """
    session = users.event_session[events]
    day, weights = users.session_day[session], catalogue.weights
    belief = _belief(users, events)
    returns = _returns(config, catalogue, users, events, belief)
    # A return stays in the category of its intent.
    walk_mass = belief - np.add.reduceat(returns, catalogue.category_offsets[:-1], axis=1)
    by_popularity = walk_mass / catalogue.category_weight[day]
    last = users.last_walked[events]
    walked = np.flatnonzero(last >= 0)
    follower = catalogue.successors[last[walked]]
    step = config.chain_prob * SUCCESSOR_PROBS * (catalogue.release_day[follower] <= day[walked, None])
    by_popularity[walked] *= 1 - step.sum(1, keepdims=True)
    probs = returns + weights[day] * np.repeat(by_popularity, np.diff(catalogue.category_offsets), axis=1)
    mass = walk_mass[walked, users.intent[session[walked]]]
    np.add.at(probs, (walked[:, None], follower), mass[:, None] * step)
    probs *= 1 - config.noise
    probs += config.noise * weights[day] / weights[day].sum(1, keepdims=True)
    return probs


def _belief(users: SimulatedUsers, events: np.ndarray) -> np.ndarray:
    """``[n, K]`` chances of the session's intent before each event."""
    session = users.event_session[events]
    belief = users.intent_probs(users.session_user[session], users.session_day[session], users.previous_intent[session])
    known = np.flatnonzero(events > users.event_offsets[session])
    belief[known] = 0.0
    belief[known, users.intent[session[known]]] = 1.0
    return belief


def _returns(
    config: Simulator.Config,
    catalogue: SimulatedCatalogue,
    users: SimulatedUsers,
    events: np.ndarray,
    belief: np.ndarray,
) -> np.ndarray:
    """``[n, V]`` chances, noise apart, that the view returns to an item of the user's earlier sessions of its
    intent."""
    session = users.event_session[events]
    first_view = users.event_offsets[users.first_session_of(session)]
    start, stop = (np.searchsorted(users.pool, view) for view in (first_view, users.event_offsets[session]))
    row = np.repeat(np.arange(len(events)), stop - start)
    offset = np.arange(len(row)) - np.repeat((stop - start).cumsum() - (stop - start), stop - start)
    viewed = users.pool[start[row] + offset]
    cell = row * catalogue.num_categories + users.intent[users.event_session[viewed]]
    count = np.bincount(cell, minlength=belief.size)
    chance = config.repeat_prob * belief.ravel()[cell] / count[cell]
    flat = np.bincount(row * catalogue.num_items + users.event_item[viewed], chance, len(events) * catalogue.num_items)
    return flat.reshape(len(events), catalogue.num_items)
