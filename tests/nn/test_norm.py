from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import UnknownNameError
from hpgr.nn.norm import norm_layer


def test_norms_by_hand(close):
    x = torch.tensor([[1.0, 7.0]])
    # Mean 4 and spread 3; the root of the mean square (1 + 49) / 2 is 5.
    close(norm_layer("layer", 2, eps=0.0)(x), torch.tensor([[-1.0, 1.0]]))
    close(norm_layer("rms", 2, eps=0.0)(x), torch.tensor([[0.2, 1.4]]))


def test_a_root_mean_square_norm_has_no_shift():
    assert [tuple(p.shape) for p in norm_layer("rms", 3).parameters()] == [(3,)]
    assert len(list(norm_layer("layer", 3).parameters())) == 2


def test_unknown_kinds_are_named():
    with pytest.raises(UnknownNameError, match="no norm_kind is named 'rsm'; did you mean rms"):
        norm_layer("rsm", 2)
