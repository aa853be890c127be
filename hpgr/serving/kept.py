"""What a bundle's model has worked out of users is kept for their next question, up to a budget, and grows by their events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor

from hpgr.core.batch import Candidates, History
from hpgr.frames.ranking_state import Event, RankingState

# To begin again costs about as much as this many events one by one.
_ONE_BY_ONE = 6
What = Literal["query", "state"]
_WHAT: tuple[What, What] = ("query", "state")


@dataclass(slots=True)
class KeptCounts:
    """``hits``: queries and states used as they were; ``grown``: by newer events; ``begun``: worked out anew."""

    hits: int = 0
    grown: int = 0
    begun: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Of one user's ``past``, asked at one moment: the query ``[1, ...]`` of the first stage, or the state of the ranker.

    ``epoch``: of the user, who has another after being forgotten.
    """

    past: History
    found: Tensor | RankingState
    epoch: str = ""

    @property
    def num_bytes(self) -> int:
        found = self.found.num_bytes if isinstance(self.found, RankingState) else 4 * self.found.numel()
        return found + 40 * self.past.num_events + 1000


class KeptModel:
    """The model of a bundle, asked with what is kept of users; of a bare history, whose user is None, nothing is.

    Answers are what the model gives with nothing kept, up to rounding. One thread asks at a time; any may forget.
    """

    def __init__(self, frame: Any, budget_bytes: int) -> None:
        self._frame, self._budget, self.counts = frame, budget_bytes, KeptCounts()
        self.keeps_queries = hasattr(frame, "query_vectors")
        self.keeps_states = bool(getattr(frame, "keeps_states", False))
        self._grows = self.keeps_states and frame.why_not_appended() is None
        self._held: OrderedDict[tuple[str, What], Kept] = OrderedDict()
        self._lock, self.forgets = Lock(), 0
        self._since: int | None = None
        self._epochs: Mapping[str, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, since: int, epochs: Mapping[str, str]) -> None:
        """What follows is asked of histories that were read when ``forgets`` was ``since``, in these ``epochs`` of their users.

        What was kept in another epoch goes, also where another process was told to forget.
        """
        with self._lock:
            self._since, self._epochs = since, epochs
            for user, epoch in epochs.items():
                for what in _WHAT:
                    kept = self._held.get((user, what))
                    if kept is not None and kept.epoch != epoch:
                        self._drop((user, what))

    def queries(self, users: Sequence[str | None], history: History) -> Tensor:
        """``[B, D]`` or ``[B, Q, D]``: what the first stage asks the catalogue, for the users of ``history`` in their order."""
        forgets, pasts = self._begun_at(), [history.of_user(b) for b in range(history.num_users)]
        found: dict[int, Tensor] = {}
        for b, past in enumerate(pasts):
            kept = self._kept(users[b], "query")
            if kept is not None and _same_moment(kept.past, past):
                assert isinstance(kept.found, Tensor)
                found[b] = kept.found
        self.counts.hits += len(found)
        missing = [b for b in range(len(pasts)) if b not in found]
        if missing:
            self.counts.begun += len(missing)
            queries = self._frame.query(History.together([pasts[b] for b in missing]))
            for n, b in enumerate(missing):
                found[b] = queries[n : n + 1].clone()
                self._keep(users[b], "query", Kept(pasts[b], found[b]), forgets)
        return torch.cat([found[b] for b in range(len(pasts))])

    def logits(self, users: Sequence[str | None], history: History, candidates: Candidates) -> Tensor:
        """``[C, tasks]``: the ranker's, as the frame gives them."""
        if not self.keeps_states:
            return self._frame.logits(history, candidates)
        return self._frame.score(self._states(users, history), candidates)

    def forget(self, user: str) -> None:
        """Nothing of the user stays."""
        with self._lock:
            self.forgets += 1
            for what in _WHAT:
                self._drop((user, what))

    def _states(self, users: Sequence[str | None], history: History) -> RankingState:
        forgets, pasts = self._begun_at(), [history.of_user(b) for b in range(history.num_users)]
        found: dict[int, RankingState] = {}
        missing, ahead = [], set()
        for b, past in enumerate(pasts):
            kept = self._kept(users[b], "state")
            state = None if kept is None else self._grown(kept, past)
            if state is None:
                missing.append(b)
                # Asked about a moment in the past, a user does not lose the state that stands ahead of it.
                if kept is not None and self._grows and _begins_with(kept.past, past):
                    ahead.add(b)
            elif kept is not None and state is not kept.found:
                self.counts.grown += 1
                self._keep(users[b], "state", Kept(past, state), forgets)
            else:
                self.counts.hits += 1
            if state is not None:
                found[b] = state
        if missing:
            self.counts.begun += len(missing)
            begun = self._begun([users[b] for b in missing], [pasts[b] for b in missing])
            for n, b in enumerate(missing):
                found[b] = begun if len(missing) == 1 else begun.of_user(n)
                if b not in ahead:
                    self._keep(users[b], "state", Kept(pasts[b], found[b]), forgets)
        return RankingState.together([found[b] for b in range(len(pasts))])

    def _begun(self, users: list[str | None], pasts: list[History]) -> RankingState:
        asked = History.together(pasts)
        if self.keeps_queries and self._frame.config.told:
            return self._frame.begin(asked, self.queries(users, asked))
        return self._frame.begin(asked)

    def _grown(self, kept: Kept, past: History) -> RankingState | None:
        """The kept state, with the events that came since; None where it must be begun again."""
        state = kept.found
        assert isinstance(state, RankingState)
        if not self._grows:
            return state if _same_moment(kept.past, past) else None
        known = kept.past.num_events
        if past.num_events - known > _ONE_BY_ONE or not _begins_with(past, kept.past):
            return None
        begins = set(past.session_offsets.tolist())
        columns = (past.item_idx, past.time_ms, past.action)
        for at, (item, time_ms, action) in enumerate(zip(*(x[known:].tolist() for x in columns)), start=known):
            event = Event(item_idx=item, time_ms=time_ms, action=action, new_session=at in begins)
            state = self._frame.append(state, event)
        return state

    def _kept(self, user: str | None, what: What) -> Kept | None:
        if user is None:
            return None
        with self._lock:
            kept = self._held.get((user, what))
            if kept is not None:
                self._held.move_to_end((user, what))
            return kept

    def _keep(self, user: str | None, what: What, kept: Kept, forgets: int) -> None:
        """Unless somebody was forgotten since it was begun. What was asked for longest ago goes first."""
        with self._lock:
            if user is None or forgets != self.forgets:
                return
            self._drop((user, what))
            self._held[user, what] = replace(kept, epoch=self._epochs.get(user, ""))
            self.counts.bytes += kept.num_bytes
            while self.counts.bytes > self._budget and self._held:
                self._drop(next(iter(self._held)))

    def _begun_at(self) -> int:
        return self.forgets if self._since is None else self._since

    def _drop(self, key: tuple[str, What]) -> None:
        gone = self._held.pop(key, None)
        if gone is not None:
            self.counts.bytes -= gone.num_bytes


def _same_moment(one: History, other: History) -> bool:
    """Whether both are the same events, asked at the same moment."""
    if one.num_events != other.num_events or not torch.equal(one.now_ms, other.now_ms):
        return False
    return torch.equal(one.session_open, other.session_open) and _begins_with(one, other)


def _begins_with(longer: History, shorter: History) -> bool:
    """Whether ``shorter`` is the beginning of ``longer``, sessions and all."""
    known = shorter.num_events
    if longer.num_events < known:
        return False
    if not all(torch.equal(getattr(longer, c)[:known], getattr(shorter, c)) for c in ("item_idx", "time_ms", "action")):
        return False
    begins = longer.session_offsets[:-1]
    return torch.equal(begins[begins < known], shorter.session_offsets[:-1])
