"""A row of a table of results: one model, a card a seed, and what is told of both."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.headlines import EVALUATION, FIT, TRIALS
from hpgr.evaluation.intervals import Interval

UNKNOWN_COMMIT = "commit unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A model: its cards, one a seed. ``metrics`` are means over users and seeds; ``spread`` are standard deviations
    over seeds, where there are several. ``below``: the counting baselines that are ahead in the table's first metric."""

    label: str
    cards: tuple[ResultCard, ...]
    metrics: dict[str, Interval]
    spread: dict[str, float]
    below: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds, ascending."""
        return tuple(sorted(seed for card in self.cards for seed in card.seeds))

    @property
    def trials(self) -> int:
        """Settings that were tried on the validation part before; 0 for a model that was not tuned."""
        return max(int(card.monitors.get(TRIALS) or 0) for card in self.cards)

    @property
    def training_s(self) -> float | None:
        """Seconds of training of one seed, on average over those that were timed; None where none was."""
        parts = [[s for part, s in card.wall_time_s.items() if part != EVALUATION] for card in self.cards]
        return fmean(sum(found) for found in parts if found) if any(parts) else None

    @property
    def budget(self) -> dict[str, dict[str, int | None]]:
        """By stage that was trained: ``epochs`` at most, and ``limit_batches`` of an epoch, None for all of them."""
        card = self.cards[0]
        settings = card.config.get("stages", {}) if isinstance(card.config, dict) else {}
        known = {stage: settings[stage] for stage in trained_stages(card) if stage in settings}
        return {stage: {n: one.get(n) for n in ("epochs", "limit_batches")} for stage, one in known.items()}

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most that the process of any seed held, as its card tells."""
        return max((card.peak_memory_bytes for card in self.cards if card.peak_memory_bytes is not None), default=None)

    @property
    def num_parameters(self) -> int | None:
        """Trained numbers."""
        return self.cards[0].num_parameters

    @property
    def commits(self) -> tuple[str, ...]:
        """The commits that the cards were made at; ``UNKNOWN_COMMIT`` for cards that do not say."""
        return tuple(sorted({card.commit or UNKNOWN_COMMIT for card in self.cards}))

    @property
    def hardware(self) -> tuple[str, ...]:
        """Device and number of processors."""
        return tuple(sorted({_machine(card.hardware) for card in self.cards}))

    @property
    def date(self) -> str:
        """The day of the latest card, UTC."""
        return max(card.created for card in self.cards)[:10]


def trained_stages(card: ResultCard) -> list[str]:
    """The stages that were trained."""
    return [part for part in card.wall_time_s if part not in (FIT, EVALUATION)]


def _machine(hardware: dict[str, Any]) -> str:
    return f"{hardware.get('device', 'device unknown')}, {hardware.get('cpu_count', '?')} processors"
