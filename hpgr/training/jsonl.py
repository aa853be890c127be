"""The training log: a JSON object a line, safe to go on with after a kill."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hpgr.training.checkpoint import unwritable


class TrainingLog:
    """Appends lines to ``path``; every line has ``stage`` and ``step``. Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def rewind(self, stage: str, step: int) -> None:
        """Drop what ``stage`` wrote after ``step``, which will be done again, and a last line that was cut short."""
        if self.path is None or not self.path.exists():
            return
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _stays(line, stage, step)]
        part = self.path.with_name(self.path.name + ".part")
        part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        part.replace(self.path)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line; numbers that JSON lacks become null.

        Raises: DataError if the disk is full or refuses.
        """
        if self.path is None:
            return
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain) + "\n")
        except OSError as error:
            raise unwritable("training log", self.path, error) from None


def _stays(line: str, stage: str, step: int) -> bool:
    try:
        known = json.loads(line)
    except json.JSONDecodeError:
        return False
    return known["stage"] != stage or known["step"] <= step
