"""Simultaneous events in an order that means nothing, so that no model learns the one in which a store keeps them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from hpgr.core.batch import History


def shuffled_ties(history: History, draw_T: np.ndarray) -> History:
    """Events of one session and one moment ordered by ``draw_T [T]``; times, sessions and users stay as they are."""
    session_T, time_T = history.session_of_event().numpy(), history.time_ms.numpy()
    order = torch.from_numpy(np.lexsort((draw_T, time_T, session_T)))
    return replace(
        history,
        item_idx=history.item_idx[order],
        action=history.action[order],
        features={name: column[order] for name, column in history.features.items()},
    )
