"""Events read again in the light of what was retrieved before. Li et al., AAAI 2024 (Ada-Retrieval, item adapter)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged


class RetrievedContext(nn.Module):
    """Each list is filtered along its ranks, then every event attends to all lists: ``LN(x + softmax(x F / √D) F)``.

    A list is filtered as in FMLP-Rec: ``LN(X + W irfft(rfft(X) ⊙ C))`` with learned complex ``C``.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``std``: of the initial filter."""

        dropout: float = 0.2
        std: float = 0.02
        eps: float = 1e-12

        def __post_init__(self) -> None:
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")
            if not self.std > 0:
                raise ConfigError(f"std ({self.std}) must be positive")

        def build(self, *, dim: int, list_len: int) -> RetrievedContext:
            return RetrievedContext(self, dim, list_len)

    def __init__(self, config: Config, dim: int, list_len: int) -> None:
        super().__init__()
        self.list_len = list_len
        # Real and imaginary parts: bundles hold real numbers.
        self.filter = nn.Parameter(torch.randn(list_len // 2 + 1, dim, 2) * config.std)
        self.mix = nn.Linear(dim, dim)
        self.list_norm, self.norm = (nn.LayerNorm(dim, eps=config.eps) for _ in range(2))
        self.dropout = nn.Dropout(config.dropout)

    def filtered(self, x_BKD: Tensor) -> Tensor:
        """``[B, K, D]``: one list of each user, best first."""
        spectrum = torch.fft.rfft(x_BKD, dim=1, norm="ortho") * torch.view_as_complex(self.filter)
        back_BKD = torch.fft.irfft(spectrum, n=self.list_len, dim=1, norm="ortho")
        return self.list_norm(x_BKD + self.dropout(self.mix(back_BKD)))

    def forward(self, x: Jagged, lists: list[tuple[Tensor, Tensor]]) -> Tensor:
        """``[T, D]``. ``lists``: of each round ``(x_BKD, there_BK)``, where ``there`` is False for places without an item."""
        with torch.autocast(x.values.device.type, enabled=False):
            x_BLD, mask_BL = x.with_values(x.values.to(self.mix.weight.dtype)).to_padded()
            there_BC = torch.cat([there_BK for _, there_BK in lists], 1)
            found_BCD = torch.cat([self.filtered(x_BKD * there_BK[:, :, None]) for x_BKD, there_BK in lists], 1)
            scores_BLC = x_BLD @ found_BCD.transpose(1, 2) / x_BLD.shape[2] ** 0.5
            scores_BLC = scores_BLC.masked_fill(~there_BC[:, None], torch.finfo(scores_BLC.dtype).min)
            # Where nothing at all was retrieved, nothing is added.
            read_BLD = scores_BLC.softmax(2) @ (found_BCD * there_BC[:, :, None])
            read_TD = read_BLD[mask_BL]
            return self.norm(x.values + self.dropout(read_TD))
