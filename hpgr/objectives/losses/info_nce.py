"""InfoNCE between two views of the same rows, without what only looks like a negative."""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce_loss(first_ND: Tensor, second_ND: Tensor, id_N: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Mean over the ``2 N`` rows of both views of ``-log softmax`` of the dot product with the other view of the same row.

    Its negatives are the rows of both views whose ``id_N`` is another; rows of an equal id count on neither side. 0 where
    all ids are equal, and where there is no row. Unlike ids throughout give NT-Xent with dot products.

    Source: van den Oord et al., 2018, arXiv:1807.03748; Chen et al., ICML 2020, arXiv:2002.05709 (both views' rows);
    Qin et al., WSDM 2024, arXiv:2310.14318 (the mask).
    """
    if first_ND.shape != second_ND.shape or id_N.shape != first_ND.shape[:1]:
        raise ValueError(
            f"both views must have one shape (N, D) and N ids; got {tuple(first_ND.shape)}, {tuple(second_ND.shape)} "
            f"and {tuple(id_N.shape)}"
        )
    if not id_N.shape[0]:
        return (first_ND.sum() + second_ND.sum()) * 0.0
    with torch.autocast(first_ND.device.type, enabled=False):
        both_MD = torch.cat([first_ND, second_ND]).to(torch.promote_types(torch.float32, first_ND.dtype))
        scores_MM = both_MD @ both_MD.T / temperature
        id_M = torch.cat([id_N, id_N])
        negative_MM = scores_MM.masked_fill(id_M[:, None] == id_M, -torch.inf)
        positive_M = scores_MM.diagonal(id_N.shape[0]).repeat(2)
        return (torch.cat([positive_M[:, None], negative_MM], 1).logsumexp(1) - positive_M).mean()
