"""What HTTP bodies must look like; ids are the user's own, integers or strings."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

from hpgr.answering.answerer import By
from hpgr.serving.events import Event, Stored
from hpgr.serving.questions import Question

_LATEST_MS = 253_402_300_800_000  # the year 10000
_MOST_INT = 2**63 - 1


def _writable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can write") from None
    return text


def _moment(value: Any) -> Any:
    """A date-time as ms, UTC where it names no zone."""
    if not isinstance(value, str):
        return value
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError("must be ms since 1970 or an ISO date-time") from None
    found = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    return int((found - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1000)


Text = Annotated[str, Field(min_length=1, max_length=256, strict=True), AfterValidator(_writable)]
Number = Annotated[StrictInt, Field(ge=-_MOST_INT, le=_MOST_INT)]
Id = Number | Text
Moment = Annotated[Annotated[StrictInt, Field(ge=0, lt=_LATEST_MS)], BeforeValidator(_moment)]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EventIn(Message):
    """One event. Without ``event_id``, an event with the same content is the same event."""

    user_id: Id
    item_id: Id
    timestamp: Moment = Field(description="ms since 1970, or an ISO date-time (UTC where it names no zone)")
    event_id: Id | None = None
    event: Text | None = Field(default=None, description="the action, in the words of the training log")
    session_id: Id | None = None

    def event_of(self) -> Event:
        return Event(
            user=str(self.user_id),
            item=self.item_id,
            time_ms=self.timestamp,
            event_id="" if self.event_id is None else str(self.event_id),
            action=self.event,
            session=None if self.session_id is None else str(self.session_id),
        )


class Events(Message):
    """Events of any users, in any order."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"events": [{"user_id": "u7", "item_id": "i42", "timestamp": "2026-05-01T12:00:00Z", "event_id": "e1"}]}
            ]
        },
    )
    events: list[EventIn] = Field(min_length=1)


class HistoryEvent(Message):
    """An event of a bare history; times for all of its events or for none."""

    item_id: Id
    timestamp: Moment | None = None
    event: Text | None = None
    session_id: Id | None = None


class Boost(Message):
    """What the odds of an item are multiplied with; 0 leaves it out."""

    item_id: Id
    weight: float = Field(ge=0, le=1e6, allow_inf_nan=False)


class Asked(Message):
    """For whom and when: a ``user_id`` whose events were told, or a bare ``history``, oldest first."""

    user_id: Id | None = None
    history: list[Id | HistoryEvent] | None = Field(default=None, description="item ids, or events with times")
    at: Moment | None = Field(default=None, description="moment of the request; now where left out")
    exclude_seen: bool = False
    by: By = "auto"
    diversity: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    weights: list[Boost] = []

    @model_validator(mode="after")
    def _one_of_two(self) -> Asked:
        if (self.user_id is None) == (self.history is None):
            raise ValueError("user_id and history: give one of the two")
        timed = {isinstance(e, HistoryEvent) and e.timestamp is not None for e in self.history or ()}
        if len(timed) > 1:
            raise ValueError("history: give a timestamp to every event or to none")
        return self

    def question(self, **more: Any) -> Question:
        """As the engine reads it."""
        events = tuple(_stored(i, event) for i, event in enumerate(self.history or (), start=1))
        return Question(
            user=None if self.user_id is None else str(self.user_id),
            events=events,
            untimed=self.history is not None and all(event.time_ms < 0 for event in events),
            at_ms=self.at,
            exclude_seen=self.exclude_seen,
            by=self.by,
            diversity=self.diversity,
            weights=tuple((boost.item_id, boost.weight) for boost in self.weights),
            **more,
        )


class Recommend(Asked):
    """The best ``k`` items: of ``candidates`` where given, else of the catalogue."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"user_id": "u7", "k": 10, "exclude_seen": True},
                {"history": ["i42", "i7"], "k": 5, "categories": ["news"], "diversity": 0.3},
            ]
        },
    )
    k: Annotated[StrictInt, Field(ge=1)] = 10
    candidates: list[Id] | None = Field(default=None, min_length=1)
    available: list[Id] | None = Field(default=None, description="only these items may be answered with")
    categories: list[Text] = []
    pool: Annotated[StrictInt, Field(ge=1)] = Field(default=200, description="items that retrieval hands to the ranker")

    def question(self, **more: Any) -> Question:
        return super().question(
            k=self.k,
            candidates=None if self.candidates is None else tuple(self.candidates),
            available=None if self.available is None else tuple(self.available),
            categories=tuple(self.categories),
            pool=self.pool,
            **more,
        )


class Rank(Asked):
    """Every candidate in order."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"user_id": "u7", "candidates": ["i42", "i7", "i9"]}]}
    )
    candidates: list[Id] = Field(min_length=1)

    def question(self, **more: Any) -> Question:
        return super().question(k=None, candidates=tuple(self.candidates), **more)


class Similar(Message):
    """Items like one item."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"item_id": "i42", "k": 10}]})
    item_id: Id
    k: Annotated[StrictInt, Field(ge=1)] = 10
    available: list[Id] | None = None
    categories: list[Text] = []
    diversity: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)

    def question(self) -> Question:
        return Question(
            k=self.k,
            available=None if self.available is None else tuple(self.available),
            categories=tuple(self.categories),
            diversity=self.diversity,
        )


class Item(BaseModel):
    item_id: int | str
    score: float | None
    rank: int


class Answered(BaseModel):
    """``source``: ``model``, ``prior`` (what is popular, for who has no history) or ``blend`` (of both, for a short one)."""

    model_config = ConfigDict(protected_namespaces=())
    user_id: int | str | None
    items: list[Item]
    source: Literal["model", "blend", "prior"]
    ordered_by: Literal["rank", "retrieve"]
    at_ms: int
    history_length: int
    dropped_events: int
    unknown_items: list[int | str]
    unknown_candidates: list[int | str]
    fingerprint: str


class Told(BaseModel):
    """What became of events: counts; the places in the request of those refused; items that the model's log lacks."""

    accepted: int
    duplicate: int
    too_late: list[int]
    too_early: list[int]
    unknown_items: list[int | str]
    unknown_events: list[str]


class State(BaseModel):
    """What is kept and read of one user."""

    user_id: str
    events: int
    sessions: int
    newest_ms: int | None
    unknown_items: list[int | str]
    damaged_rows: int
    fingerprint: str


class Forgotten(BaseModel):
    user_id: str
    events: int


class Reloaded(BaseModel):
    fingerprint: str


class WrongField(BaseModel):
    field: str
    error: str


class Refused(BaseModel):
    """Why there is no answer, in one sentence; ``fields`` of the body that are to be changed, where it is that."""

    error: str
    fields: list[WrongField] = []


def _stored(place: int, event: int | str | HistoryEvent) -> Stored:
    if not isinstance(event, HistoryEvent):
        return Stored(place, -1, event, None, None)
    session = None if event.session_id is None else str(event.session_id)
    return Stored(place, -1 if event.timestamp is None else event.timestamp, event.item_id, event.event, session)
