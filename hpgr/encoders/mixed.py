"""Two encoders that read the same events, and a fixed mixture of their states. Zhu et al., WSDM 2024, arXiv:2311.01056 (MQSA).

Scores are linear in the state, so that mixing states is mixing the scores of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.encoders import newest_states, why_not_followed
from hpgr.nn.position import TimeAwarePosition


class MixedEncoder(nn.Module):
    """``share · first + (1 - share) · second``."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``first``, ``second``: configs of any encoders; ``share`` of the first, in [0, 1]. ``position``: places that both
        read, beside what each has of its own."""

        first: Any
        second: Any
        share: float = 0.5
        position: TimeAwarePosition.Config | None = None

        def __post_init__(self) -> None:
            if not 0 <= self.share <= 1:
                raise ConfigError(f"share ({self.share}) must lie in [0, 1]")

        @property
        def inside(self) -> tuple[Any, ...]:
            """Both encoders."""
            return self.first, self.second

        @property
        def causal(self) -> bool:
            """Whether a state knows nothing of later events: only where both say so."""
            return all(getattr(encoder, "causal", False) for encoder in (self.first, self.second))

        @property
        def causal_sessions(self) -> bool:
            """The same of later sessions."""
            return all(
                getattr(encoder, "causal_sessions", getattr(encoder, "causal", False))
                for encoder in (self.first, self.second)
            )

        def build(self, *, dim: int) -> MixedEncoder:
            return MixedEncoder(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.share = config.share
        self.position = config.position.build(dim=dim) if config.position else None
        self.first, self.second = config.first.build(dim=dim), config.second.build(dim=dim)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``."""
        x = self._placed(x, history)
        return x.with_values(self._mixed(*(encoder(x, history).values for encoder in (self.first, self.second))))

    def newest(self, x: Jagged, history: History) -> Tensor:
        """``[N, D]``: the states of the newest event of each user that has any."""
        x = self._placed(x, history)
        return self._mixed(*(newest_states(encoder, x, history) for encoder in (self.first, self.second)))

    def begin(self, x: Jagged, history: History, after_N: Tensor) -> tuple[Jagged, Any]:
        """As ``FollowedEncoder.begin``."""
        x = self._placed(x, history)
        begun = [encoder.begin(x, history, after_N) for encoder in (self.first, self.second)]
        return x.with_values(self._mixed(*(states.values for states, _ in begun))), tuple(chains for _, chains in begun)

    def follow(self, chains: Any, x_ND: Tensor) -> tuple[Tensor, Any]:
        """As ``FollowedEncoder.follow``."""
        found = [encoder.follow(own, x_ND) for encoder, own in zip((self.first, self.second), chains)]
        return self._mixed(*(state_ND for state_ND, _ in found)), tuple(longer for _, longer in found)

    def why_not_followed(self) -> str | None:
        """What hinders one of the two."""
        return why_not_followed(self.first) or why_not_followed(self.second)

    def _placed(self, x: Jagged, history: History) -> Jagged:
        if self.position is None:
            return x
        place_TD = self.position.for_history(history.user_offsets, history.time_ms, history.now_ms)
        return x.with_values(x.values + place_TD)

    def _mixed(self, first_ND: Tensor, second_ND: Tensor) -> Tensor:
        return self.share * first_ND + (1 - self.share) * second_ND
