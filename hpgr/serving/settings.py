"""What a service may use, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from hpgr.answering.indexing import INDEXES
from hpgr.core.errors import ConfigError, UnknownNameError

PRIORS = ("context", "recent", "training")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """``memory_mb`` of histories are held, of at most ``max_events`` a user, and ``state_mb`` of what the model worked out of
    them. A user with fewer than ``blend_events`` events is answered from the model and the prior together. A question about
    now is asked at the last whole ``moment_s``, or just after the user's newest event; 0: at the millisecond. Until the next
    one, what the model worked out holds. ``prior``: what is popular, as ``Popularity`` tells. ``index`` finds candidates where
    nothing narrows the question: ``exact``, ``flat``, ``hnsw`` or ``ivfpq``. ``items``: a table of items newer than the bundle."""

    memory_mb: int = 256
    state_mb: int = 256
    max_events: int = 4096
    blend_events: int = 5
    moment_s: float = 1.0
    prior: Literal["context", "recent", "training"] = "recent"
    index: str = "exact"
    items: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("memory_mb", 1), ("state_mb", 0), ("max_events", 1), ("blend_events", 0), ("moment_s", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} ({getattr(self, name)}) must be at least {least}")
        for name, value, known in (("prior", self.prior, PRIORS), ("index", self.index, INDEXES)):
            if value not in known:
                raise UnknownNameError.of(name, value, known)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """``queue``: questions, or groups of events, waiting; more are told to come back. ``batch``: questions answered together;
    the first of them waits ``wait_ms`` for the others. Events more than ``late_s`` older than their user's newest, or
    more than ``ahead_s`` later than now, are refused. A body must arrive within ``body_s``."""

    body_bytes: int = 1 << 20
    body_s: float = 10.0
    events: int = 1000
    history: int = 5000
    k: int = 500
    candidates: int = 2000
    available: int = 20_000
    queue: int = 256
    batch: int = 16
    wait_ms: float = 1.0
    timeout_s: float = 2.0
    late_s: float = 7 * 86_400.0
    ahead_s: float = 300.0

    def __post_init__(self) -> None:
        for option in fields(self):
            value, least = getattr(self, option.name), 0 if option.name in ("wait_ms", "late_s", "ahead_s") else 1e-3
            if value < least:
                raise ConfigError(f"{option.name} ({value}) must be at least {least:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """``bundle`` answers; ``shadow``, another, is scored on ``shadow_share`` of the questions and compared.

    ``api_key`` None: nobody is asked for one. ``threads`` of torch.
    """

    bundle: Path
    state: str = "sqlite:hpgr-state.sqlite"
    api_key: str | None = field(default=None, repr=False)
    shadow: Path | None = None
    shadow_share: float = 0.0
    threads: int = 1
    engine: EngineSettings = field(default_factory=EngineSettings)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.shadow_share <= 1:
            raise ConfigError(f"shadow_share ({self.shadow_share}) must lie in [0, 1]")
        if self.shadow_share and self.shadow is None:
            raise ConfigError(f"shadow_share ({self.shadow_share}) must have a shadow bundle; give --shadow")
        if self.threads < 1:
            raise ConfigError(f"threads ({self.threads}) must be at least 1")
        if self.api_key is not None and len(self.api_key) < 8:
            raise ConfigError("api_key (hidden) must have at least 8 characters")
