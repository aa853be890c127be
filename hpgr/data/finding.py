"""One thing that the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "risk", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``error``: a result would be corrupt. ``risk``: a result can mislead. ``note``: good to know."""

    level: Level
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found, errors first."""

    all: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.all if finding.level == "error")

    def codes(self) -> set[str]:
        """The codes of all findings."""
        return {finding.code for finding in self.all}

    @classmethod
    def of(cls, found: list[Finding]) -> Findings:
        """``found`` by level, in order inside a level."""
        return cls(tuple(sorted(found, key=lambda finding: ("error", "risk", "note").index(finding.level))))
