"""Any followed encoder, run some steps further on its own last state. Tang et al., 2025, arXiv:2503.22675 (ReaRec).

Departs: every event that is read thinks, not only the newest one; the noisy copy shares the history's pass with the clean one,
and its warm-up is counted in batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.encoders import why_not_followed


class Reasoning(nn.Module):
    """``r_{k+1}`` is the state of a token ``r_k + Q_k`` that follows the event; ``r_0`` is the encoder's own state of it.

    ``think`` chooses the number of steps for requests; beyond those that were trained the last ``Q`` is taken again.
    """

    batches: Tensor

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``encoder``: config of the encoder inside. ``steps``: tokens that follow an event. ``std``: of the initial ``Q``.
        ``noise``: deviation of what is added, while training, to the tokens of a second copy, from the batch
        ``warmup_batches`` on; 0: no copy."""

        several_states: ClassVar[bool] = True

        encoder: Any
        steps: int = 2
        std: float = 0.02
        noise: float = 0.0
        warmup_batches: int = 0

        def __post_init__(self) -> None:
            for name in ("steps", "noise", "warmup_batches"):
                if not getattr(self, name) >= 0:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must not be negative")
            if self.steps != int(self.steps):
                raise ConfigError(f"steps ({self.steps}) must be a whole number")
            if not self.std > 0:
                raise ConfigError(f"std ({self.std}) must be positive")

        @property
        def inside(self) -> tuple[Any, ...]:
            """The encoder that it holds."""
            return (self.encoder,)

        @property
        def causal(self) -> bool:
            """Whether a state knows nothing of later events, as the encoder inside says."""
            return getattr(self.encoder, "causal", False)

        @property
        def causal_sessions(self) -> bool:
            """The same of later sessions."""
            return getattr(self.encoder, "causal_sessions", self.causal)

        def build(self, *, dim: int) -> Reasoning:
            """Raises: UnsupportedError where tokens cannot follow the events of the encoder."""
            return Reasoning(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config, self.steps = config, config.steps
        self.encoder = config.encoder.build(dim=dim)
        if config.steps and (why := why_not_followed(self.encoder)) is not None:
            raise UnsupportedError(f"steps ({config.steps}) must be 0 for this encoder: {why}")
        self.place = nn.Parameter(torch.randn(max(1, config.steps), dim) * config.std)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def think(self, steps: int) -> None:
        """Answer requests after so many steps.

        Raises: ConfigError for less than none.
        """
        if steps < 0:
            raise ConfigError(f"steps ({steps}) must not be negative")
        self.steps = steps

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``: the last thought of every event."""
        every = torch.arange(x.values.shape[0], device=x.values.device)
        return x.with_values(self._thoughts(x, history, every, 0.0)[:, 0, -1])

    def states_at(self, x: Jagged, history: History, rows_N: Tensor) -> Tensor:
        """``[N, K + 1, D]``: ``r_0 … r_K`` of the events; while training with noise ``[N, 2, K + 1, D]``, the noisy copy second."""
        noise = 0.0
        if self.training and self.config.steps and self.config.noise:
            noise = self.config.noise if int(self.batches) >= self.config.warmup_batches else 0.0
            self.batches += 1
        thoughts = self._thoughts(x, history, rows_N, noise)
        return thoughts if noise else thoughts[:, 0]

    def _thoughts(self, x: Jagged, history: History, rows_N: Tensor, noise: float) -> Tensor:
        """``[N, copies, K + 1, D]``."""
        steps = self.config.steps if self.training else self.steps
        if not steps:
            return self.encoder(x, history).values[rows_N][:, None, None]
        order, copies = rows_N.argsort(stable=True), 2 if noise else 1
        after_M = rows_N[order].repeat_interleave(copies)
        states, chains = self.encoder.begin(x, history, after_M)
        thoughts = [states.values[after_M]]
        for step in range(steps):
            token_MD = thoughts[-1] + self.place[min(step, len(self.place) - 1)]
            if noise:
                added_MD = noise * torch.randn_like(token_MD)
                added_MD[::2] = 0.0
                token_MD = token_MD + added_MD
            state_MD, chains = self.encoder.follow(chains, token_MD)
            thoughts.append(state_MD)
        found = torch.stack(thoughts, 1).unflatten(0, (-1, copies))
        return found[order.argsort()]
