"""Durations, time units and sizes as people write them."""

from __future__ import annotations

import re

from hpgr.core.errors import ConfigError

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str | float) -> float:
    """Seconds of a duration such as ``30m``, ``1.5h``, ``7d`` or a bare number of seconds.

    Raises: ConfigError if it is not a duration or is negative.

    >>> seconds("30m"), seconds("1.5h"), seconds(90)
    (1800.0, 5400.0, 90.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(text))
    unit = match.group(2) or "s" if match else ""
    if match is None or unit not in _SECONDS:
        raise ConfigError(f"duration ({text}) must be a number with one of the units {', '.join(_SECONDS)}, as in 30m")
    return float(match.group(1)) * _SECONDS[unit]


def human_bytes(count: float) -> str:
    """A size for people.

    >>> human_bytes(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
