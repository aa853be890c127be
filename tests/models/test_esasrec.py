"""Facts of eSASRec: LiGR layers in a causal stack."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.models.esasrec import esasrec


@pytest.mark.parametrize(("norm_kind", "per_norm"), [("layer", 2), ("rms", 1)])
def test_parameter_count_of_a_layer(norm_kind, per_norm):
    frame = esasrec(dim=32, norm_kind=norm_kind).build(num_items=10)
    # Four projections and two gates with shifts, three feed-forward layers of four times the width without, two norms.
    want = 6 * (32**2 + 32) + 3 * 4 * 32**2 + 2 * per_norm * 32
    assert [sum(p.numel() for p in layer.parameters()) for layer in frame.encoder.layers] == [want] * 2


def test_closed_gates_leave_the_item_and_its_place(close):
    config = esasrec(dim=8)
    frame = replace(config, encoder=replace(config.encoder, final_norm=False)).build(num_items=10).eval()
    asked = History.from_lists([[1, 2, 3]])
    with torch.no_grad():
        for layer in frame.encoder.layers:
            for gate in (layer.attention_gate, layer.feed_forward_gate):
                gate.bias.fill_(-1e4)
    place_TD = frame.encoder.position.for_history(asked.user_offsets, asked.time_ms, asked.now_ms)
    close(frame.states(asked).values, frame.items(asked.item_idx) + place_TD)
