"""Cross-entropy of predictions against the items of their buckets. Mezentsev et al., RecSys 2024, arXiv:2409.18721."""

from __future__ import annotations

import torch
from torch import Tensor


def bucketed_softmax_loss(
    states_ND: Tensor, target_N: Tensor, table_VD: Tensor, bias_V: Tensor | None, members_KP: Tensor, rows_KM: Tensor
) -> Tensor:
    """Mean over the predictions that are in a bucket of the largest of their buckets' costs, in nats; 0 without any.

    Bucket ``k`` holds the predictions ``members[k]``, none twice, and the items ``rows[k]``; in it a prediction costs the
    cross-entropy of its target among the target and those items, which is never more than that over the whole catalogue.
    """
    exact = torch.promote_types(torch.float32, torch.promote_types(states_ND.dtype, table_VD.dtype))
    with torch.autocast(states_ND.device.type, enabled=False):
        states_ND, table_VD = states_ND.to(exact), table_VD.to(exact)
        own_N = (states_ND * table_VD[target_N]).sum(1)
        scores_KPM = states_ND[members_KP] @ table_VD[rows_KM].transpose(1, 2)
        if bias_V is not None:
            own_N, scores_KPM = own_N + bias_V[target_N], scores_KPM + bias_V[rows_KM][:, None]
        again_KPM = rows_KM[:, None, :] == target_N[members_KP][:, :, None]
        own_KP1 = own_N[members_KP][..., None]
        every_KPM = torch.cat([own_KP1, scores_KPM.masked_fill(again_KPM, -torch.inf)], 2)
        cost_KP = every_KPM.logsumexp(2) - own_KP1.squeeze(2)
    member_N = members_KP.flatten()
    worst_N = torch.zeros_like(own_N).scatter_reduce(0, member_N, cost_KP.flatten(), "amax", include_self=False)
    # Zero, and without a gradient, where a prediction is in no bucket.
    return worst_N.sum() / member_N.unique().shape[0] if member_N.shape[0] else worst_N.sum()


def bucketed_softmax_reference(
    states_ND: Tensor, target_N: Tensor, table_VD: Tensor, bias_V: Tensor | None, members_KP: Tensor, rows_KM: Tensor
) -> Tensor:
    """What ``bucketed_softmax_loss`` gives, prediction by prediction."""
    costs: dict[int, list[Tensor]] = {}
    for members, rows in zip(members_KP.tolist(), rows_KM.tolist()):
        for n in members:
            target = int(target_N[n])
            some = [target, *(row for row in rows if row != target)]
            scores = table_VD[some] @ states_ND[n]
            if bias_V is not None:
                scores = scores + bias_V[some]
            costs.setdefault(n, []).append(-scores.log_softmax(0)[0])
    worst = [torch.stack(found).amax() for found in costs.values()]
    return torch.stack(worst).mean() if worst else states_ND.sum() * 0.0
