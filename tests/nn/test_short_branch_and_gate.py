from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.nn.selective_gate import SelectiveGate
from hpgr.nn.short_branch import ShortBranch

LENGTHS = [3, 0, 1, 6]
OFFSETS = offsets_of(torch.tensor(LENGTHS))


def test_the_branch_is_torch_s_convolution_and_recurrent_layer_row_by_row(close):
    branch, x = ShortBranch.Config().build(dim=4).double(), torch.randn(10, 4).double()
    # [D, 3 D] to [D, D, 3]: what lies before, the event, what lies after.
    weight = branch.convolution.weight.view(4, 3, 4).transpose(1, 2)
    got = branch(x, OFFSETS)
    for start, stop in zip(OFFSETS[:-1].tolist(), OFFSETS[1:].tolist()):
        if start < stop:
            mixed = F.conv1d(x[start:stop].T[None], weight, branch.convolution.bias, padding=1)[0].T
            close(got[start:stop], branch.recurrent(mixed)[0])
    assert branch(x[:0], torch.tensor([0, 0])).shape == (0, 4)


@pytest.mark.parametrize("form", ["clean", "released"])
def test_gates_are_the_card_s_equations(form, close):
    gate = SelectiveGate.Config(form=form).build(dim=4, num_streams=2).double().eval()
    x, flipped = torch.randn(2, 5, 4).double()
    first, second = gate(x, flipped)
    h_1, h_2 = x + gate.streams[0](x), flipped + gate.streams[1](flipped)
    close(first, gate.silu(F.silu(h_1)) + gate.sigmoid(h_1.sigmoid()))
    close(second, gate.silu(F.silu(h_2)) + gate.sigmoid((first if form == "released" else h_2).sigmoid()))


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"width \(4\) must be a positive odd number"):
        ShortBranch.Config(width=4)
    with pytest.raises(ConfigError, match=r"form \(paper\) must be clean or released"):
        SelectiveGate.Config(form="paper")
