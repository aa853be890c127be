"""What the page asks; all of it is looked at and nothing kept. Ids go to the page as text, which no browser rounds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt, model_validator

from hpgr.answering.answerer import By
from hpgr.serving.messages import Id, Message, Moment, Text

_MOST_CHANGES = 200


class Ask(Message):
    """A ``user_id`` or a bare ``history`` (neither: a new visitor), without the events ``removed`` (by ``seq``), and with
    ``added`` items, oldest first, as the newest events."""

    user_id: Id | None = None
    history: list[Id] | None = Field(default=None, max_length=500, description="item ids, oldest first")
    removed: list[StrictInt] = Field(default=[], max_length=_MOST_CHANGES)
    added: list[Id] = Field(default=[], max_length=_MOST_CHANGES)
    at: Moment | None = None
    k: Annotated[StrictInt, Field(ge=1, le=50)] = 10
    exclude_seen: bool = False
    by: By = "auto"

    @model_validator(mode="after")
    def _one_of_two(self) -> Ask:
        if self.user_id is not None and self.history is not None:
            raise ValueError("user_id and history: give one of the two, or neither")
        return self


class Explain(Ask):
    """Why ``item_id`` stands where it does."""

    item_id: Id


class Near(Message):
    """Items like ``item_id``."""

    item_id: Id
    k: Annotated[StrictInt, Field(ge=1, le=50)] = 10


class Compare(Message):
    """Two of the result cards that the page lists, by their names there."""

    first: Text
    second: Text
