"""Facts of SASRec: its three blocks, and states that the future does not touch by a single bit."""

from __future__ import annotations

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.models.cape import cape
from hpgr.models.esasrec import esasrec
from hpgr.models.gsasrec import gsasrec
from hpgr.models.hstu import hstu
from hpgr.models.sasrec import sasrec
from hpgr.models.sessionrec import sessionrec

BLOCKS = ["pre", "post", "released"]


@pytest.mark.parametrize("block", BLOCKS)
def test_later_items_leave_states_as_they_are_to_the_bit(block):
    frame = sasrec(dim=16, block=block).build(num_items=30).eval()
    told = torch.randint(30, (40,)).tolist()
    states = frame.states(History.from_lists([told, [3, 4]])).values
    for place in (1, 17, 39):
        later = [*told[:place], *((item + 1) % 30 for item in told[place:])]
        after = frame.states(History.from_lists([later, [3, 4]])).values
        assert torch.equal(states[:place], after[:place])
        assert not torch.equal(states[place], after[place])


@pytest.mark.parametrize("dim", [8, 50])
def test_parameters_of_a_released_block(dim):
    frame = sasrec(dim=dim, num_heads=1, block="released").build(num_items=30)
    counts = [sum(p.numel() for p in layer.parameters()) for layer in frame.encoder.layers]
    assert counts == [5 * (dim**2 + dim) + 4 * dim] * 2


def test_unknown_blocks_are_named():
    with pytest.raises(ConfigError, match=r"norm \(before\) must be pre, post or released"):
        sasrec(block="before")


@pytest.mark.parametrize("make", [sasrec, gsasrec, esasrec, cape, hstu, sessionrec], ids=lambda make: make.__name__)
def test_dropout_acts_on_what_the_first_layer_reads(make):
    # Models that are compared must be held back alike.
    encoder = make(dropout=0.3).encoder
    assert getattr(encoder, "encoder", encoder).dropout == 0.3


@pytest.mark.parametrize("dropout", [2.0, -0.1, float("nan")])
def test_dropout_is_a_share(dropout):
    with pytest.raises(ConfigError, match=r"dropout \(.*\) must lie in \[0, 1\)"):
        sasrec(dropout=dropout)
