from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.nn.selective_layer import SelectiveLayer
from hpgr.nn.shifted import shifted

LENGTHS = [5, 0, 1, 13]
OFFSETS = offsets_of(torch.tensor(LENGTHS))


def layer(**options) -> SelectiveLayer:
    torch.manual_seed(1)
    return SelectiveLayer.Config(state_dim=3, **options).build(dim=4).double()


def test_it_is_the_equations_of_one_row_event_by_event(close):
    module, x = layer(), torch.randn(6, 4).double()
    u, gate = (x @ module.in_proj.weight.T).chunk(2, -1)
    padded = torch.cat([torch.zeros(3, 8).double(), u])
    u = F.silu(torch.stack([(padded[t : t + 4] * module.conv_WE).sum(0) for t in range(6)]) + module.conv_E)
    low, b, c = (u @ module.choose.weight.T).split([1, 3, 3], -1)
    delta = F.softplus(low @ module.step_size.weight.T + module.step_shift_E)
    state, out = torch.zeros(8, 3).double(), []
    for t in range(6):
        state = torch.exp(-delta[t, :, None] * module.log_fading_EN.exp()) * state + (delta[t] * u[t])[:, None] * b[t]
        out.append(state @ c[t] + module.skip_E * u[t])
    want = (torch.stack(out) * F.silu(gate)) @ module.out_proj.weight.T
    close(module(x, torch.tensor([0, 6])), want)


def test_event_by_event_is_the_whole_row(close):
    module, x = layer(), torch.randn(sum(LENGTHS), 4).double()
    whole = module(x, OFFSETS)
    for start, stop in zip(OFFSETS[:-1].tolist(), OFFSETS[1:].tolist()):
        state = module.initial(1)
        for t in range(start, stop):
            state, y = module.step(state, x[t : t + 1])
            close(y, whole[t : t + 1])


def test_rows_do_not_know_each_other_nor_what_comes_later():
    module, x = layer(), torch.randn(sum(LENGTHS), 4).double().requires_grad_()
    (grad,) = torch.autograd.grad(module(x, OFFSETS)[10].square().sum(), x)
    assert (grad[:6] == 0).all()
    assert (grad[11:] == 0).all()
    assert (grad[6:11] != 0).all()


def test_it_begins_as_published():
    module = SelectiveLayer.Config().build(dim=64)
    step = F.softplus(module.step_shift_E)
    assert step.min() >= 0.001
    assert step.max() <= 0.1001
    assert torch.allclose(module.log_fading_EN.exp(), torch.arange(1.0, 33).expand(128, 32))
    assert module.choose.weight.shape == (4 + 2 * 32, 128)


def test_it_works_in_bfloat16():
    module, x = SelectiveLayer.Config().build(dim=16), torch.randn(19, 16)
    want = module(x, OFFSETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = module(x, OFFSETS)
        got.float().square().sum().backward()
    torch.testing.assert_close(got.float(), want, rtol=0.1, atol=0.02)
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_neighbours_end_with_the_row():
    x = torch.arange(1, 7)[:, None]
    offsets = torch.tensor([0, 2, 2, 6])
    assert shifted(x, offsets, 1).flatten().tolist() == [0, 1, 0, 3, 4, 5]
    assert shifted(x, offsets, -1).flatten().tolist() == [2, 0, 4, 5, 6, 0]
    assert shifted(x, offsets, 3).flatten().tolist() == [0, 0, 0, 0, 0, 3]
    assert shifted(x, offsets, 9).flatten().tolist() == [0] * 6


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"state_dim \(0\) must be at least 1"):
        SelectiveLayer.Config(state_dim=0)
