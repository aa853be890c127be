"""Any encoder's states, changed once more before they are held against the items: BERT's prediction head.

Devlin et al., NAACL 2019, arXiv:1810.04805; Sun et al., CIKM 2019, arXiv:1904.06690, equation 7. Departs: every state is
changed, not only those that are read; the scores are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.jagged import Jagged
from hpgr.encoders import why_not_followed
from hpgr.nn.feed_forward import Activation, activation
from hpgr.nn.norm import NormKind, check_norm, norm_layer
from hpgr.nn.truncated_normal import check_std, draw_linears


class TransformedEncoder(nn.Module):
    """``norm(act(W h + b))`` of the states ``h`` of the encoder it holds; a row is changed alone."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``encoder``: config of any encoder. ``init_std`` None: the linear layer's own start."""

        encoder: Any
        act: Activation = "gelu"
        norm_kind: NormKind = "layer"
        eps: float = 1e-8
        init_std: float | None = None

        def __post_init__(self) -> None:
            activation(self.act)
            check_norm(self.norm_kind)
            check_std(self.init_std)

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

        def build(self, *, dim: int) -> TransformedEncoder:
            return TransformedEncoder(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.encoder = config.encoder.build(dim=dim)
        self.dense = nn.Linear(dim, dim)
        self.act = activation(config.act)
        self.norm = norm_layer(config.norm_kind, dim, eps=config.eps)
        draw_linears(self.dense, config.init_std)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``."""
        states = self.encoder(x, history)
        return states.with_values(self._changed(states.values))

    def begin(self, x: Jagged, history: History, after_N: Tensor) -> tuple[Jagged, Any]:
        """As ``FollowedEncoder.begin``."""
        states, chains = self.encoder.begin(x, history, after_N)
        return states.with_values(self._changed(states.values)), chains

    def follow(self, chains: Any, x_ND: Tensor) -> tuple[Tensor, Any]:
        """As ``FollowedEncoder.follow``."""
        states_ND, chains = self.encoder.follow(chains, x_ND)
        return self._changed(states_ND), chains

    def why_not_followed(self) -> str | None:
        """What hinders the encoder inside."""
        return why_not_followed(self.encoder)

    def _changed(self, states_TD: Tensor) -> Tensor:
        return self.norm(self.act(self.dense(states_TD)))
